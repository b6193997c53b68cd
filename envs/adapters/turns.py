"""A PettingZoo `AECEnv`, whose agents act one after the other, as an env that is stepped by all agents at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TurnTaking:
    """The methods of a `ParallelEnv` over an `AECEnv`: one step is one agent's action.

    All agents are observed in every step, `acting` names the only one whose action counts. An agent that is over is
    stepped out of the way with None, as PettingZoo asks, and what all saw when it was over is what is returned.

    Args:
        env: The `AECEnv`.

    Attributes:
        possible_agents: Names of all agents.
        acting: Who acts next; nobody when the episode is over.
    """

    def __init__(self, env: Any) -> None:
        self.env = env
        self.possible_agents = list(getattr(env, "possible_agents", ()))
        self.acting: frozenset[Any] = frozenset()

    @property
    def unwrapped(self) -> Any:
        """The env itself, after which errors are named."""
        return getattr(self.env, "unwrapped", self.env)

    @property
    def metadata(self) -> Any:
        """What the env says about itself."""
        return getattr(self.env, "metadata", {})

    @property
    def agents(self) -> list[Any]:
        """Agents that take part now."""
        return list(self.env.agents)

    def observation_space(self, agent: Any) -> Any:
        """One agent's observations."""
        return self.env.observation_space(agent)

    def action_space(self, agent: Any) -> Any:
        """One agent's actions."""
        return self.env.action_space(agent)

    def state(self) -> Any:
        """The global state, where the env has one."""
        return self.env.state()

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
        """Begins an episode: observations and infos of all agents."""
        self.env.reset(seed=seed, options=options)
        seen = self._observed()
        infos = dict(self.env.infos)
        self._next_turn()
        return seen, infos

    def step(self, actions: Mapping[Any, Any]) -> tuple[Any, ...]:
        """Lets the one whose turn it is act: observations, rewards, terminations, truncations and infos of all."""
        agent = self.env.agent_selection
        self.env.step(actions[agent])
        rewards, infos = dict(self.env.rewards), dict(self.env.infos)
        over, cut = dict(self.env.terminations), dict(self.env.truncations)
        seen = self._observed()
        self._next_turn()
        return seen, rewards, over, cut, infos

    def _observed(self) -> dict[Any, Any]:
        return {agent: self.env.observe(agent) for agent in self.env.agents}

    def _next_turn(self) -> None:
        """Takes agents that are over out of the way, until it is the turn of one that is not."""
        env = self.env
        while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
            env.step(None)
        self.acting = frozenset([env.agent_selection] if env.agents else [])


def one_step_at_a_time(env: Any) -> Any:
    """The env itself, or, if its agents take turns as PettingZoo's `AECEnv` has it, `TurnTaking`."""
    return TurnTaking(env) if callable(getattr(env, "agent_iter", None)) else env
