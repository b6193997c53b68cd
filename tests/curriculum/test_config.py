"""What a curriculum file may say, and how it is told when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from curriculum.config import Curriculum, Stage, load_curriculum
from curriculum.files import parse_typed
from envs.cue import CueTask
from envs.yaml_files import FileError

STAGE = {"name": "one", "title": "One", "task": {"entities": 1}, "promote_at": 0.5}


def cue(**changes: object) -> dict[str, object]:
    return {"domain": "cue", "stages": [STAGE], **changes}


def test_tasks_get_the_domains_type_and_the_stages_name() -> None:
    """A stage's plain fields become the domain's own task, named after the stage."""
    curriculum = parse_typed(cue(), Curriculum, "here")
    assert curriculum.stages[0].task == CueTask(name="one", entities=1)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"stages": [{**STAGE, "task": {"entities": 0}}]}, "here: stages.0.task.entities: got 0, should be greater"),
        ({"stages": [{**STAGE, "task": {"assets": 2}}]}, "here: stages.0.task.assets: unknown key, allowed are name,"),
        ({"stages": [{**STAGE, "promote": 1}]}, "here: stages.0.promote: unknown key, allowed are name, title,"),
        ({"stages": [{**STAGE, "promote_at": -1}]}, "here: stages.0.promote_at: got -1, should be greater than 0"),
        ({"stages": [{"name": "one"}]}, "here: stages.0.title: missing"),
        ({"stages": [STAGE, STAGE]}, "got the name 'one' twice"),
        ({"stages": []}, "here: stages: "),
        ({"stages": [{**STAGE, "regress_below": 0.6}]}, "one: regress_below: got 0.6, allowed is below"),
        ({"window": 10}, "one: min_episodes: got 200, allowed is at most the window, 10"),
        ({"windows": 10}, "here: windows: unknown key, allowed are domain, stages, window,"),
        ({"domain": "sailing"}, "here: domain: got 'sailing', allowed are trading,"),
        ({"domain": None}, "here: domain: got None, allowed is the name of a domain"),
    ],
)
def test_faults_are_one_line_that_names_file_and_key(change: dict[str, object], line: str) -> None:
    """A wrong key or value is reported by file, key, what was given and what is allowed."""
    with pytest.raises(FileError) as error:
        parse_typed(cue(**change), Curriculum, "here")
    assert line in str(error.value).splitlines()[0]


def test_relaxation_counts_towards_the_hysteresis() -> None:
    """A floor that the relaxed bar could reach is refused: one score must not both promote and regress."""
    stage = Stage(name="one", title="One", task=CueTask(), promote_at=0.5, regress_below=0.3)
    Curriculum(domain="cue", stages=(stage,))
    with pytest.raises(ValidationError, match=r"allowed is below the lowest bar for promotion, 0\.25"):
        Curriculum(domain="cue", stages=(stage,), patience=100, relax_limit=0.5)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, broken YAML and a list instead of a mapping each give one line with the path."""
    broken = tmp_path / "broken.yaml"
    broken.write_text("domain: [cue\n")
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n")
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (broken, "line 2"), (listed, "got list")):
        with pytest.raises(FileError, match=reason) as error:
            load_curriculum(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
    with pytest.raises(FileError, match="curriculum: got 'sailing', allowed are"):
        load_curriculum("sailing")
