"""Policies over a suite, on the cue env where the right answers are known."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from curriculum.files import parse_typed
from envs.base import Actions, BatchedEnv, Observation
from envs.cue import CueEnv, CueTask
from envs.registry import get_domain
from evaluation.compare import compare
from evaluation.curves import draw, follow
from evaluation.fit import FittedPolicy
from evaluation.results import Comparison
from evaluation.suite import Measure, Suite
from evaluation.table import summary_table, table_of
from policies.base import Policy, PolicyState, RandomPolicy
from policies.heuristics import RANDOM, baselines
from policies.heuristics.cue import RepeatCue
from policies.rollout import play
from tune.finish import unsure


class Halfway(Policy):
    """Repeats what its layout calls the cue, damped: knows nothing of the env but what it sees."""

    name = "halfway"

    def __init__(self, damping: float = 0.5) -> None:
        self._damping = damping

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the layout."""
        self._layout = env.groups[CueEnv.GROUP].layout

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The cues, times a factor."""
        seen = self._layout.entities_of(observation.observations[CueEnv.GROUP])[..., 0]
        return {CueEnv.GROUP: np.ascontiguousarray(self._damping * seen)}, None


def suite(*scenarios: dict[str, object]) -> Suite:
    listed = [
        {"kind": "held_out", "title": str(s["name"]), "episodes": 60, "task": {"max_steps": 5}, **s} for s in scenarios
    ]
    return parse_typed({"domain": "cue", "scenarios": listed}, Suite, "here")


TWO = suite({"name": "one"}, {"name": "two", "task": {"max_steps": 5, "entities": 3}})


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(TWO, {}, {"halfway": Halfway()})


def test_scores_are_relative_to_the_yardsticks(comparison: Comparison) -> None:
    """Naive scores 0, informed 1; acting c/2 on cue c loses c^2/16 a step, on average 5/9/16 with four cues."""
    for result in comparison.scenarios:
        found = {policy.policy: policy for policy in result.policies}
        assert found["random"].score.estimate == pytest.approx(0)
        assert found["repeat"].score.estimate == pytest.approx(1)
        assert found["repeat"].score.low == pytest.approx(1)
        assert found["halfway"].mean_return.estimate == pytest.approx(5 * (1 - 5 / 9 / 16), abs=0.03)
        loss = (5 / 9 / 16) / ((1 / 3 + 5 / 9) / 4)
        assert found["halfway"].score.estimate == pytest.approx(1 - loss, abs=0.03)
        assert [policy.policy for policy in result.policies] == ["repeat", "halfway", "random"]


def test_differences_are_paired_and_only_the_learners(comparison: Comparison) -> None:
    """The learner beats random and loses to the optimum beyond chance; yardsticks are not compared with each other."""
    for result in (*comparison.scenarios, *comparison.overall):
        learner = result.of("halfway")
        assert learner.learned
        assert learner.differences["random"].better
        assert learner.differences["repeat"].worse
        assert set(learner.differences) == {"random", "repeat"}
        assert result.of("random").differences == {}


def test_scenarios_of_a_kind_are_also_taken_together(comparison: Comparison) -> None:
    """The overall score is the mean of the scenarios' scores."""
    (overall,) = comparison.overall
    assert (overall.kind, overall.samples) == ("held_out", 120)
    each = [result.of("halfway").score.estimate for result in comparison.scenarios]
    assert overall.of("halfway").score.estimate == pytest.approx(np.mean(each))


def test_scenarios_count_the_same_however_many_episodes_they_have() -> None:
    """Returns and differences of all scenarios together are means of the scenarios', not of their pooled episodes."""
    uneven = suite(
        {"name": "many", "episodes": 90}, {"name": "few", "episodes": 6, "task": {"max_steps": 20, "entities": 1}}
    )
    found = compare(uneven, {}, {"halfway": Halfway()})
    (overall,) = found.overall
    learner, each = overall.of("halfway"), [scenario.of("halfway") for scenario in found.scenarios]
    assert learner.mean_return.estimate == pytest.approx(np.mean([one.mean_return.estimate for one in each]))
    assert learner.mean_return.low < learner.mean_return.estimate < learner.mean_return.high
    for other, score in (("random", 0.0), ("repeat", 1.0)):
        difference = learner.differences[other]
        assert difference.mean.estimate == pytest.approx(learner.score.estimate - score)
        assert difference.mean.estimate == pytest.approx(np.mean([one.score.estimate for one in each]) - score)
        assert difference.pairs == 96
    assert learner.differences["random"].better
    assert learner.differences["repeat"].worse


