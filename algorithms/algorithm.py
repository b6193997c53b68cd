"""What all our algorithms share: runners that sample in batches, tasks, restarts, and complete checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import (
    COMPONENT_ENV_RUNNER,
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_RL_MODULE,
)
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils import force_list
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
)

from algorithms.checkpoint import COMPONENT_RUN, capture_run, restore_run
from algorithms.remote_runners import PROBE_PERIOD, RemoteRunners, RunnersEnter
from algorithms.rollout import EpisodeRecord, Rollout, acted
from algorithms.torch_settings import use_threads
from envs.base import Task
from envs.registry import get_domain

if TYPE_CHECKING:
    from algorithms.policy import ModulePolicy

TASK_RESULTS = "tasks"
"""Key of the results by task."""


class BatchedAlgorithm(Algorithm):
    """An RLlib algorithm on `BatchedEnvRunner`s. Subclasses write `training_step`.

    Attributes:
        rounds: Rollouts taken so far: keys the randomness of actions and minibatches.
        tasks: What is being played, as `set_tasks` got it; empty: the task in the config.
        finished_episodes: The episodes that ended in the last iteration.
        episode_stats: Means over the last iteration in which episodes ended.
        domain: The env's domain.
        runners: The remote runners; None if the local one samples.
    """

    config: Any
    callbacks: list[Any]

    def setup(self, config: Any) -> None:
        """Makes runners and learners; called by RLlib."""
        use_threads(self.config.torch_threads)
        self.rounds = 0
        self.tasks: list[Task] = []
        self.finished_episodes: list[EpisodeRecord] = []
        self.episode_stats: dict[str, float] = {}
        self.domain = get_domain(self.config.env)
        self._judge = self.domain.env(self.config.env_config, 1)  # one world, to ask whether a task fits
        self._sampled_at = time.perf_counter()
        self.runners: RemoteRunners | None = None
        if not self.config.num_env_runners:
            super().setup(config)
        else:
            self._whole_config = self.config
            # They start while the learners are made.
            self.runners = RemoteRunners(self.config, log_dir=self.logdir, tune_trial_id=self.trial_id)
            self.config = self.config.without_remote_runners()
            self.config.callbacks_class = [RunnersEnter, *force_list(self.config.callbacks_class)]
            self.config.freeze()
            super().setup(config)
        self.send_weights()

    def let_runners_in(self) -> None:
        """Called in the course of `setup`, when the runners may come: from here on all is as the user configured it."""
        self.config = self._whole_config
        self.callbacks = self.callbacks[1:]
        assert self.runners is not None
        self.runners.enter(self.env_runner_group)

    @classmethod
    def default_resource_request(cls, config: Any) -> Any:
        """What Tune keeps free for a trial: room for the main process and the learner, and not for the runners."""
        whole = cls.get_default_config().update_from_dict(config)
        whole.validate()
        return super().default_resource_request(whole.without_remote_runners().experimental(_validate_config=False))

    def cleanup(self) -> None:
        """Lets all processes go; called by RLlib."""
        if self.runners is not None:
            self.runners.stop()
        super().cleanup()

    # -- tasks and policies ----------------------------------------------------------------------------------------

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Sets what is played from each world's next episode on: world `w` of the run plays `tasks[w % len(tasks)]`.

        The tasks are remembered: runners that are recreated get them, and checkpoints hold them.

        Args:
            tasks: One or more of the domain's tasks.

        Raises:
            ValueError: If there is none, or one does not fit the spaces of this run.
        """
        if not tasks:
            raise ValueError("tasks: got none, allowed is one or more")
        for task in dict.fromkeys(tasks):
            if not isinstance(task, self.domain.task_type):
                raise ValueError(f"tasks: got {type(task).__name__}, allowed is {self.domain.task_type.__name__}")
            self._judge.admit(task)
        self.tasks = list(tasks)
        self._call_runners("set_tasks", tasks=self._task_fields())

    def _task_fields(self) -> list[dict[str, Any]]:
        return [task.model_dump() for task in self.tasks]

    def as_policy(self) -> ModulePolicy:
        """The team as it stands, as a `Policy`: it goes on learning as the networks do."""
        from algorithms.policy import ModulePolicy

        return ModulePolicy(self.env_runner.module, self.config.policy_mapping())

    # -- runners ---------------------------------------------------------------------------------------------------

    @property
    def remote(self) -> bool:
        """Whether remote runners sample, and not the local one."""
        return bool(self.env_runner_group.num_remote_env_runners())

    def _call_runners(self, method: str, workers: list[int] | None = None, **kwargs: Any) -> None:
        """Calls a method of all runners that have worlds, or of some remote ones, and waits for it."""
        if self.remote:
            self.env_runner_group.foreach_env_runner(
                method, kwargs=kwargs, remote_worker_ids=workers, local_env_runner=False
            )
        else:
            getattr(self.env_runner, method)(**kwargs)

    def sample_runners(self) -> list[Rollout]:
        """One rollout of every runner, in the runners' order.

        A runner that dies meanwhile is missing; if all do, they are brought back and asked again.

        Raises:
            RuntimeError: If none comes back within `env_runner_restore_timeout_s`.
            Exception: What a runner's env or network raised.
        """
        if not self.remote:
            return [self.env_runner.sample(round=self.rounds)]
        patience, alone_since = self.config.env_runner_restore_timeout_s, math.inf
        while True:
            results = self.env_runner_group.foreach_env_runner(
                "sample_or_error",
                kwargs={"round": self.rounds},
                local_env_runner=False,
                timeout_seconds=self.config.sample_timeout_s,
            )
            for result in results:
                if isinstance(result, Exception):
                    raise result
            if results:
                return sorted(results, key=lambda rollout: rollout.worker_index)
            alone_since = min(alone_since, time.monotonic())
            if time.monotonic() - alone_since > patience:
                raise RuntimeError(
                    f"env runners: all of them died, and none came back in {patience:g} s; their logs say why"
                )
            if not self.restore_env_runners(self.env_runner_group):
                time.sleep(PROBE_PERIOD)

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """Brings runners up to date that have just come or come back: weights, tasks, and worlds of their own.

        It never waits for those that have not; RLlib calls it before every iteration.
        """
        if env_runner_group is not self.env_runner_group:
            others: list[int] = super().restore_env_runners(env_runner_group)
            return others
        arrived = self.runners.arrivals() if self.runners is not None else []
        if arrived:
            self._counters["total_num_restored_workers"] += len(arrived)
            self.send_weights(arrived)
            self.restart_worlds(arrived)
        return arrived

    def restart_worlds(self, workers: list[int]) -> None:
        """Begins new episodes, with random streams not used before, in all worlds of some runners."""
        self._call_runners("restart", workers, round=self.rounds, tasks=self._task_fields())

    def send_weights(self, workers: list[int] | None = None) -> None:
        """Sends the learners' networks to all runners, or to some remote ones, and waits until they have them.

        RLlib's own `sync_weights` does not wait, and drops what it sends while an earlier request is on its way.
        """
        state = self.learner_group.get_state(components=f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}")[COMPONENT_LEARNER]
        if workers is None:
            self.env_runner.set_state(state)
        if self.remote:
            self.env_runner_group.foreach_env_runner(
                "set_state", kwargs={"state": ray.put(state)}, remote_worker_ids=workers, local_env_runner=False
            )

    # -- results ---------------------------------------------------------------------------------------------------

    def log_rollouts(self, rollouts: Sequence[Rollout]) -> None:
        """Logs steps and episodes of one iteration, under RLlib's names, and by task under `tasks`."""
        steps = sum(rollout.env_steps() for rollout in rollouts)
        agent_steps = sum(rollout.agent_steps() for rollout in rollouts)
        now = time.perf_counter()
        log = self.metrics.log_value
        log((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED), steps, reduce="sum")
        log((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), steps, reduce="lifetime_sum")
        for module_id in rollouts[0].batches:  # RLlib wants agent steps by some id, and sums over it
            rows = sum(acted(rollout.batches[module_id]) for rollout in rollouts)
            log((ENV_RUNNER_RESULTS, NUM_AGENT_STEPS_SAMPLED, module_id), rows, reduce="sum")
            log((ENV_RUNNER_RESULTS, NUM_AGENT_STEPS_SAMPLED_LIFETIME, module_id), rows, reduce="lifetime_sum")
        log(NUM_AGENT_STEPS_SAMPLED, agent_steps, reduce="sum")
        log(NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent_steps, reduce="lifetime_sum")
        log("runners_wanted", self.config.num_env_runners, window=1)
        log("runners_healthy", self.env_runner_group.num_healthy_remote_env_runners(), window=1)
        log("agent_steps_per_s", agent_steps / max(now - self._sampled_at, 1e-9), window=1)
        self._sampled_at = now
        self._log_episodes([record for rollout in rollouts for record in rollout.episodes])

    def _log_episodes(self, episodes: list[EpisodeRecord]) -> None:
        self.finished_episodes = episodes
        if episodes:
            self.episode_stats = {
                EPISODE_RETURN_MEAN: float(np.mean([record.mean_return for record in episodes])),
                EPISODE_LEN_MEAN: float(np.mean([record.length for record in episodes])),
            }
        for name, value in self.episode_stats.items():
            self.metrics.log_value((ENV_RUNNER_RESULTS, name), value, window=1)
        self.metrics.log_value((ENV_RUNNER_RESULTS, NUM_EPISODES), len(episodes), reduce="sum")
        by_task: dict[str, list[EpisodeRecord]] = {}
        for record in episodes:
            by_task.setdefault(record.task, []).append(record)
        for task, records in by_task.items():
            figures = {
                NUM_EPISODES: float(len(records)),
                EPISODE_RETURN_MEAN: float(np.mean([record.mean_return for record in records])),
                EPISODE_LEN_MEAN: float(np.mean([record.length for record in records])),
                **{name: float(np.mean([r.metrics[name] for r in records])) for name in records[0].metrics},
            }
            for name, value in figures.items():
                self.metrics.log_value((TASK_RESULTS, task, name), value, window=1)

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def own_state(self) -> dict[str, Any]:
        """What an algorithm remembers beside its networks, as plain values that nothing else changes."""
        return {}

    def set_own_state(self, state: dict[str, Any]) -> None:
        """Restores what `own_state` returned."""

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The learners; the runners' part is in the algorithm's own state, since all of them have one."""
        return [(COMPONENT_LEARNER_GROUP, self.learner_group)]

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The complete state: RLlib's, and under `run` what that leaves out."""
        left_out = [not_components] if isinstance(not_components, str) else list(not_components or ())
        state: dict[str, Any] = super().get_state(
            components, not_components=[*left_out, COMPONENT_ENV_RUNNER], **kwargs
        )
        if components is None and COMPONENT_RUN not in left_out:
            state[COMPONENT_RUN] = capture_run(self)
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        super().set_state(state)
        if COMPONENT_LEARNER_GROUP in state:
            self.send_weights()
        if COMPONENT_RUN in state:
            restore_run(self, state[COMPONENT_RUN])

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint, or one component of it."""
        super().restore_from_path(path, *args, **kwargs)
        self.send_weights()
