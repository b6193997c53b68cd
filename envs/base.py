"""The contract every simulator keeps: `B` independent worlds stepped together as arrays.

A `BatchedEnv` owns the cycle that is the same everywhere (checking actions, counting steps, truncation, restarting
ended worlds, switching tasks, accounting) and asks a domain for four things only: how an episode begins, how it
advances, what is seen, and its state; figures to be measured, if it likes. Dict-of-agents interfaces (RLlib,
PettingZoo) are thin adapters around a batch of one; training and evaluation use the arrays as they are.

What a run fixes, and what its tasks vary, is in `envs.tasks`; the arrays that go in and come out are in `envs.arrays`.
Both can be had from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from envs.arrays import (
    Actions,
    AgentGroup,
    BoolArray,
    Final,
    FloatArray,
    IntArray,
    Observation,
    Outcome,
    Step,
    check_actions,
)
from envs.ledger import Ledger
from envs.recall import Recall
from envs.streams import WorldStreams
from envs.tasks import AgentConfig, AgentRole, EnvConfig, Task

__all__ = [
    "Actions",
    "AgentConfig",
    "AgentGroup",
    "AgentRole",
    "BatchedEnv",
    "BoolArray",
    "EnvConfig",
    "Final",
    "FloatArray",
    "IntArray",
    "Observation",
    "Outcome",
    "Step",
    "Task",
    "check_actions",
]


class BatchedEnv(ABC):
    """`B` worlds of one domain, stepped together.

    A world in a batch is the world alone, to the bit: each draws from its own stream, keyed by
    (seed, world, episode), and no arithmetic depends on `B`.

    Args:
        num_worlds: Number of worlds `B`.
        groups: The agents, by group, sized for the largest task of the run.
        state_size: Width `S` of the global state.
        task: The task all worlds begin with.
        team_weight: Share of the team's mean reward in each agent's reward.
        first_world: Number of the first world: worlds `k … k + B - 1` of a larger batch, run elsewhere, are the same.
        objectives: Names of the `R` objectives whose weighted sum is the reward; none: the domain gives the reward.
        costs: Names of the `C` constraints whose costs are counted beside it.

    Attributes:
        groups: `AgentGroup` by name.
        tasks: The task each world is playing, `[B]`.
        alive: By group, bool `[B, A]`; a domain sets it in `_begin`, afterwards terminations clear it, and arrivals
            set it again.
        streams: One random stream a world.
    """

    def __init__(
        self,
        num_worlds: int,
        groups: Sequence[AgentGroup],
        state_size: int,
        task: Task,
        *,
        team_weight: float = 0.0,
        first_world: int = 0,
        objectives: Sequence[str] = (),
        costs: Sequence[str] = (),
    ) -> None:
        if num_worlds < 1:
            raise ValueError(f"num_worlds: got {num_worlds}, allowed is 1 or more")
        self.num_worlds = num_worlds
        self.groups = {group.name: group for group in groups}
        self.state_space = Box(-np.inf, np.inf, (state_size,), np.float32)
        self.team_weight = team_weight
        self.objectives, self.costs = tuple(objectives), tuple(costs)
        self.tasks: list[Task] = [next(iter(task.extremes()))] * num_worlds
        self.alive = {g.name: np.ones((num_worlds, g.size), np.bool_) for g in groups}
        self.streams = WorldStreams(num_worlds, first_world)
        self._next_tasks: list[Task] = [task] * num_worlds
        self._ledger = Ledger.open(num_worlds, groups, len(self.objectives), len(self.costs))
        self._recall: Recall | None = None
        self._started = False

    # -- what a domain provides ------------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, worlds: IntArray) -> None:
        """Starts a new episode of `self.tasks[w]` in each of `worlds`, and sets `self.alive[group][worlds]`."""

    @abstractmethod
    def _advance(self, actions: Actions) -> Outcome:
        """Advances all worlds by one step; actions are checked.

        Those of agents that do not act are to be ignored; the rewards, objectives and costs of agents not alive are
        zero, their terminations False.
        """

    @abstractmethod
    def _observe(self) -> Observation:
        """What is seen now in all worlds, in arrays that the next `_observe` may reuse; `alive` is filled in for it."""

    @abstractmethod
    def _get_state(self) -> dict[str, Any]:
        """The domain's own state, complete, as arrays and plain values; nothing in it is shared with the env."""

    @abstractmethod
    def _set_state(self, state: dict[str, Any]) -> None:
        """Restores what `_get_state` returned."""

    def _metrics(self, worlds: IntArray) -> dict[str, NDArray[np.float64]]:
        """Figures of the episodes that are ending in `worlds`, `[E]` each."""
        return {}

    # -- what its users call ---------------------------------------------------------------------------------------

    @property
    def waived(self) -> Mapping[str, str]:
        """Clauses of the contract that this env cannot keep, and why: for simulators that are not ours to change."""
        return {}

    @property
    def agent_ids(self) -> list[str]:
        """Names of all agents, group by group."""
        return [agent for group in self.groups.values() for agent in group.agent_ids]

    @property
    def hears(self) -> BoolArray | None:
        """Who may hear whom where networks exchange messages, the same in all worlds at all times; None: all hear all.

        Bool `[A, A]` over `agent_ids`: whether agent `i` hears agent `j`. Nobody hears itself, whatever is said here.
        """
        return None

    @property
    def objective_weights(self) -> NDArray[np.float64]:
        """What each objective weighs in the reward of each world's task, `[B, R]`."""
        return self._ledger.weights

    @property
    def clock(self) -> IntArray:
        """Steps taken in each world's current episode, int64 `[B]`."""
        return self._ledger.clock

    def recall(self) -> None:
        """Has agents see from now on what they did in the step before and what it earned; see `envs.recall`.

        Raises:
            RuntimeError: If the env was already reset, and so has shown them something else.
        """
        if self._started:
            raise RuntimeError("recall: the environment was already reset; call recall() before")
        if self._recall is None:
            self._recall = Recall(self.groups, self.num_worlds)
            self.groups = self._recall.groups

    def reset(self, seed: int) -> Observation:
        """Starts episode 0 of the given seed in every world.

        Args:
            seed: Non-negative; the same seed gives the same trajectories, to the bit.

        Returns:
            What the agents see first.
        """
        if seed < 0:
            raise ValueError(f"seed: got {seed}, allowed is 0 or more")
        self.streams.seed = seed
        self._ledger.episodes[:] = -1
        self._start(np.arange(self.num_worlds))
        self._started = True
        return self._seen()

    def restart(self, worlds: Sequence[int] | IntArray) -> Observation:
        """Abandons the running episodes of `worlds` and starts their next ones, with their next tasks.

        Args:
            worlds: Indices of the worlds.

        Returns:
            What the agents see now, in all worlds.

        Raises:
            RuntimeError: If the env was never reset.
        """
        if not self._started:
            raise RuntimeError("restart: the environment was never reset; call reset(seed) first")
        self._start(np.asarray(worlds, np.int64))
        return self._seen()

    def step(self, actions: Actions) -> Step:
        """Advances every world by one step; a world that ends restarts itself within it.

        Args:
            actions: By group, `[B, A, K]`.

        Returns:
            The outcome. Rewards and terminations belong to the agents that were alive before the call.

        Raises:
            ValueError: If an action has the wrong shape, is not finite or is out of bounds.
            RuntimeError: If the env was never reset.
        """
        if not self._started:
            raise RuntimeError("step: the environment was never reset; call reset(seed) first")
        for group in self.groups.values():
            check_actions(group, actions.get(group.name), self.num_worlds)
        outcome = self._advance(actions)
        ledger = self._ledger
        earned = ledger.weighted(outcome.objectives) if self.objectives else outcome.rewards
        ledger.add(earned, outcome.objectives, outcome.costs)
        # Shared among those who were alive when they acted, so before this step's terminations count.
        rewards = self._share(earned) if self.team_weight else earned
        if self._recall is not None:
            self._recall.note(actions, rewards, self.alive)
        over = np.ones(self.num_worlds, np.bool_)
        for name, terminated in outcome.terminated.items():
            self.alive[name] = self.alive[name] & ~terminated
            if name in outcome.arrived:
                self.alive[name] |= outcome.arrived[name]
                ledger.present[name] |= outcome.arrived[name]
            over &= ~self.alive[name].any(axis=1)
        truncated = ledger.clock >= ledger.limits
        if outcome.truncated is not None:
            truncated |= outcome.truncated
        truncated &= ~over
        worlds = np.flatnonzero(over | truncated)
        final = None
        if worlds.size:
            final = self._finish(worlds)
            self._start(worlds)
        return Step(
            observation=self._seen(),
            rewards=rewards,
            terminated=outcome.terminated,
            truncated=truncated,
            final=final,
            arrived=outcome.arrived,
            objectives={name: array.astype(np.float32, copy=False) for name, array in outcome.objectives.items()},
            costs=outcome.costs,
        )

    def set_tasks(self, tasks: Task | Sequence[Task], worlds: Sequence[int] | IntArray | None = None) -> None:
        """Sets the task that worlds play from their next episode on.

        Args:
            tasks: One task for all `worlds`, or one for each.
            worlds: Indices of the worlds; all if None.
        """
        chosen = range(self.num_worlds) if worlds is None else [int(w) for w in worlds]
        if any(not 0 <= world < self.num_worlds for world in chosen):
            raise ValueError(f"worlds: got {list(chosen)}, allowed is 0 to below {self.num_worlds}")
        listed = [tasks] * len(chosen) if isinstance(tasks, Task) else list(tasks)
        if len(listed) != len(chosen):
            raise ValueError(f"tasks: got {len(listed)} for {len(chosen)} worlds, allowed is one for all or one each")
        for task in set(listed):
            self.admit(task)
        for world, task in zip(chosen, listed, strict=True):
            self._next_tasks[world] = task

    def replay(self, levels: Sequence[Sequence[int]] | IntArray, worlds: Sequence[int] | IntArray) -> None:
        """Has worlds play levels again that were played before, here or elsewhere, in their next episode.

        A level is a task and what its world's stream was keyed by: set the task too (`set_tasks`), if it is another.

        Args:
            levels: `Final.levels` of those episodes: (seed, world, episode), one for each of `worlds`.
            worlds: Indices of the worlds.

        Raises:
            ValueError: If a level is not three numbers, 0 or more, or there are not as many as worlds.
        """
        keys = np.asarray(levels, np.int64)
        if keys.shape != (len(worlds), 3) or (keys < 0).any():
            given = f"shape {keys.shape}" if keys.shape != (len(worlds), 3) else f"{keys.min()}"
            raise ValueError(f"levels: got {given}, allowed are 3 numbers, 0 or more, for each of {len(worlds)} worlds")
        if any(not 0 <= world < self.num_worlds for world in worlds):
            raise ValueError(f"worlds: got {[int(w) for w in worlds]}, allowed is 0 to below {self.num_worlds}")
        for world, (seed, number, episode) in zip(worlds, keys.tolist(), strict=True):
            self.streams.replays[int(world)] = (seed, number, episode)

    def admit(self, task: Task) -> None:
        """Raises ValueError, naming the field, unless this env's spaces hold the task, whatever is drawn of it."""
        for extreme in task.extremes():
            self.check_task(extreme)

    def check_task(self, task: Task) -> None:  # noqa: B027, by default every task fits
        """Raises ValueError, naming the field, if this env's spaces cannot hold the task, of which nothing is drawn."""

    def get_state(self) -> dict[str, Any]:
        """The complete state, random streams included: arrays and plain values, nothing shared with the env."""
        return {
            "streams": self.streams.get_state(),
            "tasks": [task.model_dump() for task in self.tasks],
            "next_tasks": [task.model_dump() for task in self._next_tasks],
            "ledger": self._ledger.get_state(),
            "alive": {name: array.copy() for name, array in self.alive.items()},
            "domain": self._get_state(),
            **({} if self._recall is None else {"recall": self._recall.get_state()}),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, in this or in another env of the same shape.

        Raises:
            ValueError: If the state is of another number of worlds.
        """
        if len(state["tasks"]) != self.num_worlds:
            raise ValueError(f"state: got {len(state['tasks'])} worlds, allowed are {self.num_worlds}")
        task_type = type(self.tasks[0])
        self.streams.set_state(state["streams"])
        self.tasks = [task_type.model_validate(task) for task in state["tasks"]]
        self._next_tasks = [task_type.model_validate(task) for task in state["next_tasks"]]
        self._ledger.set_state(state["ledger"])
        self.alive = {name: array.copy() for name, array in state["alive"].items()}
        if (self._recall is not None) != ("recall" in state):
            given, own = ("with" if there else "without" for there in ("recall" in state, self._recall is not None))
            raise ValueError(f"state: got one {given} recall, allowed is one {own} it, as the environment is")
        if self._recall is not None:  # first: a stranger's env may begin anew instead
            self._recall.set_state(state["recall"])
        self._set_state(state["domain"])
        self._started = True

    def observe(self) -> Observation:
        """What the agents see now: what the last `reset` or `step` returned, or what a restored env would have."""
        return self._seen()

    # -- the cycle -------------------------------------------------------------------------------------------------

    def _start(self, worlds: IntArray) -> None:
        """Begins the next episode in `worlds`."""
        ledger = self._ledger
        ledger.episodes[worlds] += 1
        self.streams.restart(worlds, ledger.episodes)
        for world in worlds:
            task = self._next_tasks[world]
            self.tasks[world] = task.level(self.streams.of_task(world)) if task.drawn else task
        ledger.begin(worlds, [self.tasks[world] for world in worlds], self.objectives)
        for name in self.groups:
            self.alive[name][worlds] = True
        if self._recall is not None:
            self._recall.forget(worlds)
        self._begin(worlds)
        for name in self.groups:
            ledger.present[name][worlds] = self.alive[name][worlds]

    def _alike(self, worlds: IntArray, causes: Callable[[Any], Hashable] = id) -> list[list[int]]:
        """Places in `worlds`, those of alike tasks together: a domain may draw their episodes at once.

        Args:
            worlds: Indices of the worlds.
            causes: What of a task its episodes are drawn from; by default tasks are alike if they are the same.
        """
        playing: dict[Hashable, list[int]] = {}
        for place, world in enumerate(worlds.tolist()):
            playing.setdefault(causes(self.tasks[world]), []).append(place)
        return list(playing.values())

    def _finish(self, worlds: IntArray) -> Final:
        """Takes down how the episodes in `worlds` ended."""
        ledger = self._ledger
        return Final(
            worlds=worlds,
            observation=self._seen().of(worlds),
            returns={name: array[worlds] for name, array in ledger.returns.items()},
            present={name: array[worlds] for name, array in ledger.present.items()},
            lengths=ledger.clock[worlds],
            tasks=[self.tasks[world] for world in worlds],
            metrics=self._metrics(worlds) | ledger.means(worlds, self.objectives, self.costs),
            levels=self.streams.levels[worlds],
            objectives={name: array[worlds] for name, array in ledger.objectives.items()},
            costs={name: array[worlds] for name, array in ledger.costs.items()},
        )

    def _seen(self) -> Observation:
        """The domain's observation, with `alive` as it stands, and `acts`: all of them, unless the domain says less."""
        observation = self._observe()
        observation.alive = {name: array.copy() for name, array in self.alive.items()}
        turns = observation.acts
        observation.acts = {
            name: alive & turns[name] if name in turns else alive for name, alive in observation.alive.items()
        }
        if self._recall is not None:
            self._recall.beside(observation)
        return observation

    def _share(self, rewards: dict[str, FloatArray]) -> dict[str, FloatArray]:
        """Mixes the team's mean reward, over agents alive before the step, into each agent's own."""
        total = sum(reward.sum(axis=1) for reward in rewards.values())  # who is not alive has earned nothing
        count = sum(np.count_nonzero(self.alive[g], axis=1) for g in rewards)
        weight = np.float32(self.team_weight)
        team = weight * (total / np.maximum(count, 1)).astype(np.float32)[:, None]
        return {g: ((1 - weight) * reward + team) * self.alive[g] for g, reward in rewards.items()}


@runtime_checkable
class Differentiable(Protocol):
    """An env that keeps a tape, from which `Domain.slopes` says how the team's return changes with what was done.

    Its transitions have derivatives, and its actions are such that a change of one is made up for by those after it,
    without their being others: levels, targets, positions.
    """

    def record(self) -> None:
        """From the next step on all is written down that slopes need; what was is forgotten."""

    def recorded(self) -> Any:
        """Ends the tape and hands it over.

        Raises:
            RuntimeError: If none was begun.
        """