def test_results_survive_json_and_repeat_exactly(comparison: Comparison, tmp_path: Path) -> None:
    """What is saved is what is loaded, playing again gives the same numbers, and no partial file stays behind."""
    path = tmp_path / "deep" / "evaluation.json"
    comparison.save(path)
    assert Comparison.load(path) == comparison
    assert [file.name for file in path.parent.iterdir()] == ["evaluation.json"]
    assert compare(TWO, {}, {"halfway": Halfway()}) == comparison


def test_the_table_shows_every_policy_and_the_verdicts(comparison: Comparison) -> None:
    """The terminal's table names all policies, says what 0 and 1 are, and marks the learner's gains."""
    text = io.StringIO()
    Console(file=text, width=120).print(table_of(comparison))
    shown = text.getvalue()
    assert all(name in shown for name in ("halfway", "repeat", "random", "halfway is"))
    assert "0 is random, 1 is repeat" in shown
    assert "▲ better by" in shown
    assert "▼ worse by" in shown


def test_of_many_policies_the_table_shows_the_strongest_rule() -> None:
    """Too many columns are read by nobody: what was learned, and in each scenario the best of what is not 0 or 1."""
    damped = {f"times_{factor}": partial(Halfway, factor) for factor in (0.1, 0.3, 0.7, 0.9, 0.95)}
    sticks = baselines("cue")
    many = replace(sticks, policies={**sticks.policies, **damped})
    found = compare(TWO, {}, {"halfway": Halfway()}, yardsticks=many)
    text = io.StringIO()
    Console(file=text, width=80).print(summary_table(found))
    assert "Mean score by scenario, beside the strongest rule" in text.getvalue()
    for row in (line for line in text.getvalue().splitlines() if line.strip().startswith(("one", "two"))):
        assert row.split()[2] == "times_0.95"
        assert row.split()[4] == "▼"


def test_a_learner_as_good_as_the_yardstick_is_not_called_better() -> None:
    """A copy of the optimum is neither better nor worse than it."""
    learner = compare(TWO, {}, {"copy": RepeatCue()}, scenarios=["one"]).scenarios[0].of("copy")
    assert not learner.differences["repeat"].better
    assert not learner.differences["repeat"].worse


def test_scores_are_left_out_where_they_mean_nothing() -> None:
    """Without the informed policy, as on data it cannot play, there is no score, but returns and differences."""
    one = suite({"name": "one", "exclude": ["repeat"]})
    result = compare(one, {}, {"halfway": Halfway()}).scenarios[0]
    assert result.of("repeat") is None
    assert result.of("halfway").score is None
    assert result.of("halfway").differences["random"].better


def test_where_there_is_no_score_the_table_shows_the_return() -> None:
    """In parentheses among scores, and said below; beside it scenarios with scores stay as they are."""
    both = suite({"name": "scored"}, {"name": "unscored", "exclude": ["repeat"]})
    found = compare(both, {}, {"halfway": Halfway()})
    earned = f"{found.scenarios[1].of('halfway').mean_return.estimate:.2f}"
    text = io.StringIO()
    Console(file=text, width=200).print(table_of(found, details=True))
    rows = [line for line in text.getvalue().splitlines() if line.strip().startswith("unscored")]
    assert f"({earned})" in rows[0]
    assert "mean return" in text.getvalue()
    assert "where these two hardly differ there is none, and mean returns are shown, in parentheses" in text.getvalue()


def test_the_four_parts_of_a_yardstick_are_told_apart(comparison: Comparison) -> None:
    """Of the cue, who repeats it sees what agents see, and earns the bound: in the result and in the table."""
    assert comparison.attainable == "repeat"
    for result in comparison.scenarios:
        assert result.bound == pytest.approx(5)
        assert result.bound_score == pytest.approx(1)
    text = io.StringIO()
    Console(file=text, width=160).print(table_of(comparison, details=True))
    assert "1 is repeat; repeat sees no more than the agents do; nobody exceeds the bound" in text.getvalue()
    assert "the bound" in text.getvalue()


