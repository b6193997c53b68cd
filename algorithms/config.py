"""What all our algorithms' configs share: worlds in batches, who plays with which network, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, Self, TypeVar, get_args

import numpy as np
from pydantic import BaseModel, ValidationError
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.policy.policy import PolicySpec

from algorithms.collector import Collector
from algorithms.exploration import Exploration, exploring
from algorithms.mapping import PolicyMapping, PolicyMode
from algorithms.networks.config import NetworkConfig
from algorithms.networks.module import ActorCriticModule, module_spec
from algorithms.networks.protocol import PolicyNetwork
from algorithms.runner import BatchedEnvRunner
from algorithms.torch_settings import MatmulPrecision
from algorithms.trajectory import Trajectory
from envs.base import AgentGroup, BoolArray, Differentiable, Task
from envs.registry import get_domain

Model = TypeVar("Model", bound=BaseModel)
FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
"""What names of modules must not hold, for checkpoints have a folder for each."""


class BatchedConfig(AlgorithmConfig):
    """Settings of an algorithm on the batched runner, beside RLlib's own.

    `environment(env, env_config=…)` takes the name of one of our domains, or the dotted address of a user's `Domain`,
    and the fields of its config; RLlib's registry is not asked. `num_envs_per_env_runner` is the number of worlds a
    runner steps together. `train_batch_size_per_learner` counts agent-steps: it follows from
    `rollout_fragment_length`, or, if that is `"auto"`, determines it.

    Attributes:
        task: Fields of the task all worlds begin with; the domain's default if None.
        policy_mode: Who shares a network.
        network: Fields of `NetworkConfig`.
        total_envs: Worlds of all runners together; 0: `num_envs_per_env_runner` in each.
        torch_threads: Threads of torch in each process.
        matmul_precision: Precision of float32 matrix products in the learner.
        local_worlds: Whether a local runner without remote ones has worlds; `without_remote_runners` may say no.
        groups: The env's agents, found out by `validate`.
        state_size: Width of the global state, found out by `validate`.
        costs: Names of the env's costs, found out by `validate`.
        noise_correlation: Correlation of the noise in what is tried in one step with that in the next.
        hears: Who hears whom among the env's agents, bool `[A, A]`, found out by `validate`; None: all hear all.
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.task: dict[str, Any] | None = None
        self.policy_mode: PolicyMode = "shared"
        self.network: dict[str, Any] = {}
        self.total_envs = 0
        self.torch_threads = 1
        self.matmul_precision: MatmulPrecision = "highest"
        self.local_worlds = True
        self.groups: dict[str, AgentGroup] = {}
        self.state_size = 0
        self.costs: tuple[str, ...] = ()
        self.hears: BoolArray | None = None
        self.noise_correlation = 0.0
        self.seed = 0
        self.env_runner_cls = BatchedEnvRunner
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 16
        self.rollout_fragment_length: int | Literal["auto"] = 64
        self.sample_timeout_s = None
        self.restart_failed_env_runners = True
        self.max_num_env_runner_restarts = -1  # for ever
        self.delay_between_env_runner_restarts_s = 1.0
        self.env_runner_restore_timeout_s = 300.0
        # Weights are sent by `BatchedAlgorithm`, which waits for them to arrive; there are no connectors to sync.
        self._dont_auto_sync_env_runner_states = True
        self.add_default_connectors_to_learner_pipeline = False

    def batched(
        self,
        *,
        task: Mapping[str, Any] | Task | None = NotProvided,
        policies: PolicyMode = NotProvided,
        network: Mapping[str, Any] | NetworkConfig = NotProvided,
        total_envs: int = NotProvided,
        torch_threads: int = NotProvided,
        matmul_precision: MatmulPrecision = NotProvided,
    ) -> Self:
        """Sets what is ours.

        Args:
            task: The task all worlds begin with, or its fields; None: the domain's default.
            policies: `shared`: one network for all; `per_role`: one a group; `per_agent`: one an agent.
            network: How networks are built, or its fields.
            total_envs: Worlds of all runners together, dealt out evenly; 0: `num_envs_per_env_runner` in each.
            torch_threads: Threads of torch in each process. More than one pays only where cores are idle.
            matmul_precision: Precision of float32 matrix products in the learner: `medium` is faster where the CPU
                has AMX, and moves outputs by up to 4e-3. Runners always compute in full precision.

        Returns:
            This config.
        """
        if task is not NotProvided:
            self.task = task.model_dump() if isinstance(task, BaseModel) else None if task is None else dict(task)
        if policies is not NotProvided:
            self.policy_mode = policies
        if network is not NotProvided:
            self.network = network.model_dump() if isinstance(network, BaseModel) else dict(network)
        if total_envs is not NotProvided:
            self.total_envs = total_envs
        if torch_threads is not NotProvided:
            self.torch_threads = torch_threads
        if matmul_precision is not NotProvided:
            self.matmul_precision = matmul_precision
        return self

    # -- what follows from it --------------------------------------------------------------------------------------

    def policy_mapping(self) -> PolicyMapping:
        """Who plays with which module."""
        return PolicyMapping(self.policy_mode, self.groups)

    def network_config(self) -> NetworkConfig:
        """How networks are built."""
        return checked(NetworkConfig, self.network, "network")

    def num_agents(self) -> int:
        """Agents in a world."""
        return sum(group.size for group in self.groups.values())

    def rollout_steps(self) -> int:
        """Steps `T` of one rollout."""
        if self.rollout_fragment_length != "auto":
            return int(self.rollout_fragment_length)
        return max(1, round((self.train_batch_size_per_learner or self.train_batch_size) / self._rows_a_step()))

    def _rows_a_step(self) -> int:
        """Agent-steps that all runners take together in one step."""
        return max(self.num_env_runners, 1) * self.num_envs_per_env_runner * self.num_agents()

    def without_remote_runners(self) -> Self:
        """A copy for RLlib, which then neither makes remote runners nor asks Tune for room for them.

        `BatchedAlgorithm` makes them itself (see `RemoteRunners`); its local runner has no worlds beside them.
        """
        alone = self.copy(copy_frozen=False)
        alone.num_env_runners, alone.local_worlds = 0, self.num_env_runners == 0
        return alone

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The kind of network; `validate` says how each is built."""
        return RLModuleSpec(module_class=ActorCriticModule)

    # -- what an algorithm brings to sampling ------------------------------------------------------------------------

    def network_spec(self, module_id: str) -> RLModuleSpec:
        """How to build a module's network, which must be a `PolicyNetwork`; an algorithm may have its own.

        Args:
            module_id: The module; `policy_mapping` says who plays with it.
        """
        group = self.policy_mapping().module_spaces(module_id)
        return module_spec(
            group, self.network_config(), self.state_size, self.reads_costs(), hears=self._heard(module_id)
        )

    def collector(self, module: PolicyNetwork, trajectory: Trajectory) -> Collector:
        """How a module acts, and what the learner gets of its trajectory; every algorithm has its own.

        Args:
            module: Its network.
            trajectory: What the runner writes to.
        """
        raise NotImplementedError(f"collector: {type(self).__name__} has none, allowed is a Collector")

    def exploration(self) -> Exploration:
        """How what is tried departs from the policy; every collector is given one of its own."""
        return exploring(self.noise_correlation)

    def reads_state(self) -> bool:
        """Whether trajectories hold the global state."""
        return self.network_config().central_critic

    def reads_costs(self) -> tuple[str, ...]:
        """Names of the costs that trajectories hold."""
        return ()

    def takes_whole_worlds(self) -> bool:
        """Whether what is learned from keeps the agents of a world together, as networks with messages need it."""
        return False

    def takes_sequences(self) -> bool:
        """Whether what is learned from keeps the steps of an agent together, as networks with memory need it."""
        return False

    def _heard(self, module_id: str) -> list[list[bool]] | None:
        """Who hears whom of those that play with a module."""
        if self.hears is None:
            return None
        places = self.policy_mapping().places(module_id)
        heard: list[list[bool]] = self.hears[np.ix_(places, places)].tolist()
        return heard

    def reads_slopes(self) -> bool:
        """Whether trajectories hold slopes: then the env must be `envs.base.Differentiable`, its actions continuous."""
        return False

    # -- checks ----------------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Checks all settings, and finds out about the env's agents.

        Raises:
            ValueError: In one line, naming the setting, what was given and what is allowed.
        """
        if not self._validate_config:
            return
        self._check_settings()
        self._meet_agents()
        if self.rollout_fragment_length != "auto" and not self.in_evaluation:
            self.train_batch_size_per_learner = self.rollout_steps() * self._rows_a_step()
        super().validate()

    def _check_settings(self) -> None:
        if self.total_envs:
            runners = max(self.num_env_runners, 1)
            if self.total_envs < 0 or self.total_envs % runners:
                raise ValueError(f"total_envs: got {self.total_envs}, allowed is a multiple of the {runners} runners")
            self.num_envs_per_env_runner = self.total_envs // runners
        if self.rollout_fragment_length != "auto":
            at_least(1, rollout_fragment_length=self.rollout_fragment_length)
        at_least(1, num_envs_per_env_runner=self.num_envs_per_env_runner, torch_threads=self.torch_threads)
        at_least(0, num_env_runners=self.num_env_runners, seed=self.seed)
        between(0, 1, gamma=self.gamma, noise_correlation=self.noise_correlation)
        one_of(get_args(MatmulPrecision), matmul_precision=self.matmul_precision)
        one_of((0, 1), num_learners=self.num_learners)
        self._check_messages()
        self._check_memory()
        if self.evaluation_interval and self.get_evaluation_config_object().env_runner_cls is BatchedEnvRunner:
            raise ValueError(
                f"evaluation_interval: got {self.evaluation_interval}, allowed is None: the batched runner only "
                "trains; evaluate by a callback, or name another env_runner_cls in evaluation_config"
            )

    def _check_messages(self) -> None:
        """Raises ValueError if agents are to exchange messages where that cannot be learned, or nobody would hear."""
        messages = self.network_config().messages
        if messages == "none":
            return
        if not self.takes_whole_worlds():
            raise ValueError(
                f"network.messages: got {messages}, allowed with ppo: other learners do not keep the agents of a world "
                "together"
            )
        if self.policy_mode == "per_agent":
            raise ValueError(
                f"network.messages: got {messages} with policies per_agent, allowed with shared and per_role: those "
                "who play with one network hear each other"
            )

    def _check_memory(self) -> None:
        """Raises ValueError if agents are to remember where that cannot be learned."""
        memory = self.network_config().memory
        if memory != "none" and not self.takes_sequences():
            raise ValueError(
                f"network.memory: got {memory}, allowed with ppo and qmix: other learners do not keep the steps of an "
                "agent together"
            )

    def _meet_agents(self) -> None:
        """Makes one world, to see who acts in it, and lays down a network for each module."""
        if not isinstance(self.env, str):
            raise ValueError(f"env: got {self.env!r}, allowed is a domain's name, or package.module:attribute")
        domain = get_domain(self.env)
        config = checked(domain.config_type, self.env_config, "env_config")
        task = None if self.task is None else checked(domain.task_type, self.task, "task")
        env = domain.env(config, 1, task=task)
        self.groups, self.state_size, self.costs = env.groups, int(env.state_space.shape[0]), env.costs
        self.hears = env.hears
        if self.reads_slopes() and not (domain.slopes and isinstance(env, Differentiable)):
            raise ValueError(f"domain: got {self.env!r}, allowed for an algorithm by slopes are envs that have them")
        if self.reads_slopes() and any(group.discrete for group in env.groups.values()):
            raise ValueError(
                "action_mode: got discrete actions, allowed for an algorithm by slopes are continuous ones"
            )
        mapping = self.policy_mapping()
        for module_id in mapping.modules:
            if FORBIDDEN.search(module_id) or module_id[-1] in " .":
                raise ValueError(
                    f"policies: got {self.policy_mode!r} with the name {module_id!r}, allowed are names fit for a file"
                )
        self.multi_agent(
            policies={module_id: PolicySpec() for module_id in mapping.modules},
            policy_mapping_fn=partial(module_of_agent, mapping.agent_modules),
        )
        self.rl_module(
            rl_module_spec=MultiRLModuleSpec(
                rl_module_specs={module_id: self.network_spec(module_id) for module_id in mapping.modules}
            )
        )


