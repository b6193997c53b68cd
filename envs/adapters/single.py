"""One world as dictionaries by agent: what the RLlib and the PettingZoo adapter have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from envs.base import AgentGroup, BatchedEnv, Observation, Task

Infos = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class AgentStep:
    """What came of a step, by agent that was alive before it.

    Attributes:
        observations: What is seen next, float32 `[D]`; of an agent that terminated, zeros; also of agents that have
            just arrived, who are in nothing else but `infos`.
        rewards: For the action just taken.
        terminated: The agent's future is over.
        truncated: The agent lives, but time is up.
        infos: `action_mask` bool `[M]`, where there are masks; `objectives` and `costs` of the action just taken, by
            name, where the env has any; when the episode ends also `metrics`, the domain's figures of it, and `return`,
            the sum of the agent's own rewards.
        all_terminated: No agent is alive any more.
        all_truncated: Time is up.
    """

    observations: dict[str, NDArray[np.float32]]
    rewards: dict[str, float]
    terminated: dict[str, bool]
    truncated: dict[str, bool]
    infos: Infos
    all_terminated: bool
    all_truncated: bool


class SingleWorld:
    """The only world of a `BatchedEnv`, which restarts when it is told to and not by itself.

    Args:
        env: A batch of one world.

    Attributes:
        env: The batch.
        agents: Names of the agents alive now; none before the first reset and after the end of an episode.
        acting: Names of those of them that are asked for an action now.
        observation_spaces: By agent.
        action_spaces: By agent; each agent's own, so that they can be seeded apart.
        state: Global state now, or at the end of the episode that is over, float32 `[S]`.
    """

    def __init__(self, env: BatchedEnv) -> None:
        if env.num_worlds != 1:
            raise ValueError(f"env: got {env.num_worlds} worlds, allowed is a batch of 1")
        self.env = env
        self.agents: list[str] = []
        self.acting: list[str] = []
        self._places = {agent: (g, a) for g in env.groups.values() for a, agent in enumerate(g.agent_ids)}
        self.observation_spaces: dict[str, Box] = {a: g.observation_space for a, (g, _) in self._places.items()}
        self.action_spaces = {agent: _own_space(group) for agent, (group, _) in self._places.items()}
        self.state = np.zeros(env.state_space.shape, np.float32)
        self._started = False
        self._begun = False  # whether the batch has by itself begun the episode that the next reset returns
        self._task_waits = False

    def reset(self, seed: int | None) -> tuple[dict[str, NDArray[np.float32]], Infos]:
        """Begins an episode.

        Args:
            seed: Begins episode 0 of this seed. If None, the next episode of the last one, or, at the first call,
                episode 0 of a seed drawn by the operating system.

        Returns:
            What the agents see, and infos as in `AgentStep`.
        """
        if seed is None and self._started:
            # The step that ended the last episode has begun the next one, unless this is a reset in mid-episode; a task
            # set since is not in it.
            seen = self.env.observe() if self._begun and not self._task_waits else self.env.restart([0])
        else:
            seen = self.env.reset(int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed)
        self._started, self._begun, self._task_waits = True, False, False
        self.state = seen.state[0].copy()
        self.agents, self.acting = self._those(seen.alive), self._those(seen.acts)
        return self._seen(seen, self.agents), self._infos(seen, self.agents)

    def step(self, actions: Mapping[str, Any]) -> AgentStep:
        """Advances the world by one step.

        Args:
            actions: By agent, `[K]`; those of agents that are not asked are ignored.

        Raises:
            ValueError: If an action is missing, of an unknown agent, of a wrong shape, not finite or out of bounds.
            RuntimeError: If there is no episode under way.
        """
        if not self.agents:
            raise RuntimeError("step: there is no episode under way; call reset() first")
        step = self.env.step(self._gathered(actions))
        acted, seen, final = self.agents, step.observation, step.final
        if final is not None:
            seen = final.observation
        places = [(agent, group.name, a) for agent in acted for group, a in [self._places[agent]]]
        terminated = {agent: bool(step.terminated[name][0, a]) for agent, name, a in places}
        timed_out = bool(step.truncated[0])
        there = self._those(seen.alive)
        shown = [*acted, *(agent for agent in there if agent not in acted)]
        infos = self._infos(seen, shown)
        for kind, names, arrays in (
            ("objectives", self.env.objectives, step.objectives),
            ("costs", self.env.costs, step.costs),
        ):
            for agent, name, a in places if names else ():
                infos[agent][kind] = dict(zip(names, arrays[name][0, a].tolist(), strict=True))
        if final is not None:
            metrics = {name: float(figures[0]) for name, figures in final.metrics.items()}
            for agent, name, a in places:
                infos[agent] |= {"metrics": metrics, "return": float(final.returns[name][0, a])}
        self._begun = final is not None
        self.state = seen.state[0].copy()
        self.agents = [] if self._begun else there
        self.acting = [] if self._begun else self._those(seen.acts)
        return AgentStep(
            observations=self._seen(seen, shown),
            rewards={agent: float(step.rewards[name][0, a]) for agent, name, a in places},
            terminated=terminated,
            truncated={agent: timed_out and not over for agent, over in terminated.items()},
            infos=infos,
            all_terminated=final is not None and not timed_out,
            all_truncated=timed_out,
        )

    def set_task(self, task: Task) -> None:
        """Sets the task of the episode that the next `reset` begins."""
        self.env.set_tasks(task)
        self._task_waits = True

    def _those(self, arrays: Mapping[str, NDArray[np.bool_]]) -> list[str]:
        """Names of the agents for whom an array by group `[1, A]` is true."""
        return [agent for agent, (group, a) in self._places.items() if arrays[group.name][0, a]]

    def _seen(self, seen: Observation, agents: list[str]) -> dict[str, NDArray[np.float32]]:
        places = {agent: self._places[agent] for agent in agents}
        return {agent: seen.observations[group.name][0, a].copy() for agent, (group, a) in places.items()}

    def _infos(self, seen: Observation, agents: list[str]) -> Infos:
        infos: Infos = {}
        for agent in agents:
            group, a = self._places[agent]
            mask = seen.action_masks.get(group.name)
            infos[agent] = {} if mask is None else {"action_mask": mask[0, a].copy()}
        return infos

    def _gathered(self, actions: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """The agents' actions as arrays of the batch."""
        for agent in actions:
            if agent not in self._places:
                raise ValueError(f"actions: got agent {agent!r}, allowed are {', '.join(self._places)}")
        missing = [agent for agent in self.acting if agent not in actions]
        if missing:
            raise ValueError(f"actions: got none for {', '.join(missing)}, allowed is one for every agent asked")
        gathered = {
            name: np.zeros((1, g.size, g.num_actions), g.action_space.dtype) for name, g in self.env.groups.items()
        }
        for agent in self.acting:
            group, a = self._places[agent]
            gathered[group.name][0, a] = _checked(agent, group, actions[agent])
        return gathered


