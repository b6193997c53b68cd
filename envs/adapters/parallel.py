"""A batch of one world as PettingZoo's `ParallelEnv`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from envs.adapters.single import Infos, SingleWorld
from envs.base import BatchedEnv


class BatchedParallelEnv(ParallelEnv):
    """One world for the rest of the ecosystem.

    Its trajectories are those of the same world in a batch, to the bit. What `infos` hold is said in
    `envs.adapters.single.AgentStep`, but masks are as Gymnasium knows them: `action_mask` is what the action space's
    `sample` takes, a tuple of int8 arrays, one a branch; spaces of continuous actions take none, and which of their
    dimensions count is `dimension_mask`, bool `[K]`. Where agents take turns, an action of one that is not in `acting`
    may be left out, and is ignored.

    With `vector_rewards` rewards are MOMAland's (Felten et al. 2024, https://arxiv.org/abs/2407.16312): arrays of the
    objectives, float32 `[R]`, each agent's own, in `reward_space`. What the env pays otherwise is their sum, weighted
    by the task, and mixed within the team.

    Args:
        env: A batch of one world.
        name: Name of the environment.
        vector_rewards: Whether rewards are arrays of objectives.

    Attributes:
        env: The batch.
        possible_agents: Names of all agents.
        agents: Names of the agents alive now; more may arrive.
        acting: Names of those of them that are asked for an action now.
        state_space: Space of the global state.
        reward_spaces: Spaces of rewards by agent, if they are arrays of objectives.

    Raises:
        ValueError: If rewards are to be arrays of objectives, and the env has none.
    """

    metadata: ClassVar[dict[str, Any]] = {"name": "entrepot_v0", "render_modes": []}

    def __init__(self, env: BatchedEnv, name: str | None = None, *, vector_rewards: bool = False) -> None:
        if vector_rewards and not env.objectives:
            raise ValueError("vector_rewards: got True, allowed is an env with objectives, this one has none")
        self.env = env
        self._world = SingleWorld(env)
        self.metadata = {**type(self).metadata, **({"name": name} if name else {})}  # type: ignore[misc]
        self.render_mode = None
        self.possible_agents = list(env.agent_ids)
        self.agents: list[str] = []
        self.acting: list[str] = []
        self.observation_spaces = dict(self._world.observation_spaces)
        self.action_spaces = dict(self._world.action_spaces)
        self.state_space = env.state_space
        self.reward_spaces: dict[str, Box] = {}
        if vector_rewards:
            shape = (len(env.objectives),)
            self.reward_spaces = {agent: Box(-np.inf, np.inf, shape, np.float32) for agent in self.possible_agents}

    def observation_space(self, agent: str) -> Box:
        """One agent's observation: float32 `[D]`."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box | MultiDiscrete:
        """One agent's action `[K]`."""
        return self.action_spaces[agent]

    def reward_space(self, agent: str) -> Box:
        """One agent's reward, float32 `[R]`, if rewards are arrays of objectives."""
        return self.reward_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[np.float32]], Infos]:
        """Begins an episode: of the seed if one is given, else the next one; `options` is ignored."""
        observations, infos = self._world.reset(seed)
        self.agents, self.acting = list(self._world.agents), list(self._world.acting)
        return observations, self._in_their_form(infos)

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any], dict[str, bool], dict[str, bool], Infos]:
        """Advances the world by one step.

        Args:
            actions: By agent, `[K]`, within `action_space`; those of agents no longer alive are ignored.

        Returns:
            Observations, rewards (numbers, or arrays of objectives), terminations, truncations and infos of the agents
            that were alive before the call, and of those that have just arrived.

        Raises:
            ValueError: If an action is missing, of an unknown agent, of a wrong shape, not finite or out of bounds.
            RuntimeError: If there is no episode under way.
        """
        step = self._world.step(actions)
        self.agents, self.acting = list(self._world.agents), list(self._world.acting)
        newcomers = [agent for agent in step.observations if agent not in step.rewards]
        rewards: dict[str, Any] = step.rewards | dict.fromkeys(newcomers, 0.0)
        if self.reward_spaces:
            nothing = dict.fromkeys(self.env.objectives, 0.0)
            earned = {agent: step.infos[agent].get("objectives", nothing).values() for agent in rewards}
            rewards = {agent: np.array(list(values), np.float32) for agent, values in earned.items()}
        terminated, truncated = (by | dict.fromkeys(newcomers, False) for by in (step.terminated, step.truncated))
        return step.observations, rewards, terminated, truncated, self._in_their_form(step.infos)

    def _in_their_form(self, infos: Infos) -> Infos:
        """Replaces flat masks by what Gymnasium's spaces take."""
        for agent, info in infos.items():
            mask = info.pop("action_mask", None)
            space = self.action_spaces[agent]
            if isinstance(space, MultiDiscrete) and mask is not None:
                branches = np.split(mask.astype(np.int8), np.cumsum(space.nvec)[:-1])
                info["action_mask"] = tuple(branches)
            elif mask is not None:
                info["dimension_mask"] = mask
        return infos

    def state(self) -> NDArray[np.float32]:
        """The global state, float32 `[S]`."""
        return self._world.state.copy()

    def render(self) -> None:
        """There is nothing to draw."""

    def close(self) -> None:
        """There is nothing to close."""