def module_of_agent(modules: Mapping[str, str], agent_id: str, *args: Any, **kwargs: Any) -> str:
    """RLlib's `policy_mapping_fn`, for those parts of it that ask."""
    return modules[agent_id]


def checked(model: type[Model], fields: Any, setting: str) -> Model:
    """Makes a typed value from its fields.

    Raises:
        ValueError: In one line, naming every key that is wrong, what was given and what is allowed.
    """
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        wrong = (
            f"{'.'.join([setting, *map(str, item['loc'])])}: got {item['input']!r}, {item['msg']}"
            for item in error.errors()
        )
        raise ValueError("; ".join(wrong)) from None


def at_least(least: int, **settings: Any) -> None:
    """Raises ValueError unless all settings are integers, and not below `least`."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}: got {value!r}, allowed is an integer, {least} or more")


def between(low: float, high: float, **settings: Any) -> None:
    """Raises ValueError unless all settings are numbers in `[low, high]`."""
    for name, value in settings.items():
        if not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"{name}: got {value!r}, allowed is {low:g} to {high:g}")


def two(name: str, ends: Any, low: float, high: float) -> None:
    """Raises ValueError unless a setting is two numbers in `[low, high]`: what it is at first, and in the end."""
    if not isinstance(ends, (list, tuple)) or len(ends) != 2:
        raise ValueError(f"{name}: got {ends!r}, allowed are two numbers, at first and in the end")
    for value in ends:
        between(low, high, **{name: value})


def one_of(allowed: tuple[Any, ...], **settings: Any) -> None:
    """Raises ValueError unless all settings are among the allowed values."""
    for name, value in settings.items():
        if value not in allowed:
            raise ValueError(f"{name}: got {value!r}, allowed are {', '.join(map(str, allowed))}")
