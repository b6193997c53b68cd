"""What a suite may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from curriculum.config import Curriculum
from curriculum.files import parse_typed
from envs.cue import CueTask
from envs.yaml_files import FileError
from evaluation.suite import Column, Suite, load_suite, validation_tasks

CURRICULUM = parse_typed(
    {
        "domain": "cue",
        "stages": [{"name": "easy", "title": "Easy", "task": {"entities": 1, "max_steps": 7}, "promote_at": 0.5}],
    },
    Curriculum,
    "here",
)
SCENARIO = {"name": "one", "title": "One", "kind": "stress", "stage": "easy", "task": {"agents": 1}}


def parse(**changes: object) -> Suite:
    return parse_typed({"domain": "cue", "scenarios": [SCENARIO], **changes}, Suite, "here", {"curriculum": CURRICULUM})


def test_a_scenario_starts_from_a_stage() -> None:
    """Only what differs is written down; the rest, and nothing else, is the stage's."""
    assert parse().scenarios[0].tasks == [CueTask(name="one", entities=1, max_steps=7, agents=1)]


def test_variants_change_the_task() -> None:
    """Each variant is a task of its own, with a name of its own."""
    tasks = parse(scenarios=[{**SCENARIO, "variants": [{"entities": 2}, {"entities": 3}]}]).scenarios[0].tasks
    assert tasks == [
        CueTask(name="one_0", entities=2, max_steps=7, agents=1),
        CueTask(name="one_1", entities=3, max_steps=7, agents=1),
    ]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"scenarios": [{**SCENARIO, "stage": "hard"}]}, "stage: got 'hard', allowed are easy"),
        ({"scenarios": [{**SCENARIO, "kind": "odd"}]}, "here: scenarios.0.kind: got 'odd'"),
        ({"scenarios": [{**SCENARIO, "task": {"asset": 1}}]}, "scenarios.0.task.asset: unknown key, allowed are name"),
        ({"scenarios": [{**SCENARIO, "variants": [{"entities": 0}]}]}, "entities: got 0"),
        ({"scenarios": [SCENARIO, SCENARIO]}, "got the name 'one' twice"),
        ({"headline": "profit"}, "headline: got 'profit', allowed are the columns' metrics"),
        ({"measure": {"scenarios": ["two"]}}, "measure.scenarios: got 'two', allowed are one"),
    ],
)
def test_faults_are_one_line(change: dict[str, object], line: str) -> None:
    """Wrong names and values are reported with their key."""
    with pytest.raises(FileError) as error:
        parse(**change)
    assert line in str(error.value).splitlines()[0]


def test_validation_tasks_are_the_stages() -> None:
    """All stages by default; a stage that is not there is refused."""
    assert validation_tasks(parse(), CURRICULUM) == [CURRICULUM.stages[0].task]
    with pytest.raises(ValueError, match=r"validation\.stages: got 'hard', allowed are easy"):
        validation_tasks(parse(validation={"stages": ["hard"]}), CURRICULUM)


def test_files_are_found_by_domain_or_path(tmp_path: Path) -> None:
    """A YAML path is read with the given curriculum; an unknown domain is refused."""
    path = tmp_path / "suite.yaml"
    path.write_text("domain: cue\nscenarios: [{name: one, title: One, kind: held_out, stage: easy}]\n")
    assert load_suite(path, CURRICULUM).scenarios[0].task == CueTask(name="one", entities=1, max_steps=7)
    with pytest.raises(FileError, match="stage: got 'easy', allowed are none: no curriculum"):
        load_suite(path)
    with pytest.raises(FileError, match="suite: got 'sailing', allowed are"):
        load_suite("sailing")


def test_columns_show_figures() -> None:
    """Percentages are shown as such, with the digits asked for."""
    assert Column(metric="profit", title="Profit", format="percent", digits=1).show(0.1234) == "12.3%"
    assert Column(metric="sharpe", title="Sharpe").show(-1.005) == "-1.00"
