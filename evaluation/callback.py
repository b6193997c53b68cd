"""Evaluation during training: fixed tasks and seeds in an env of its own, whatever stage is trained on.

Give it to RLlib as `config.callbacks([…, functools.partial(EvaluationCallback, suite=..., curriculum=...)])`, after the
curriculum's callback. It relies on an algorithm that has `as_policy()` and `config`; it does not import it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from ray.rllib.callbacks.callbacks import RLlibCallback

from curriculum.config import Curriculum
from envs.base import BatchedEnv
from envs.registry import get_domain
from evaluation.progress import LearningCurve, LearningPoint, StageStart
from evaluation.statistics import Interval, score_interval, strata_interval
from evaluation.suite import Suite, validation_tasks
from policies.base import Policy, Sampled
from policies.heuristics import Baselines, yardsticks_of
from policies.rollout import play


class EvaluationPoint(BaseModel):
    """One evaluation: a point of the learning curve."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    iteration: int = Field(ge=0, description="Training iterations done; 0 is the untrained policy.")
    env_steps: int = Field(ge=0, description="Steps of single worlds sampled so far.")
    seconds: float = Field(ge=0, description="Training time so far [s].")
    score: Interval = Field(description="Mean score over the tasks; mean return in a domain without yardsticks.")
    tasks: dict[str, Interval] = Field(description="Score, or mean return, on each task.")
    sampled: Interval | None = Field(
        None, description="Mean return of the policy that samples, in a domain without yardsticks."
    )
    stage: int = Field(0, ge=0, description="Index of the stage that was trained on.")
    stage_name: str = Field("", description="Its name; empty without a curriculum.")


