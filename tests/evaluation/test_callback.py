"""Evaluation during training, on an algorithm that improves as told."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from curriculum.config import Curriculum
from curriculum.files import parse_typed
from envs.base import Actions, Observation
from evaluation.callback import EvaluationCallback, env_steps_in
from evaluation.progress import LearningCurve
from evaluation.suite import Suite
from policies.base import PolicyState
from policies.heuristics import Baselines
from policies.heuristics.cue import RepeatCue

CURRICULUM = parse_typed(
    {
        "domain": "cue",
        "stages": [
            {"name": name, "title": name, "task": {"entities": n, "max_steps": 4}, "promote_at": 0.5}
            for name, n in (("easy", 1), ("hard", 3))
        ],
    },
    Curriculum,
    "here",
)
SUITE = parse_typed(
    {
        "domain": "cue",
        "validation": {"episodes": 32},
        "scenarios": [{"name": "one", "title": "One", "kind": "held_out", "task": {}}],
    },
    Suite,
    "here",
)


class Sign(RepeatCue):
    """Multiplies the right action by a factor: 1 is optimal, -1 the worst."""

    def __init__(self, factor: float) -> None:
        self._factor = np.float32(factor)

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The optimal actions, scaled."""
        assert deterministic
        return {name: self._factor * array for name, array in self._env.perfect_actions().items()}, None


class Learner:
    """An algorithm whose policy is as good as it says."""

    def __init__(self) -> None:
        self.config = SimpleNamespace(env="cue", env_config={"num_agents": 2})
        self.factor = -1.0

    def as_policy(self) -> Sign:
        """The policy as it stands."""
        return Sign(self.factor)


def started(every: int = 2) -> tuple[EvaluationCallback, Learner]:
    callback, learner = EvaluationCallback(SUITE, CURRICULUM, every=every), Learner()
    callback.on_algorithm_init(algorithm=learner)
    return callback, learner


def train(callback: EvaluationCallback, learner: Learner, iteration: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "training_iteration": iteration,
        "time_total_s": 2.0 * iteration,
        "env_runners": {"num_env_steps_sampled_lifetime": 100 * iteration},
        "curriculum/stage": 1,
        "curriculum/stage_name": "hard",
    }
    callback.on_train_result(algorithm=learner, result=result)
    return result


def test_the_curve_starts_untrained_and_moves_every_few_iterations() -> None:
    """The worst policy scores below 0, the optimum exactly 1, and results between evaluations repeat the last."""
    callback, learner = started()
    learner.factor = 1.0
    first, second = train(callback, learner, 1), train(callback, learner, 2)
    assert first["eval_score"] < 0
    assert first["eval_iteration"] == 0
    assert (second["eval_score_low"], second["eval_score"], second["eval_score_high"]) == pytest.approx((1, 1, 1))
    assert second["eval_score/easy"] == second["eval_score/hard"] == pytest.approx(1)
    assert [(p.iteration, p.env_steps, p.seconds, p.stage, p.stage_name) for p in callback.history] == [
        (0, 0, 0.0, 0, "easy"),
        (2, 200, 4.0, 1, "hard"),
    ]


def test_a_task_without_a_score_is_named() -> None:
    """Where knowing more earns no more there is nothing to measure learning by."""
    blind = Baselines("naive", "informed", {"naive": RepeatCue, "informed": lambda: Sign(0.5)})
    callback = EvaluationCallback(SUITE, CURRICULUM, yardsticks=blind)
    with pytest.raises(
        ValueError, match=r"^validation: on task '\w+' informed earns .* and naive 4, allowed are tasks"
    ):
        callback.on_algorithm_init(algorithm=Learner())


def test_stages_are_taken_down_when_they_begin() -> None:
    """The start of a stage is known to the iteration, however rarely one evaluates."""
    callback, learner = started(every=100)
    for iteration in (1, 2, 3):
        train(callback, learner, iteration)
    assert [(start.steps, start.stage, start.name) for start in callback.stages] == [
        (0, 0, "easy"),
        (100, 1, "hard"),
    ]


def test_the_best_score_is_kept() -> None:
    """A policy that gets worse again lowers the score but not the best one."""
    callback, learner = started(every=1)
    learner.factor = 1.0
    train(callback, learner, 1)
    learner.factor = 0.0
    result = train(callback, learner, 2)
    assert 0 < result["eval_score"] < result["eval_score_best"] == pytest.approx(1)


def test_the_same_policy_scores_the_same_each_time() -> None:
    """Tasks and seeds are fixed, so that what moves between evaluations is the policy alone."""
    callback, learner = started(every=1)
    learner.factor = 0.3
    scores = [train(callback, learner, n)["eval_score"] for n in (1, 2, 3)]
    assert len(set(scores)) == 1


def test_history_survives_a_checkpoint() -> None:
    """A restored callback goes on with the curve it had, through JSON."""
    callback, learner = started(every=1)
    train(callback, learner, 1)
    other, _ = started(every=1)
    other.set_state(json.loads(json.dumps(callback.get_state())))
    assert other.history == callback.history
    assert other.stages == callback.stages
    train(other, learner, 2)
    assert [point.iteration for point in other.history] == [0, 1, 2]


def test_flat_results_tell_the_same_story() -> None:
    """The learning curve read from saved results is the one the callback itself remembers."""
    callback, learner = started()
    rows = []
    for iteration in range(1, 6):
        learner.factor += 0.3
        rows.append({**train(callback, learner, iteration), "world_steps": 100 * iteration})
    rows[0].update({"curriculum/stage": 0, "curriculum/stage_name": "easy"})
    callback.stages[1] = callback.stages[1].model_copy(update={"steps": 200})
    curve = LearningCurve.from_rows(rows, steps="world_steps", unit="world-steps")
    assert curve.points == callback.curve.points
    assert curve.stages == callback.curve.stages
    assert [point.steps for point in curve.points] == [0, 200, 400]
    assert curve.best == curve.points[-1]
    assert curve.end == 500


def test_steps_are_found_where_rllib_puts_them() -> None:
    """At the top level, below `env_runners`, or nowhere."""
    key = "num_env_steps_sampled_lifetime"
    assert env_steps_in({key: 5}) == env_steps_in({"env_runners": {key: 5.0}}) == 5
    assert env_steps_in({}) == 0


def test_intervals_between_evaluations_are_positive() -> None:
    """Zero is refused."""
    with pytest.raises(ValueError, match="every: got 0, allowed is 1 or more"):
        EvaluationCallback(SUITE, CURRICULUM, every=0)