class Coin(Policy):
    """Most likely does nothing; sampled, it repeats the cue: of some problems the likeliest action is no solution."""

    name = "coin"

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the layout."""
        self._layout = env.groups[CueEnv.GROUP].layout

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """Full opposition, or the cues."""
        seen = self._layout.entities_of(observation.observations[CueEnv.GROUP])[..., 0]
        return {CueEnv.GROUP: np.ascontiguousarray(seen if not deterministic else -np.sign(seen))}, None


def test_without_an_informed_policy_learners_are_also_played_sampled() -> None:
    """Returns and no scores, both ways of acting side by side, and a warning where sampling does far better."""
    found = compare(TWO, {}, {"trained": Coin()}, yardsticks=RANDOM)
    for result in found.scenarios:
        as_played, as_sampled = result.of("trained"), result.of("trained (sampled)")
        assert as_played.score is None
        assert not as_played.sampled
        assert as_sampled.sampled
        assert as_sampled.mean_return.estimate == pytest.approx(5)
        assert as_sampled.differences["random"].better
    assert "the most likely actions return" in unsure(found)
    assert unsure(compare(TWO, {}, {"trained": Halfway()}, yardsticks=RANDOM)) == ""


def test_variants_count_as_single_samples() -> None:
    """Three variants of 20 episodes are three samples, not sixty."""
    variants = [{"entities": n} for n in (1, 2, 3)]
    result = compare(suite({"name": "real", "episodes": 20, "variants": variants}), {}, {"h": Halfway()}).scenarios[0]
    assert result.samples == 3
    assert result.of("h").differences["random"].pairs == 3


def test_a_policy_acts_where_there_are_fewer_entities() -> None:
    """Fitted from five entities to two, a policy sees and does exactly what it would in the larger env."""
    domain, task = get_domain("cue"), CueTask(entities=2, max_steps=5)
    large, small = (domain.env({"num_entities": n}, 8) for n in (5, 2))
    fitted = FittedPolicy(Halfway(1.0), large)
    assert play(small, fitted, task, seed=1).returns == pytest.approx(np.full(8, 5.0))
    few = suite({"name": "few", "env": {"num_entities": 2}})
    result = compare(few, {"num_entities": 5}, {"halfway": Halfway(1.0)}).scenarios[0]
    assert result.of("halfway").score.estimate == pytest.approx(1.0)


def test_fitting_in_discrete_mode_pads_masks_by_branches() -> None:
    """Absent branches leave one choice; a random policy of the larger env then acts validly in the smaller."""
    domain = get_domain("cue")
    large, small = (domain.env({"num_entities": n, "action_mode": "discrete"}, 4) for n in (4, 2))
    returns = play(small, FittedPolicy(RandomPolicy(), large), CueTask(max_steps=200), seed=1).returns
    assert returns / 200 == pytest.approx(np.full(4, 0.25), abs=0.06)


@pytest.mark.parametrize(
    ("trained", "given", "message"),
    [
        ({"num_entities": 2}, {"num_entities": 3}, "got 3 entities, allowed are at most 2"),
        ({"num_agents": 2}, {"num_agents": 3}, "got 3 agents, allowed are 2"),
        ({}, {"action_mode": "discrete", "num_entities": 2}, "allowed is the start of"),
    ],
)
def test_envs_that_do_not_fit_are_refused(trained: dict[str, object], given: dict[str, object], message: str) -> None:
    """More entities, other agents or other actions than in training raise an error that says so."""
    domain = get_domain("cue")
    with pytest.raises(ValueError, match=message):
        FittedPolicy(RandomPolicy(), domain.env(trained)).bind(domain.env(given))


def test_names_must_be_free_and_known() -> None:
    """A learner may not take a yardstick's name, and an unknown scenario is refused."""
    with pytest.raises(ValueError, match="learned: got the name 'repeat', allowed are names other than"):
        compare(TWO, {}, {"repeat": Halfway()})
    with pytest.raises(ValueError, match="scenario: got 'three', allowed are one, two"):
        compare(TWO, {}, {}, scenarios=["three"])


def test_curves_follow_the_reward() -> None:
    """The optimum's cumulative reward is the clock; each world keeps its value after its episode ends."""
    env = get_domain("cue").env({}, 3)
    task = CueTask(max_steps=6)
    values = follow(env, RepeatCue(), task, Measure(), seed=1)
    assert values == pytest.approx(np.tile(np.arange(6.0)[:, None], 3))
    short = follow(env, RepeatCue(), CueTask(max_steps=6, lifetimes=(3, 3)), Measure(), seed=1)
    assert short[:, 0] == pytest.approx([0, 1, 2, 2, 2, 2])
    drawn = draw(env, {"repeat": RepeatCue()}, task, Measure(), scenario="one", title="One", seed=1)
    assert drawn.curves[0].mean == drawn.curves[0].low == (0, 1, 2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"measure\.attribute: got 'wealth', allowed are attributes of CueEnv"):
        follow(env, RepeatCue(), task, Measure(attribute="wealth"), seed=1)