class EvaluationCallback(RLlibCallback):
    """Evaluates the greedy policy every few iterations.

    Args:
        suite: Says on which seed, how many episodes and which stages; see `Validation`.
        curriculum: The stages.
        every: Iterations between evaluations.
        yardsticks: The naive and the informed policy; the domain's own if None. Without an informed one a score is
            the mean return.

    Attributes:
        history: All evaluations, oldest first, the untrained policy's included.
        stages: Every stage that was entered, in order, the first included.
    """

    def __init__(
        self, suite: Suite, curriculum: Curriculum, *, every: int = 10, yardsticks: Baselines | None = None
    ) -> None:
        super().__init__()
        if every < 1:
            raise ValueError(f"every: got {every}, allowed is 1 or more")
        self.history: list[EvaluationPoint] = []
        self._suite = suite
        self._tasks = validation_tasks(suite, curriculum)
        self._every = every
        self._yardsticks = yardsticks
        self._env: BatchedEnv | None = None
        self._naive: list[NDArray[np.float64]] = []
        self._informed: list[NDArray[np.float64]] = []
        self.stages = [StageStart(steps=0, stage=0, name=curriculum.stages[0].name)]

    # -- what RLlib calls ------------------------------------------------------------------------------------------

    def on_algorithm_init(self, *, algorithm: Any, metrics_logger: Any = None, **kwargs: Any) -> None:
        """Plays the yardsticks and the untrained policy.

        Raises:
            ValueError: If there is a task on which the informed policy does not beat the naive one: it has no score.
        """
        self._env = get_domain(self._suite.domain).env(
            algorithm.config.env_config, min(128, self._suite.validation.episodes)
        )
        sticks = self._yardsticks or yardsticks_of(self._suite.domain)
        self._naive = self._returns(sticks.policies[sticks.naive]())
        self._informed = self._returns(sticks.policies[sticks.informed]()) if sticks.informed else []
        for task, naive, informed in zip(self._tasks, self._naive, self._informed, strict=bool(self._informed)):
            if not informed.mean() > naive.mean():
                raise ValueError(
                    f"validation: on task {task.name!r} {sticks.informed} earns {informed.mean():.6g} and "
                    f"{sticks.naive} {naive.mean():.6g}, allowed are tasks on which the informed one beats the other"
                )
        self.history = [self._evaluate(algorithm, 0, 0, 0.0, 0, self.stages[0].name)]

    def on_train_result(
        self, *, algorithm: Any, metrics_logger: Any = None, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Evaluates if it is time, and reports the latest figures in every result."""
        iteration = int(result.get("training_iteration", len(self.history)))
        steps, stage = env_steps_in(result), int(result.get("curriculum/stage", 0))
        if stage != self.stages[-1].stage:
            name = str(result.get("curriculum/stage_name", ""))
            self.stages.append(StageStart(steps=steps, stage=stage, name=name))
        began = time.perf_counter()
        if iteration % self._every == 0:
            self.history.append(
                self._evaluate(
                    algorithm,
                    iteration,
                    steps,
                    float(result.get("time_total_s", 0.0)),
                    stage,
                    str(result.get("curriculum/stage_name", "")),
                )
            )
            result["eval_seconds"] = time.perf_counter() - began
        latest = self.history[-1]
        result["eval_score"] = latest.score.estimate
        result["eval_score_low"] = latest.score.low
        result["eval_score_high"] = latest.score.high
        result["eval_score_best"] = max(point.score.estimate for point in self.history)
        result["eval_iteration"] = latest.iteration
        if latest.sampled is not None:
            result["eval_unit"], result["eval_sampled"] = "return", latest.sampled.estimate
        for name, interval in latest.tasks.items():
            result[f"eval_score/{name}"] = interval.estimate

    @property
    def curve(self) -> LearningCurve:
        """The history as the report draws it."""
        return LearningCurve(
            points=tuple(LearningPoint(steps=point.env_steps, score=point.score) for point in self.history),
            stages=tuple(self.stages),
            unit="world-steps",
            end=max(self.history[-1].env_steps, self.stages[-1].steps),
        )

    # -- what a checkpoint holds -----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """The history, as plain values."""
        return {
            "history": [point.model_dump(mode="json") for point in self.history],
            "stages": [start.model_dump(mode="json") for start in self.stages],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.history = [EvaluationPoint.model_validate(point) for point in state["history"]]
        self.stages = [StageStart.model_validate(start) for start in state["stages"]]

    # -- inside ----------------------------------------------------------------------------------------------------

    def _returns(self, policy: Policy) -> list[NDArray[np.float64]]:
        """A policy's returns on every task, on the same worlds each time."""
        assert self._env is not None
        validation = self._suite.validation
        per_world = -(-validation.episodes // self._env.num_worlds)
        return [
            play(self._env, policy, task, seed=validation.seed, episodes_per_world=per_world).returns
            for task in self._tasks
        ]

    def _evaluate(
        self, algorithm: Any, iteration: int, env_steps: int, seconds: float, stage: int, stage_name: str
    ) -> EvaluationPoint:
        """Plays the policy as it stands."""
        policy = algorithm.as_policy()
        returns, sampled = self._returns(policy), None
        options: dict[str, Any] = {"confidence": self._suite.confidence, "seed": self._suite.validation.seed}
        if self._informed:
            score = score_interval(returns, self._naive, self._informed, **options)
            tasks = {
                task.name: score_interval([mine], [naive], [informed], **options)
                for task, mine, naive, informed in zip(self._tasks, returns, self._naive, self._informed, strict=True)
            }
        else:
            score, sampled = (strata_interval(each, **options) for each in (returns, self._returns(Sampled(policy))))
            tasks = {
                task.name: strata_interval([mine], **options) for task, mine in zip(self._tasks, returns, strict=True)
            }
        return EvaluationPoint(
            iteration=iteration,
            env_steps=env_steps,
            seconds=seconds,
            score=score,
            tasks=tasks,
            sampled=sampled,
            stage=stage,
            stage_name=stage_name,
        )


def env_steps_in(result: Mapping[str, Any]) -> int:
    """World-steps sampled so far, from one of RLlib's results; 0 where it does not say."""
    key = "num_env_steps_sampled_lifetime"
    found = result.get(key, result.get("env_runners", {}).get(key, 0))
    return int(found)
