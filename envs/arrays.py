"""The arrays that go into a batch of worlds and come out of it: groups of agents, actions, observations, steps.

Arrays are keyed by group and begin with the axes `B` (worlds) and `A` (the group's agents).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from envs.layout import ObservationLayout
from envs.tasks import Task

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
Actions = Mapping[str, NDArray[Any]]
"""Actions by group: float32 `[B, A, K]` in [-1, 1], or int64 `[B, A, K]` branches."""


OBJECTIVE, COST = "objective_", "cost_"
"""How figures of an episode's objectives and costs are called, before their names."""


@dataclass(frozen=True)
class OwnActions:
    """What actions are called in a stranger's env, whose boxes are not [-1, 1] or whose choices do not begin with 0.

    Attributes:
        low: The env's own value of -1, or of the first choice, `[K]`.
        high: The env's own value of 1, `[K]`; empty for choices.
        whole: Whether values between are rounded.
    """

    low: tuple[float, ...]
    high: tuple[float, ...] = ()
    whole: bool = False

    def of(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Actions `[..., K]` in the env's own values."""
        low = np.array(self.low)
        if not self.high:
            return actions + low.astype(np.int64)
        values: NDArray[Any] = low + (np.asarray(actions, np.float64) + 1) / 2 * (np.array(self.high) - low)
        return np.rint(values) if self.whole else values


@dataclass(frozen=True)
class AgentGroup:
    """Agents that share their spaces, as one axis of the arrays.

    Attributes:
        name: Key of the group in every dictionary of arrays.
        agent_ids: Names of the agents, in the order of the axis `A`.
        action_space: One agent's actions: `Box(-1, 1, [K])`, or `MultiDiscrete` with `K` branches.
        layout: Names every feature of the observation and its slice.
        own_actions: What actions are in the env's own values, where they are called otherwise there.
    """

    name: str
    agent_ids: tuple[str, ...]
    action_space: Box | MultiDiscrete
    layout: ObservationLayout
    own_actions: OwnActions | None = None

    @property
    def size(self) -> int:
        """Number of agents `A`."""
        return len(self.agent_ids)

    @cached_property
    def observation_space(self) -> Box:
        """One agent's observation: float32 `[D]`, unbounded."""
        return Box(-np.inf, np.inf, (self.layout.size,), np.float32)

    @property
    def discrete(self) -> bool:
        """Whether actions are branches of choices."""
        return isinstance(self.action_space, MultiDiscrete)

    @property
    def num_actions(self) -> int:
        """Action dimensions or branches `K`."""
        assert self.action_space.shape is not None
        return int(self.action_space.shape[0])

    @property
    def mask_size(self) -> int:
        """Width of an action mask: `K` continuous dimensions, or all branches' choices side by side."""
        if isinstance(self.action_space, MultiDiscrete):
            return int(self.action_space.nvec.sum())
        return self.num_actions


def check_actions(group: AgentGroup, actions: NDArray[Any] | None, num_worlds: int) -> None:
    """Raises ValueError, naming the group and what is allowed, unless `actions` is a valid `[B, A, K]` array."""
    shape = (num_worlds, group.size, group.num_actions)
    if not isinstance(actions, np.ndarray) or actions.shape != shape:
        given = "nothing" if actions is None else f"shape {np.shape(actions)}"
        raise ValueError(f"actions[{group.name!r}]: got {given}, allowed is an array of shape {shape}")
    if isinstance(group.action_space, MultiDiscrete):
        if not np.issubdtype(actions.dtype, np.integer):
            raise ValueError(f"actions[{group.name!r}]: got dtype {actions.dtype}, allowed are integers")
        if (actions < 0).any() or (actions >= group.action_space.nvec).any():
            raise ValueError(
                f"actions[{group.name!r}]: got values from {actions.min()} to {actions.max()}, "
                f"allowed is 0 to below {group.action_space.nvec.tolist()} by branch"
            )
    elif not (actions.min() >= -1.0 and actions.max() <= 1.0):  # written so that NaN, which compares false, is caught
        what = "NaN" if np.isnan(actions).any() else f"magnitude {np.abs(actions).max():.6g}"
        raise ValueError(f"actions[{group.name!r}]: got {what}, allowed is -1 to 1")


@dataclass(slots=True)
class Observation:
    """What the agents see before they act. Arrays may be overwritten by the next call: copy what must last.

    Attributes:
        observations: By group, float32 `[B, A, D]`; zero where an agent is not alive.
        action_masks: By group, bool `[B, A, M]`, true where allowed; a group without masks is absent.
        alive: By group, bool `[B, A]`: who takes part now. An agent may arrive late, leave, and come back.
        state: Global state, float32 `[B, S]`, for centralised critics and mixers.
        acts: By group, bool `[B, A]`: who of those alive is asked for an action now; what the others do is ignored. A
            domain gives it where agents take turns; the base class fills in the rest, so that it is always there.
    """

    observations: dict[str, FloatArray]
    action_masks: dict[str, BoolArray]
    alive: dict[str, BoolArray]
    state: FloatArray
    acts: dict[str, BoolArray] = field(default_factory=dict)

    def of(self, worlds: IntArray) -> Observation:
        """A copy with the given worlds only."""
        return Observation(
            {name: array[worlds] for name, array in self.observations.items()},
            {name: array[worlds] for name, array in self.action_masks.items()},
            {name: array[worlds] for name, array in self.alive.items()},
            self.state[worlds],
            {name: array[worlds] for name, array in self.acts.items()},
        )


@dataclass(slots=True)
class Final:
    """The `E` worlds that ended in a step, as they stood before they restarted.

    Attributes:
        worlds: Indices of the worlds, int64 `[E]`.
        observation: What was seen at the end: bootstrap truncated agents that are still `alive` here from it.
        returns: By group, sum of each agent's own (unmixed) rewards, float64 `[E, A]`.
        present: By group, bool `[E, A]`: who took part in the episode at all.
        lengths: Steps taken, int64 `[E]`.
        tasks: The task each world played.
        metrics: The domain's figures of the episode, `[E]` each; with objectives and costs also, as `objective_NAME`
            and `cost_NAME`, the mean of their sums over the agents that took part.
        levels: What the world's random stream was keyed by, (seed, world, episode), int64 `[E, 3]`: with the task it
            is the level that was played, and `BatchedEnv.replay` plays it again.
        objectives: By group, sum of each agent's objectives, float64 `[E, A, R]`; empty without objectives.
        costs: By group, sum of each agent's costs, float64 `[E, A, C]`; empty without costs.
    """

    worlds: IntArray
    observation: Observation
    returns: dict[str, NDArray[np.float64]]
    present: dict[str, BoolArray]
    lengths: IntArray
    tasks: list[Task]
    metrics: dict[str, NDArray[np.float64]]
    levels: IntArray
    objectives: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    costs: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def mean_returns(self) -> NDArray[np.float64]:
        """Mean return over the agents that took part, `[E]`."""
        return mean_over(self.returns, self.present)


def mean_over(arrays: Mapping[str, NDArray[np.float64]], present: Mapping[str, BoolArray]) -> NDArray[np.float64]:
    """Mean over the agents of all groups that took part, `[E]`, of an array by group, `[E, A]`; 0 if there are none."""
    total = sum(np.where(present[g], array, 0.0).sum(axis=1) for g, array in arrays.items())
    count = sum(p.sum(axis=1) for p in present.values())
    return np.asarray(total / np.maximum(count, 1), dtype=np.float64)


@dataclass(slots=True)
class Step:
    """The outcome of one step.

    Attributes:
        observation: What is seen next; of a world that ended, the first observation of its next episode.
        rewards: By group, float32 `[B, A]`, for the action just taken; zero for agents that were not alive.
        terminated: By group, bool `[B, A]`: the agent's future is over (bankrupt, finished); never bootstrapped.
        truncated: bool `[B]`: time is up; bootstrapped from `final`.
        final: The worlds that ended, or None.
        arrived: By group, bool `[B, A]`: who takes part from now on and did not before; empty where nobody can
            arrive. Who is there when a world restarts is not told here.
        objectives: By group, float32 `[B, A, R]`: what `rewards` are the weighted sum of; empty without objectives.
        costs: By group, float32 `[B, A, C]`: of each named constraint; never part of `rewards`; empty without costs.
    """

    observation: Observation
    rewards: dict[str, FloatArray]
    terminated: dict[str, BoolArray]
    truncated: BoolArray
    final: Final | None
    arrived: dict[str, BoolArray] = field(default_factory=dict)
    objectives: dict[str, FloatArray] = field(default_factory=dict)
    costs: dict[str, FloatArray] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What a domain's `_advance` returns, by group.

    Attributes:
        rewards: `[B, A]`; left empty by a domain with objectives, of which the base class forms them.
        terminated: `[B, A]`.
        truncated: Worlds that the domain itself cuts short of their task's `max_steps`, `[B]`.
        arrived: Agents that take part from the next step on, for the first time or again, and did not in this one,
            `[B, A]`. A world in which nobody is left, and nobody arrives, is over.
        objectives: Of any precision, `[B, A, R]`, in the order in which the env names them; zero for agents not alive.
        costs: `[B, A, C]`, likewise.
    """

    rewards: dict[str, FloatArray]
    terminated: dict[str, BoolArray]
    truncated: BoolArray | None = None
    arrived: dict[str, BoolArray] = field(default_factory=dict)
    objectives: dict[str, FloatArray] = field(default_factory=dict)
    costs: dict[str, FloatArray] = field(default_factory=dict)
