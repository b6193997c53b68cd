"""Learning within limits: multipliers that follow what a run's episodes cost, and exams without exploration.

An algorithm keeps one of these, tells it about every iteration, and learns from the advantages that it returns. Limits
hold for the task that is learned: where several are played at once, as a curriculum's rehearsed stages are, that is the
first of `BatchedAlgorithm.tasks`, and what others cost moves no multiplier. One multiplier is charged in all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ray.rllib.evaluation.postprocessing import Postprocessing

from algorithms import costs
from algorithms.algorithm import BatchedAlgorithm
from algorithms.lagrangian import Multipliers, MultiplierSettings
from algorithms.rollout import Columned, Rollout, counted
from envs.base import Task
from envs.registry import Domain, get_domain

MULTIPLIER: dict[str, Any] = {
    "integral": 0.3,
    "proportional": 1.0,
    "derivative": 0.0,
    "smoothing": 0.5,
    "first": 0.0,
    "most": 20.0,
    "exam_every": 5,
    "exam_episodes": 64,
    "exam_memory": 0.5,
}
"""Fields of `MultiplierSettings` where nobody says otherwise."""


class Constraints:
    """A run's limits.

    Args:
        config: The algorithm's, with `limits` and `multiplier`.

    Attributes:
        multipliers: The state machine.
    """

    def __init__(self, config: Any) -> None:
        self.multipliers = Multipliers(dict(config.limits), MultiplierSettings.model_validate(dict(config.multiplier)))
        self._config = config
        self._domain: Domain = get_domain(config.env)
        self._exam: costs.Exam | None = None
        self._task = ""

    def update(self, algorithm: BatchedAlgorithm, rollouts: Sequence[Rollout]) -> None:
        """Moves the multipliers by the episodes that have just finished, and logs what they and the costs have come to.

        Where no episode of the task has ended, multipliers stay as they are.
        """
        rewards, *of_costs = (
            float(np.concatenate([counted(rows, name) for each in rollouts for rows in each.batches.values()]).std())
            for name in (Postprocessing.ADVANTAGES, *(costs.ADVANTAGES + cost for cost in self.multipliers.names))
        )
        self.multipliers.measure(rewards, np.array(of_costs))
        task = self._learned(algorithm)
        if task.name != self._task:
            if self._task:
                self.multipliers.forget()
            self._task = task.name
        every = self.multipliers.settings.exam_every
        if every and algorithm.rounds % every == 0:
            self.multipliers.examine(*self._hold(algorithm, task))
        found = costs.of_episodes(algorithm.finished_episodes, task.name, self.multipliers.names)
        if found is not None:
            self.multipliers.update(found)
        for kind, figures in self.multipliers.figures().items():
            for name, value in figures.items():
                algorithm.metrics.log_value((kind, name), value, window=1)

    def penalised(self, rows: Columned) -> Any:
        """Takes the costs' columns out of a module's rows and returns the advantages of the Lagrangian, `[N]`."""
        of_costs = {name: counted(rows, costs.ADVANTAGES + name) for name in self.multipliers.names}
        for name in self.multipliers.names:
            del rows[costs.ADVANTAGES + name]
        return self.multipliers.penalised(counted(rows, Postprocessing.ADVANTAGES), of_costs)

    def get_state(self) -> dict[str, Any]:
        """What a checkpoint holds, as plain values."""
        return {"multipliers": self.multipliers.get_state(), "task": self._task}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.multipliers.set_state(state["multipliers"])
        self._task = state["task"]

    def _learned(self, algorithm: BatchedAlgorithm) -> Task:
        """The task that limits hold for."""
        return algorithm.tasks[0] if algorithm.tasks else self._domain.task_type.model_validate(self._config.task or {})

    def _hold(self, algorithm: BatchedAlgorithm, task: Task) -> tuple[costs.Floats, costs.Floats]:
        """Examines the policy that has sampled this iteration."""
        if self._exam is None:
            episodes = self.multipliers.settings.exam_episodes
            env = self._domain.env(self._config.env_config, min(costs.EXAM_WORLDS, episodes), task=task)
            self._exam = costs.Exam(env, self.multipliers.names, episodes)
        return self._exam.hold(algorithm.as_policy(), task, (self._config.seed, algorithm.rounds))
