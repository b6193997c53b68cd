"""A stranger's agents: their spaces, how to translate what goes in and out of them, and the groups they form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple, flatdim
from numpy.typing import NDArray

from envs.adapters.replies import observation_of
from envs.arrays import AgentGroup, OwnActions
from envs.layout import ObservationLayout

MASK = "action_mask"


@dataclass(frozen=True)
class Seat:
    """One agent's spaces, and how to translate what goes in and out of them."""

    agent: Any
    observed: Space[Any]
    key: str | None
    acted: Space[Any]
    masked: bool = False

    def alike(self, other: Seat) -> bool:
        """Whether both agents see and do the same kind of thing."""
        mine, theirs = ((s.observed, s.key, s.acted, s.masked) for s in (self, other))
        return mine == theirs

    @property
    def action_space(self) -> Box | MultiDiscrete:
        """The space as a group has it."""
        if isinstance(self.acted, Discrete):
            return MultiDiscrete([int(self.acted.n)])
        if isinstance(self.acted, MultiDiscrete):
            return MultiDiscrete(self.acted.nvec.ravel())
        if isinstance(self.acted, MultiBinary):
            return MultiDiscrete([2] * flatdim(self.acted))
        if isinstance(self.acted, Box) and self.acted.is_bounded():
            return Box(-1, 1, (flatdim(self.acted),), np.float32)
        allowed = "Discrete, MultiDiscrete, MultiBinary and Box with bounds"
        raise ValueError(f"action space of {self.agent!r}: got {self.acted}, allowed are {allowed}")

    @property
    def own_actions(self) -> OwnActions | None:
        """What its actions are called in its own env; None if they are called the same."""
        space = self.acted
        if isinstance(space, Box):
            low, high = (tuple(float(value) for value in end.ravel()) for end in (space.low, space.high))
            own = OwnActions(low, high, bool(np.issubdtype(space.dtype, np.integer)))
            return None if set(low) == {-1.0} and set(high) == {1.0} and not own.whole else own
        if isinstance(space, Discrete | MultiDiscrete):
            first = tuple(float(value) for value in np.ravel(space.start))
            return OwnActions(first) if any(first) else None
        return None

    def see(self, observation: Any) -> NDArray[Any]:
        """The observation as a vector `[D]`."""
        if self.key is not None and isinstance(observation, Mapping) and self.key in observation:
            observation = observation[self.key]
        elif self.masked and isinstance(observation, Mapping):
            observation = {name: part for name, part in observation.items() if name != MASK}
        return observation_of(self.agent, self.observed, observation)

    def mask(self, observation: Any, info: Mapping[str, Any]) -> NDArray[np.bool_] | None:
        """The mask `[M]`, if the observation or the info holds one; no choice at all counts as every choice."""
        held = observation if self.masked else info
        found = held.get(MASK) if isinstance(held, Mapping) else None
        if found is None:
            return None
        parts = found if isinstance(found, tuple | list) else [found]
        mask = np.concatenate([np.asarray(part).ravel() for part in parts]).astype(np.bool_)
        space = self.action_space
        size = int(space.nvec.sum()) if isinstance(space, MultiDiscrete) else flatdim(space)
        if mask.size != size:
            raise ValueError(f"{MASK} of {self.agent!r}: got {mask.size} entries, allowed are {size}, one a choice")
        return mask if mask.any() else np.ones_like(mask)

    def do(self, action: NDArray[Any]) -> Any:
        """The action in the env's own space."""
        space = self.acted
        if isinstance(space, Discrete):
            return np.int64(action[0] + int(space.start))
        if isinstance(space, MultiDiscrete):
            return np.asarray(action.reshape(space.shape) + space.start, space.dtype)
        if isinstance(space, MultiBinary):
            return action.reshape(space.shape).astype(space.dtype)
        assert isinstance(space, Box)
        share = (action.reshape(space.shape).astype(np.float64) + 1.0) / 2.0
        scaled: NDArray[Any] = space.low + share * (space.high.astype(np.float64) - space.low)
        if np.issubdtype(space.dtype, np.integer):
            scaled = np.rint(scaled)
        return np.clip(scaled, space.low, space.high).astype(space.dtype)


def seats_of(env: Any) -> list[Seat]:
    """The agents of a `ParallelEnv` (spaces are methods) or a `MultiAgentEnv` (spaces are looked up)."""
    agents = list(getattr(env, "possible_agents", ()))
    if not agents:
        allowed = "one that names its agents: a PettingZoo ParallelEnv or AECEnv, or an RLlib MultiAgentEnv"
        raise ValueError(
            f"env: got {type(getattr(env, 'unwrapped', env)).__name__} without possible_agents, allowed is {allowed}"
        )
    parallel = callable(getattr(env, "observation_space", None))
    seats = []
    for agent in agents:
        observed = env.observation_space(agent) if parallel else env.get_observation_space(agent)
        acted = env.action_space(agent) if parallel else env.get_action_space(agent)
        if not isinstance(observed, Space):
            raise ValueError(f"observation space of {agent!r}: got {observed!r}, allowed is one of gymnasium.spaces")
        key, masked = None, False
        if isinstance(observed, Dict) and MASK in observed.spaces and len(observed.spaces) > 1:
            masked = True
            rest = {name: space for name, space in observed.spaces.items() if name != MASK}
            key = next(iter(rest)) if len(rest) == 1 else None
            observed = Dict(rest) if key is None else rest[key]
        seats.append(Seat(agent, observed, key, acted, masked))
    return seats


def groups_of(seats: Sequence[Seat]) -> list[AgentGroup]:
    """Agents with equal spaces, in the order in which their first one is named."""
    sharing: list[list[Seat]] = []
    for seat in seats:
        alike = (s for s in sharing if s[0].alike(seat))
        found = next(alike, None)
        if found is None:
            sharing.append([seat])
        else:
            found.append(seat)
    groups: list[AgentGroup] = []
    for members in sharing:
        ids = tuple(str(seat.agent) for seat in members)
        stems = {agent.rstrip("0123456789").rstrip("_-. ") for agent in ids}
        stem = (stems.pop() if len(stems) == 1 else "") or "agents"
        taken = {group.name for group in groups}
        name = next(n for n in [stem, *(f"{stem}_{i}" for i in range(len(seats)))] if n not in taken)
        layout = ObservationLayout(tuple(names_of(members[0].observed)))
        groups.append(AgentGroup(name, ids, members[0].action_space, layout, members[0].own_actions))
    return groups


def names_of(space: Space[Any], prefix: str = "") -> list[str]:
    """A name for each number of a flattened observation: the keys that lead to it, and its place."""
    if isinstance(space, Dict | Tuple):
        parts = space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
        return [name for key, part in parts for name in names_of(part, f"{prefix}{key}.")]
    if isinstance(space, Discrete):  # flattened to one number a choice
        first, choices = int(space.start), int(space.n)
        return [f"{prefix.removesuffix('.') or 'x'}={value}" for value in range(first, first + choices)]
    size = flatdim(space)
    if prefix and size == 1:
        return [prefix.removesuffix(".")]
    return [f"{prefix or 'x'}{i}" for i in range(size)]
