"""A batch of one world as RLlib's `MultiAgentEnv`, and the domains under their names in RLlib's registry.

What stock RLlib must be told, because an env cannot say it itself (tried in `tests/envs/adapters/test_rllib.py`):

- Every algorithm: who plays with which network, or RLlib takes the env for one of a single agent. One network for
  all is `.multi_agent(policies={"team"}, policy_mapping_fn=lambda *_, **__: "team")`.
- PPO, IMPALA, APPO: nothing else, in either action mode.
- SAC: continuous actions, and a replay buffer for several agents,
  `.training(replay_buffer_config={"type": "MultiAgentEpisodeReplayBuffer", "capacity": 100_000})`.
- DQN: the same buffer, and one choice an agent, `env_config={"action_mode": "discrete", "flat_actions": True}`: it
  knows no branches, so every combination of them becomes a choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from gymnasium import Space
from numpy.typing import NDArray
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import register_env

from envs.adapters.flat import FlatActions
from envs.adapters.single import Infos, SingleWorld
from envs.base import BatchedEnv, Task
from envs.registry import domain_names, get_domain

EVERYONE = "__all__"
"""RLlib's key for the episode as a whole."""

SINGLE_AGENT = "rllib-single-agent-env-v0"
"""What RLlib's runner of single agents calls the env it makes (`ray.rllib.env.single_agent_env_runner`)."""


