"""What learners from the past do in an iteration: play on, remember, and learn from what is remembered."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow.fs import FileSystem, FileType
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from algorithms.algorithm import BatchedAlgorithm
from algorithms.off_policy.columns import FRAMES
from algorithms.off_policy.replay import Replay
from algorithms.rollout import Columned
from algorithms.seeds import Use, derived_seed

REPLAY = "replay"
"""Folder of the replay in a checkpoint."""
AT_ONCE = 1 << 27
"""Bytes of transitions that are drawn at once: enough that a call costs nothing, few enough for a hundred agents."""


class OffPolicyAlgorithm(BatchedAlgorithm):
    """Learns from a replay of whole worlds.

    Attributes:
        replay: What is remembered.
        updates: Updates so far.
        remembers: Whether networks do, and so learn from sequences.
    """

    def setup(self, config: Any) -> None:
        """Makes runners, learners and the replay; called by RLlib."""
        worlds = max(1, self.config.num_env_runners) * self.config.num_envs_per_env_runner
        frames = -(-self.config.replay_frames // worlds)
        self.replay = Replay(
            frames=frames,
            memory=int(self.config.replay_memory * 2**30),
            worlds=worlds,
            priority=self.config.priority,
            correction=self.config.priority_correction,
        )
        self.updates = 0
        self.remembers = self.config.network_config().memory != "none"
        super().setup(config)

    def training_step(self) -> None:
        """Samples with all runners that are there, takes it into the replay, learns, and sends the new networks out."""
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            rollouts = self.sample_runners()
        self.log_rollouts(rollouts)
        for rollout in rollouts:
            place = max(rollout.worker_index - 1, 0)
            self.replay.insert(rollout.batches, place * self.config.num_envs_per_env_runner)
        taken = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME))
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            self._learn(taken)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self.send_weights()
        self.metrics.log_value("replay_steps", self.replay.steps, window=1)
        self.metrics.log_value("updates", self.updates, window=1)
        self.rounds += 1

    def _learn(self, taken: float) -> None:
        """Makes the updates that are due after `taken` steps."""
        config = self.config
        due = math.floor((taken - config.learn_from) / config.steps_per_update) + 1 - self.updates
        timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: taken}
        rng = np.random.default_rng(derived_seed(Use.REPLAY, config.seed, self.rounds))
        while due > 0:
            parts = [self._draw(rng)]
            size = sum(array.nbytes for batch in parts[0].values() for array in batch.values())
            parts += [self._draw(rng) for _ in range(min(due, max(1, AT_ONCE // size)) - 1)]
            joined = {
                module: SampleBatch({name: np.stack([part[module][name] for part in parts]) for name in batch})
                for module, batch in parts[0].items()
            }
            results = self.learner_group.update(
                batch=MultiAgentBatch(joined, env_steps=len(parts) * config.batch),
                timesteps=timesteps,
                first_update=self.updates,
            )
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
            self._reprioritise(next(iter(joined.values())))
            self.updates += len(parts)
            due -= len(parts)

    def _reprioritise(self, rows: SampleBatch) -> None:
        """Tells the replay by how much what was drawn was wrong, if what is drawn depends on it."""
        if self.replay.priorities is not None:
            (found,) = self.learner_group.foreach_learner(lambda learner: learner.errors)
            worlds, places = rows[FRAMES].reshape(-1, 2).T
            self.replay.priorities.learned(worlds, places, found.get())

    def _draw(self, rng: np.random.Generator) -> dict[str, Columned]:
        """The transitions of one update, by module."""
        config = self.config
        walk = {"gamma": config.gamma, "steps": config.n_step, "rng": rng}
        if not self.remembers:
            return self.replay.sample(config.batch, **walk)
        sequences = -(-config.batch // config.sequence)
        return self.replay.sample_sequences(sequences, length=config.sequence, burn_in=config.burn_in, **walk)

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def own_state(self) -> dict[str, Any]:
        """How many updates there were; the replay is a folder of its own."""
        return {"updates": self.updates}

    def set_own_state(self, state: dict[str, Any]) -> None:
        """Restores what `own_state` returned."""
        self.updates = state["updates"]

    def save_to_path(self, path: Any = None, *, state: Any = None, filesystem: Any = None, **kwargs: Any) -> str:
        """Saves a checkpoint, and beside RLlib's components the replay, column by column."""
        saved = str(super().save_to_path(path, state=state, filesystem=filesystem, **kwargs))
        if state is None:
            self.replay.save(*_place(saved, filesystem))
        return saved

    def restore_from_path(self, path: Any, *args: Any, filesystem: Any = None, **kwargs: Any) -> None:
        """Restores a checkpoint, or one component of it."""
        super().restore_from_path(path, *args, filesystem=filesystem, **kwargs)
        system, folder = _place(path, filesystem)
        if not kwargs.get("component") and not args and system.get_file_info(folder).type == FileType.Directory:
            self.replay.load(system, folder)


def _place(path: Any, filesystem: FileSystem | None) -> tuple[FileSystem, str]:
    """Where the replay of a checkpoint lies."""
    if filesystem is None:
        filesystem, path = FileSystem.from_uri(str(Path(path).absolute()) if "://" not in str(path) else str(path))
    return filesystem, f"{path}/{REPLAY}"