def _own_space(group: AgentGroup) -> Box | MultiDiscrete:
    """A space equal to the group's that shares no random generator with it."""
    if isinstance(group.action_space, MultiDiscrete):
        return MultiDiscrete(group.action_space.nvec)
    return Box(-1, 1, (group.num_actions,), np.float32)


def _checked(agent: str, group: AgentGroup, action: Any) -> NDArray[Any]:
    """One agent's action as an array `[K]`; ValueError, naming the agent and what is allowed, if it is not valid."""
    array = np.asarray(action)
    shape = (group.num_actions,)
    if array.shape != shape or array.dtype.kind not in "biuf":
        given = f"shape {array.shape}" if array.shape != shape else f"dtype {array.dtype}"
        raise ValueError(f"actions[{agent!r}]: got {given}, allowed is an array of {shape[0]} numbers, shape {shape}")
    if isinstance(group.action_space, MultiDiscrete):
        if array.dtype.kind == "f":
            raise ValueError(f"actions[{agent!r}]: got dtype {array.dtype}, allowed are integers")
        if (array < 0).any() or (array >= group.action_space.nvec).any():
            allowed = f"0 to below {group.action_space.nvec.tolist()} by branch"
            raise ValueError(f"actions[{agent!r}]: got {array.tolist()}, allowed is {allowed}")
    elif not (np.abs(array) <= 1.0).all():  # false for NaN too
        what = "NaN" if np.isnan(array).any() else f"values from {array.min():.6g} to {array.max():.6g}"
        raise ValueError(f"actions[{agent!r}]: got {what}, allowed is -1 to 1")
    return array
