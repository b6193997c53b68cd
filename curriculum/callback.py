"""The curriculum inside RLlib: the only part of it that knows Ray.

It measures what scores mean on every stage, sets the runners' tasks, hands the scores of finished episodes to the
manager and sends new tasks when the stage changes. Give it to RLlib as
`config.callbacks([functools.partial(CurriculumCallback, curriculum=...), …])`: RLlib calls whatever it finds there.

It relies on an algorithm that has `finished_episodes` (the last iteration's, each with `task` and `mean_return`),
`set_tasks(tasks)` (for every runner, also those recreated later), `as_policy()` where there are exams, and `config`; it
does not import it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.callbacks.callbacks import RLlibCallback

from curriculum.config import Curriculum, Stage
from curriculum.manager import CurriculumManager, Event
from curriculum.references import measure_references
from envs.base import BatchedEnv
from envs.registry import get_domain
from policies.heuristics import Baselines, baselines
from policies.rollout import play
from policies.score import PairedReference, Reference, measure_pairs

EXAM_SEED = 40_000_001
"""Seed of the exams' worlds; neither trained, validated nor tested on. All exams of a stage are in the same worlds, in
which the references play once: what differs between two exams is the policy, and not luck."""
EXAM_WORLDS = 128
"""Worlds that an exam plays in together, at most."""


class CurriculumCallback(RLlibCallback):
    """Moves all runners through the stages of a curriculum.

    Args:
        curriculum: The stages.
        reference_episodes: Episodes the naive and the informed policy play on each stage, to define its score.
        reference_seed: Seed of those episodes.
        yardsticks: The naive and the informed policy; the domain's own if None.

    Attributes:
        manager: The state machine.
        references: What scores are relative to, by name of the stage.
    """

    def __init__(
        self,
        curriculum: Curriculum,
        *,
        reference_episodes: int = 128,
        reference_seed: int = 7_919,
        yardsticks: Baselines | None = None,
    ) -> None:
        super().__init__()
        self.manager = CurriculumManager(curriculum)
        self.references: dict[str, Reference] = {}
        self._episodes = reference_episodes
        self._seed = reference_seed
        self._yardsticks = yardsticks
        self._exam_env: BatchedEnv | None = None
        self._exam_references: dict[str, PairedReference] = {}

    # -- what RLlib calls ------------------------------------------------------------------------------------------

    def on_algorithm_init(self, *, algorithm: Any, metrics_logger: Any = None, **kwargs: Any) -> None:
        """Measures the references, which also proves that every stage fits the env, and sets the first tasks."""
        curriculum = self.manager.curriculum
        if algorithm.config.env != curriculum.domain:
            raise ValueError(
                f"curriculum: got one for {curriculum.domain!r}, allowed is one for the env, {algorithm.config.env!r}"
            )
        self.references = measure_references(
            curriculum.domain,
            algorithm.config.env_config,
            [stage.task for stage in curriculum.stages],
            episodes=self._episodes,
            seed=self._seed,
            yardsticks=self._yardsticks,
        )
        self._send(algorithm)

    def on_train_result(
        self, *, algorithm: Any, metrics_logger: Any = None, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Scores the iteration's episodes, moves between stages, and reports flat `curriculum/…` keys.

        `curriculum/score` is what passes a stage: where there are exams, of the policy without exploration;
        `curriculum/sampled` is what the episodes of training scored on it in this iteration, exploration and all.
        """
        scores = self._scores(algorithm.finished_episodes)
        stage = self.manager.current
        counted = scores.get(stage.name, np.zeros(0))
        if self.manager.curriculum.exam_every:
            counted = self._examine(algorithm, stage, int(result.get("training_iteration", 0)))
        events = self.manager.record(counted)
        if self.manager.current is not stage:
            self._send(algorithm)
        result.update(self._report(scores, events))
        if stage.name in scores:
            result["curriculum/sampled"] = float(scores[stage.name].mean())

    def on_checkpoint_loaded(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Sends the restored stage's tasks."""
        self._send(algorithm)

    def on_env_runners_recreated(
        self,
        *,
        algorithm: Any,
        env_runner_group: Any,
        env_runner_indices: list[int],
        is_evaluation: bool,
        **kwargs: Any,
    ) -> None:
        """Sends the tasks again: a recreated runner starts from the original config."""
        if not is_evaluation:
            self._send(algorithm)

    # -- what a checkpoint holds -----------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """The manager's state and the references, as plain values."""
        return {
            "manager": self.manager.get_state(),
            "references": {name: asdict(reference) for name, reference in self.references.items()},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.manager.set_state(state["manager"])
        self.references = {name: Reference(**values) for name, values in state["references"].items()}

    # -- inside ----------------------------------------------------------------------------------------------------

    def _send(self, algorithm: Any) -> None:
        """Sets every world's task."""
        config = algorithm.config
        worlds = config.num_envs_per_env_runner * max(1, config.num_env_runners)
        algorithm.set_tasks(self.manager.tasks(worlds))

    def _scores(self, episodes: Any) -> dict[str, NDArray[np.float64]]:
        """Scores of finished episodes by name of the stage; episodes of other tasks are left out."""
        returns: dict[str, list[float]] = {}
        for episode in episodes:
            if episode.task in self.references:
                returns.setdefault(episode.task, []).append(episode.mean_return)
        return {name: self.references[name].score(np.array(values)) for name, values in returns.items()}

    def _examine(self, algorithm: Any, stage: Stage, iteration: int) -> NDArray[np.float64]:
        """Scores of the policy, without exploration, in the stage's exam; none if it is not yet time."""
        curriculum = self.manager.curriculum
        if iteration % curriculum.exam_every:
            return np.zeros(0)
        if self._exam_env is None:
            worlds = min(EXAM_WORLDS, curriculum.exam_episodes)
            self._exam_env = get_domain(curriculum.domain).env(algorithm.config.env_config, worlds, task=stage.task)
        env, rounds = self._exam_env, -(-curriculum.exam_episodes // self._exam_env.num_worlds)
        if stage.name not in self._exam_references:
            known = self._yardsticks or baselines(curriculum.domain)
            naive, informed = (known.policies[name]() for name in (known.naive, known.informed))
            self._exam_references[stage.name] = measure_pairs(
                env, stage.task, naive, informed, seed=EXAM_SEED, episodes_per_world=rounds
            )
        episodes = play(env, algorithm.as_policy(), stage.task, seed=EXAM_SEED, episodes_per_world=rounds)
        return self._exam_references[stage.name].score(episodes.returns)

    def _report(self, scores: dict[str, NDArray[np.float64]], events: list[Event]) -> dict[str, Any]:
        """Flat result keys of one iteration."""
        manager = self.manager
        standing, trend = manager.standing(), manager.trend()
        report: dict[str, Any] = {
            "curriculum/stage": manager.stage,
            "curriculum/stages": len(manager.curriculum.stages),
            "curriculum/stage_name": manager.current.name,
            "curriculum/score": standing.score,
            "curriculum/score_low": standing.low,
            "curriculum/score_high": standing.high,
            "curriculum/bar": manager.bar,
            "curriculum/episodes": standing.episodes,
            "curriculum/episodes_needed": standing.needed,
            "curriculum/total_episodes": manager.total_episodes,
            "curriculum/trend": trend.slope,
            "curriculum/rising": trend.rising,
            "curriculum/promotions": sum(event.change == "promoted" for event in manager.events),
            "curriculum/regressions": sum(event.change == "regressed" for event in manager.events),
            "curriculum/mastered": manager.mastered,
            "curriculum/event": "; ".join(f"{event.change} on {event.name}" for event in events),
        }
        for name, values in scores.items():  # rehearsed stages included: forgetting shows here
            report[f"curriculum/scores/{name}"] = float(values.mean())
        # Early on there is no score yet: a key that is missing harms no tracker, NaN and infinity do.
        return {key: value for key, value in report.items() if not isinstance(value, float) or np.isfinite(value)}
