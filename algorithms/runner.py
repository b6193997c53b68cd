"""Samples many worlds at once: RLlib's env runner, over arrays instead of episodes of dicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from gymnasium import Space
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.metrics import (
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
)

from algorithms.collector import Collector
from algorithms.costs import shared
from algorithms.mapping import PolicyMapping
from algorithms.networks.protocol import network_of
from algorithms.registry import resolve
from algorithms.rollout import EpisodeRecord, Rollout, acted
from algorithms.seeds import Use, derived_seed, generator
from algorithms.torch_settings import use_threads
from algorithms.trajectory import Trajectory
from envs.base import BatchedEnv, BoolArray, Differentiable, FloatArray, Observation, Task
from envs.registry import get_domain


class BatchedEnvRunner(EnvRunner):
    """Steps `B` worlds together and runs one forward pass a module and step.

    With remote runners the local one has a module, from which they are restored, but no worlds. Worlds are numbered
    through all runners, so that runner 2 of two with 8 worlds plays what worlds 8 to 15 of a single one would.

    Args:
        config: A `BatchedConfig`.
        worker_index: 0 for the local runner, from 1 for remote ones.
        **kwargs: What else RLlib passes to runners.
    """

    def __init__(self, *, config: Any, worker_index: int = 0, **kwargs: Any) -> None:
        super().__init__(config=config, worker_index=worker_index, **kwargs)
        use_threads(config.torch_threads)
        self.env: BatchedEnv | None = None
        self.num_env_steps_sampled_lifetime: int = 0
        self.round = 0
        self._restarts = 0
        self._tasks: list[dict[str, Any]] = []
        self._observation: Observation | None = None
        self._collectors: dict[str, Collector] = {}
        self._memories: dict[str, FloatArray] = {}
        self._anew: BoolArray = np.zeros(0, np.bool_)
        self._weights_seq_no = 0
        self.mapping: PolicyMapping = self.config.policy_mapping()
        self.make_env()
        self.make_module()

    # -- construction ----------------------------------------------------------------------------------------------

    def make_env(self) -> None:
        """Makes the worlds, which begin afresh; none in a local runner that has remote ones beside it."""
        remote_ones = self.num_workers > 0 or not self.config.local_worlds
        if self.worker_index == 0 and remote_ones and not self.config.create_env_on_local_worker:
            return
        self.env = get_domain(self.config.env).env(
            self.config.env_config,
            self.config.num_envs_per_env_runner,
            task=self.config.task,
            first_world=self._position * self.config.num_envs_per_env_runner,
        )
        self._observation, self._anew = None, np.zeros(self.env.num_worlds, np.bool_)
        self._collectors = {}
        if self._tasks:
            self.set_tasks(self._tasks)

    def make_module(self) -> None:
        """Makes the networks, critics included: values are computed where the observations are."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces())
        self.module: MultiRLModule = spec.build()

    def get_spaces(self) -> dict[str, tuple[Space[Any], Space[Any]]]:
        """Observation and action spaces by module, and under RLlib's names for those of the env."""
        spaces: dict[str, tuple[Space[Any], Space[Any]]] = {}
        for module_id in self.mapping.modules:
            group = self.mapping.module_spaces(module_id)
            spaces[module_id] = (group.observation_space, group.action_space)
        first = next(iter(spaces.values()))
        return {INPUT_ENV_SPACES: first, INPUT_ENV_SINGLE_SPACES: first, **spaces}

    @property
    def _position(self) -> int:
        """Place among the runners that have worlds: a single remote runner is in the local one's place."""
        return max(self.worker_index - 1, 0)

    # -- sampling --------------------------------------------------------------------------------------------------

    def sample(self, *, round: int | None = None, num_timesteps: int | None = None, **kwargs: Any) -> Rollout:
        """Plays all worlds on by one rollout.

        Args:
            round: Number of the rollout, which keys the randomness of actions; by default one more than the last.
            num_timesteps: Steps, summed over the worlds; by default `rollout_fragment_length` in each.
            **kwargs: Ignored; RLlib may pass more.

        Raises:
            RuntimeError: If this runner has no worlds.
        """
        if self.env is None:
            raise RuntimeError("sample: the local runner has no worlds, the remote ones do")
        self.round = self.round if round is None else round
        worlds = self.env.num_worlds
        steps = self.config.rollout_steps() if num_timesteps is None else -(-num_timesteps // worlds)
        began = self._anew if self._observation is not None else np.ones(worlds, np.bool_)
        self._anew = np.zeros(worlds, np.bool_)
        if self._observation is None:
            self._observation = self.env.reset(self._world_seed())
            self._memories = {}
        collectors = self._ready(steps, self._observation)
        for module_id, collector in collectors.items():
            collector.trajectory.began = began
            collector.trajectory.memories[0] = self._memories.get(module_id, 0.0)
        with torch.inference_mode():
            episodes = self._play(collectors, steps)
            batches = {module_id: collector.finish() for module_id, collector in collectors.items()}
        self._memories = {module_id: collector.trajectory.memories[-1] for module_id, collector in collectors.items()}
        self.round += 1
        rollout = Rollout(self.worker_index, batches, steps * worlds, episodes)
        self._count(rollout)
        return rollout

    def sample_or_error(self, round: int) -> Rollout | Exception:
        """As `sample`, for remote calls: returns an exception, which would otherwise cost the actor its life."""
        try:
            return self.sample(round=round)
        except Exception as error:
            return error

    def _ready(self, steps: int, observation: Observation) -> dict[str, Collector]:
        """The modules' collectors, with trajectories to write to: those of the last rollout, if they fit."""
        assert self.env is not None
        if not self._collectors or next(iter(self._collectors.values())).trajectory.shape[0] != steps:
            for module_id, parts in self.mapping.modules.items():
                module = network_of(self.module[module_id])
                trajectory = Trajectory(
                    self.mapping,
                    module_id,
                    steps,
                    self.env.num_worlds,
                    masked=any(part.group in observation.action_masks for part in parts),
                    state_size=self.config.state_size if self.config.reads_state() else 0,
                    whole_worlds=module.whole_worlds,
                    costs=[self.env.costs.index(name) for name in self.config.reads_costs()],
                    memory_size=module.memory_size + module.critic_memory_size,
                )
                self._collectors[module_id] = self.config.collector(module, trajectory)
        for collector in self._collectors.values():
            collector.trajectory.begin()
        return self._collectors

    def _play(self, collectors: Mapping[str, Collector], steps: int) -> list[EpisodeRecord]:
        """Fills the trajectories; returns the episodes that ended."""
        assert self.env is not None
        assert self._observation is not None
        env, observation = self.env, self._observation
        draws = generator(Use.ACTIONS, self.config.seed, self._position, self.round)
        actions: dict[str, NDArray[Any]] = {
            group.name: np.zeros(
                (env.num_worlds, group.size, group.num_actions), np.int64 if group.discrete else np.float32
            )
            for group in env.groups.values()
        }
        episodes: list[EpisodeRecord] = []
        tape = env if self.config.reads_slopes() and isinstance(env, Differentiable) else None
        if tape is not None:
            tape.record()
        for step in range(steps):
            for module_id, collector in collectors.items():
                collector.trajectory.see(step, observation)
                self.mapping.scatter(actions, module_id, collector.act(step, draws))
            result = env.step(actions)
            if self.config.reads_costs():
                charged = shared(result.costs, observation.alive, env.team_weight)
                for collector in collectors.values():
                    collector.trajectory.charge(step, charged)
            observation = result.observation
            for collector in collectors.values():
                collector.trajectory.outcome(step, result)
            if result.final is not None:
                episodes += EpisodeRecord.of(result.final)
        felt = None if tape is None else resolve(get_domain(self.config.env).slopes)(tape.recorded())
        for collector in collectors.values():
            collector.trajectory.see(steps, observation)
            if felt is not None:
                collector.trajectory.feel(felt)
        self._observation = observation
        return episodes

    # -- tasks and worlds ------------------------------------------------------------------------------------------

    def set_tasks(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Sets what is played from each world's next episode on: world `w` of the run plays `tasks[w % len(tasks)]`.

        Args:
            tasks: Fields of the tasks.
        """
        self._tasks = [dict(task) for task in tasks]
        if self.env is None:
            return
        task_type = get_domain(self.config.env).task_type
        made: list[Task] = [task_type.model_validate(task) for task in self._tasks]
        first = self._position * self.env.num_worlds
        self.env.set_tasks([made[(first + world) % len(made)] for world in range(self.env.num_worlds)])

    def restart(self, *, round: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Called once in a runner that took a dead one's place: its worlds begin episodes nobody has played yet.

        Args:
            round: Number of the rollout that comes next.
            tasks: As for `set_tasks`; empty: the task in the config.
        """
        self.round, self._restarts, self._observation = round, round, None
        if tasks:
            self.set_tasks(tasks)

    def get_worlds(self) -> dict[str, Any]:
        """Everything about the worlds that a checkpoint needs, beside the weights."""
        started = self.env is not None and self._observation is not None
        return {
            "worker_index": self.worker_index,
            "env": self.env.get_state() if self.env is not None and started else None,
            "clock": self.env.clock.copy() if self.env is not None and started else None,
            "memories": {module_id: memory.copy() for module_id, memory in self._memories.items()} if started else {},
            "num_worlds": 0 if self.env is None else self.env.num_worlds,
            "tasks": self._tasks,
            "round": self.round,
            "restarts": self._restarts,
        }

    def set_worlds(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_worlds` returned, in this or in another runner with as many worlds."""
        self.round, self._restarts = state["round"], state["restarts"]
        self._tasks = [dict(task) for task in state["tasks"]]
        if state["env"] is None:  # it had not begun
            self.make_env()
        elif self.env is not None:
            self.env.set_state(state["env"])  # the tasks of coming episodes included
            self._observation = self.env.observe()
            self._memories = {module_id: memory.copy() for module_id, memory in state.get("memories", {}).items()}
            self._anew = self.env.clock != state["clock"]  # a stranger's worlds may have begun anew
            for memory in self._memories.values():
                memory[self._anew] = 0.0

    def _world_seed(self) -> int:
        """The worlds' seed: the run's own, or, after a restart, one that no other restart had."""
        seed = int(self.config.seed) + (1_000_000 if self.config.in_evaluation else 0)
        return derived_seed(Use.RESTARTED_WORLDS, seed, self._restarts) if self._restarts else seed

    # -- what RLlib asks for ---------------------------------------------------------------------------------------

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Weights and counters; the worlds' state is `get_worlds`."""
        state: dict[str, Any] = {
            WEIGHTS_SEQ_NO: self._weights_seq_no,
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime,
        }
        wanted = _as_list(components)
        if (not wanted or COMPONENT_RL_MODULE in wanted) and COMPONENT_RL_MODULE not in _as_list(not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(**kwargs)
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over weights and counters, whichever are there."""
        if COMPONENT_RL_MODULE in state:
            weights = state[COMPONENT_RL_MODULE]
            self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            self._weights_seq_no = state.get(WEIGHTS_SEQ_NO, 0)
        self.num_env_steps_sampled_lifetime = state.get(
            NUM_ENV_STEPS_SAMPLED_LIFETIME, self.num_env_steps_sampled_lifetime
        )

    def _count(self, rollout: Rollout) -> None:
        """Logs the steps."""
        steps = rollout.env_steps()
        self.num_env_steps_sampled_lifetime += steps
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        self.metrics.log_value(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum")
        for module_id, batch in rollout.batches.items():  # RLlib wants these by some id, and sums over it
            rows = acted(batch)
            self.metrics.log_value((NUM_AGENT_STEPS_SAMPLED, module_id), rows, reduce="sum")
            self.metrics.log_value((NUM_AGENT_STEPS_SAMPLED_LIFETIME, module_id), rows, reduce="lifetime_sum")

    def get_metrics(self) -> Any:
        """What was counted since the last call."""
        return self.metrics.reduce()

    def assert_healthy(self) -> None:
        """Raises AssertionError unless construction came to its end."""
        assert self.module, "the runner has no module"

    def stop(self) -> None:
        """Lets the worlds go."""
        self.env = None


def _as_list(names: str | Collection[str] | None) -> list[str]:
    """RLlib passes one name, several, or none."""
    return [names] if isinstance(names, str) else list(names or ())