class BaseMultiAgentEnvironment(MultiAgentEnv):
    """One world for any stock RLlib algorithm, and for people.

    Its trajectories are those of the same world in a batch, to the bit. What `infos` hold is said in
    `envs.adapters.single.AgentStep`. Actions outside the space are an error and not clipped; RLlib's default
    `normalize_actions=True`, and `clip_actions=True` without it, keep its algorithms within bounds.

    Args:
        env: A batch of one world.
        flat_actions: Whether an agent's branches are one `Discrete` choice, of their combinations.

    Attributes:
        env: The batch.
        possible_agents: Names of all agents.
        agents: Names of the agents alive now.
        observation_spaces: By agent.
        action_spaces: By agent.
        observation_space: One agent's, if all agents share theirs, else None.
        action_space: One agent's, if all agents share theirs, else None.
    """

    def __init__(self, env: BatchedEnv, *, flat_actions: bool = False) -> None:
        super().__init__()
        self.env = env
        self._world = SingleWorld(env)
        self.possible_agents = list(env.agent_ids)
        self.agents = list(env.agent_ids)
        self.observation_spaces = dict(self._world.observation_spaces)
        self.action_spaces: dict[str, Space[Any]] = dict(self._world.action_spaces)
        self._unheard: dict[str, dict[str, dict[str, float]]] = {}
        self._flat: dict[str, FlatActions] = {}
        if flat_actions:
            self._flat = {agent: FlatActions(space, agent) for agent, space in self.action_spaces.items()}
            self.action_spaces = {agent: flat.space for agent, flat in self._flat.items()}
        self.observation_space = _only(self.observation_spaces)
        self.action_space = _only(self.action_spaces)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], Infos]:
        """Begins an episode: of the seed if one is given, else the next one.

        Args:
            seed: Non-negative; the same seed gives the same episodes, to the bit.
            options: Ignored.

        Returns:
            Observations float32 `[D]` and infos, by agent that acts first.

        Raises:
            ValueError: If RLlib was not told that there are several agents.
        """
        if self.spec is not None and self.spec.id == SINGLE_AGENT:
            raise ValueError(
                "multi_agent: got nothing, so RLlib takes this env for one of a single agent; allowed is to say who "
                "plays with which network, such as "
                '.multi_agent(policies={"team"}, policy_mapping_fn=lambda *_, **__: "team")'
            )
        observations, infos = self._world.reset(seed)
        self.agents, self._unheard = list(self._world.agents), {}
        asked = {agent: observations[agent] for agent in self._world.acting}
        return asked, self._flattened({agent: infos[agent] for agent in asked})

    def step(
        self, action_dict: Mapping[str, Any]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """Advances the world by one step.

        Args:
            action_dict: By agent, `[K]` (or one choice), within `action_spaces`; those of agents that are not asked
                are ignored.

        Returns:
            Observations, rewards, terminated (with `__all__`), truncated (`__all__` only) and infos, of the agents that
            were alive before the call or have just arrived. Where agents take turns, only those that act next are
            observed, as RLlib has it, but at the end all are; `objectives` and `costs` in their infos are of all steps
            since they were last observed. An agent that terminated is not heard of again, unless it comes back.

        Raises:
            ValueError: If an action is missing, of an unknown agent, of a wrong shape, not finite or out of bounds.
            RuntimeError: If there is no episode under way.
        """
        step = self._world.step({agent: self._branches(agent, action) for agent, action in action_dict.items()})
        self.agents = list(self._world.agents)
        terminated = step.terminated | {EVERYONE: step.all_terminated}
        # Time is up for all at once. Were it said of each agent too, RLlib 2.60's `MultiAgentEpisode` would take the
        # episode for terminated ("case 2" in its `add_env_step`), and nobody would bootstrap from the last observation.
        truncated = {EVERYONE: step.all_truncated}
        observations, infos = step.observations, step.infos
        if self._world.agents:
            heard = [a for a in observations if a in self._world.acting or step.terminated.get(a, False)]
            observations = {a: observations[a] for a in heard}
        infos = self._added_up(infos, observations)
        return observations, step.rewards, terminated, truncated, self._flattened(infos)

    def set_task(self, task: Task | Mapping[str, Any]) -> None:
        """Sets what is played from the next reset on; a callback's way to a curriculum.

        Args:
            task: A task of the domain, or its fields.

        Raises:
            pydantic.ValidationError: If a key or value is not allowed.
            ValueError: If the env's spaces cannot hold the task.
        """
        kind = type(self.env.tasks[0])
        self._world.set_task(task if isinstance(task, Task) else kind.model_validate(dict(task)))

    def _added_up(self, infos: Infos, heard: Mapping[str, Any]) -> Infos:
        """Infos of those that are observed, with what they earned and cost while they were not."""
        for agent, info in infos.items():
            earlier = self._unheard.pop(agent, {})
            for kind in ("objectives", "costs"):
                if kind in info or kind in earlier:
                    one, other = info.get(kind, {}), earlier.get(kind, {})
                    info[kind] = {name: one.get(name, 0.0) + other.get(name, 0.0) for name in one or other}
            if agent not in heard:
                self._unheard[agent] = {kind: info[kind] for kind in ("objectives", "costs") if kind in info}
        return {agent: infos[agent] for agent in heard}

    def _branches(self, agent: str, action: Any) -> Any:
        """An action as the world takes it."""
        if agent not in self._flat or agent not in self.agents:
            return action
        try:
            return self._flat[agent].branches(action)
        except ValueError as error:
            raise ValueError(f"actions[{agent!r}]: {error}") from None

    def _flattened(self, infos: Infos) -> Infos:
        """Masks of the agents' own choices in place of those of branches."""
        for agent, flat in self._flat.items():
            if "action_mask" in infos.get(agent, {}):
                infos[agent]["action_mask"] = flat.mask(infos[agent]["action_mask"])
        return infos

    def state(self) -> NDArray[np.float32]:
        """The global state, float32 `[S]`, for centralised critics."""
        return self._world.state.copy()


def _only(spaces: Mapping[str, Any]) -> Any:
    """The space that all agents have, or None."""
    first, *others = spaces.values()
    return first if all(space == first for space in others) else None


def make_environment(domain: str, config: Mapping[str, Any] | None = None) -> BaseMultiAgentEnvironment:
    """Makes one world of a domain for RLlib.

    Args:
        domain: Name of a domain, as `envs.registry.get_domain` takes it.
        config: Fields of the domain's config; `task`, the fields of the task it begins with; and `flat_actions`.
    """
    fields = dict(config or {})
    task, flat = fields.pop("task", None), fields.pop("flat_actions", False)
    return BaseMultiAgentEnvironment(get_domain(domain).env(fields, 1, task=task), flat_actions=flat)


def register_envs() -> None:
    """Registers every built-in domain by its name, for `AlgorithmConfig.environment("trading", env_config={…})`."""
    for name in domain_names():
        register_env(name, partial(make_environment, name))
