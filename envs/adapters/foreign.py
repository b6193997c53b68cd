"""A stranger's PettingZoo `ParallelEnv` or `AECEnv`, or RLlib `MultiAgentEnv`, as a batch.

`B` copies are stepped one after another: the speed is theirs, but everything that speaks `BatchedEnv` (runner,
algorithms, evaluation, reports) takes them.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from envs.adapters.copies import CopyError, packed, unpacked
from envs.adapters.replies import of_reset, of_step, reward_of
from envs.adapters.seats import groups_of, seats_of
from envs.adapters.turns import one_step_at_a_time
from envs.base import Actions, BatchedEnv, BoolArray, EnvConfig, FloatArray, IntArray, Observation, Outcome
from envs.base import Task as BaseTask
from envs.registry import Domain

logger = logging.getLogger("entrepot")

EVERYONE = "__all__"
Factory = Callable[..., Any]
"""Makes one `ParallelEnv`, `AECEnv` or `MultiAgentEnv`."""


class ForeignConfig(EnvConfig):
    """What the factory is called with. The action mode is the env's own."""

    settings: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the factory; for an RLlib env class, its config."
    )


class ForeignTask(BaseTask):
    """What can be varied between episodes without knowing the env."""

    options: tuple[tuple[str, str | int | float | bool], ...] = Field(
        (), description="Names and values passed to the env's `reset(options=…)`."
    )


class ForeignBatchedEnv(BatchedEnv):
    """Copies of a stranger's env, in lockstep.

    Agents with equal spaces form a group, named after what their ids have in common. Observations are flattened; boxes
    of actions are rescaled to [-1, 1]. A mask is taken from `observation["action_mask"]` or `info["action_mask"]`; the
    global state from `state()`, or else it is all observations side by side. An agent that is cut off before its world
    counts as terminated.

    An agent takes part from when it is first observed, or listed in the env's `agents`, until it is over; it may arrive
    late, and come back. Who is asked for an action is, of an `AECEnv`, its `agent_selection`; else those that were
    observed in the last step, as in RLlib's turn-based envs, where the others see what they last saw. A world in which
    nobody is left is over.

    Each episode calls `reset(seed=…)` with a number drawn from the world's stream; whether that
    makes trajectories repeatable is up to the env. So is whether it can be copied: where a copy is not what was copied,
    restoring a state begins new episodes, and says so in a line.

    Args:
        factory: Makes one env.
        num_worlds: Number of worlds `B`.
        task: The task to begin with.
        team_weight: Share of the team's mean reward in each agent's reward.
        first_world: Number of the first world.

    Attributes:
        envs: The copies, `[B]`.

    Raises:
        ValueError: If the env names no `possible_agents`, or an action space cannot be translated.
    """

    def __init__(
        self,
        factory: Factory,
        num_worlds: int,
        *,
        task: ForeignTask | None = None,
        team_weight: float = 0.0,
        first_world: int = 0,
    ) -> None:
        self.envs = [one_step_at_a_time(factory()) for _ in range(max(num_worlds, 1))]
        seats = seats_of(self.envs[0])
        groups = groups_of(seats)
        by_id = {str(seat.agent): seat for seat in seats}
        self._seats = {group.name: [by_id[agent] for agent in group.agent_ids] for group in groups}
        first, infos = of_reset(self.envs[0], self.envs[0].reset(seed=0))
        for seat in seats:
            if seat.agent in first:
                seat.see(first[seat.agent])
        self._masked = {
            name: any(s.mask(first[s.agent], infos.get(s.agent, {})) is not None for s in seated if s.agent in first)
            for name, seated in self._seats.items()
        }
        own_state = _state_of(self.envs[0])
        self._has_state = own_state is not None
        width = sum(group.size * group.layout.size for group in groups)
        super().__init__(
            num_worlds,
            groups,
            state_size=width if own_state is None else own_state.size,
            task=task or ForeignTask(),
            team_weight=team_weight,
            first_world=first_world,
        )
        self._observations: dict[str, FloatArray] = {
            g.name: np.zeros((num_worlds, g.size, g.layout.size), np.float32) for g in groups
        }
        self._masks: dict[str, BoolArray] = {
            g.name: np.ones((num_worlds, g.size, g.mask_size), np.bool_) for g in groups if self._masked[g.name]
        }
        self._to_act = {g.name: np.zeros((num_worlds, g.size), np.bool_) for g in groups}

    @property
    def waived(self) -> Mapping[str, str]:
        """States cannot be kept of an env that cannot be copied."""
        try:
            packed(self.envs[:1])
        except CopyError as error:
            return {"state": str(error)}
        return {}

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds:
            task = self.tasks[world]
            options = dict(task.options) if isinstance(task, ForeignTask) and task.options else None
            seed = int(self.streams.generators[world].integers(2**31))
            env = self.envs[world]
            observations, infos = of_reset(env, env.reset(seed=seed, options=options))
            for name, seats in self._seats.items():
                self._observations[name][world] = 0.0
                listed = set(getattr(env, "agents", None) or ())
                self.alive[name][world] = [seat.agent in observations or seat.agent in listed for seat in seats]
            self._take_down(int(world), observations, infos)

    def _take_down(self, world: int, observations: Mapping[Any, Any], infos: Mapping[Any, Any]) -> None:
        """Writes down what is seen in one world, and who acts next."""
        acting = getattr(self.envs[world], "acting", observations)
        for name, seats in self._seats.items():
            for a, seat in enumerate(seats):
                self._to_act[name][world, a] = seat.agent in acting
                if seat.agent not in observations:
                    continue
                seen = observations[seat.agent]
                self._observations[name][world, a] = seat.see(seen)
                if self._masked[name]:
                    mask = seat.mask(seen, infos.get(seat.agent, {}))
                    self._masks[name][world, a] = True if mask is None else mask

    def _advance(self, actions: Actions) -> Outcome:
        rewards = {name: np.zeros(alive.shape, np.float32) for name, alive in self.alive.items()}
        terminated = {name: np.zeros(alive.shape, np.bool_) for name, alive in self.alive.items()}
        arrived = {name: np.zeros(alive.shape, np.bool_) for name, alive in self.alive.items()}
        cut_off = np.zeros(self.num_worlds, np.bool_)
        known = {seat.agent for seats in self._seats.values() for seat in seats}
        for world, env in enumerate(self.envs):
            acting = [
                (name, a, seat)
                for name, seats in self._seats.items()
                for a, seat in enumerate(seats)
                if self.alive[name][world, a]
            ]
            told = {s.agent: s.do(actions[name][world, a]) for name, a, s in acting if self._to_act[name][world, a]}
            seen, earned, over, cut, infos = of_step(env, env.step(told))
            _check_known(seen, known)
            everyone_over, everyone_cut = bool(over.get(EVERYONE, False)), bool(cut.get(EVERYONE, False))
            gone = {}
            for name, a, seat in acting:
                rewards[name][world, a] = reward_of(seat.agent, earned.get(seat.agent, 0.0))
                cut_short = bool(cut.get(seat.agent, False))
                terminated[name][world, a] = over.get(seat.agent, False) or (everyone_over and not cut_short)
                gone[name, a] = everyone_cut or cut_short or _has_left(env, seat.agent)
            # Time is up for a world when it is for all that are left; one that is cut off alone has no future either.
            staying = [key for key in gone if not terminated[key[0]][world, key[1]]]
            cut_off[world] = bool(staying) and all(gone[key] for key in staying)
            if not cut_off[world]:
                for name, a in staying:
                    terminated[name][world, a] = gone[name, a]
                if not (everyone_over or everyone_cut):
                    for name, seats in self._seats.items():
                        arrived[name][world] = [
                            not self.alive[name][world, a] and seat.agent in seen and not _has_left(env, seat.agent)
                            for a, seat in enumerate(seats)
                        ]
            self._take_down(world, seen, infos)
        return Outcome(rewards, terminated, cut_off, arrived)

    def _observe(self) -> Observation:
        observations = {name: array * self.alive[name][:, :, None] for name, array in self._observations.items()}
        if self._has_state:
            states = [own for env in self.envs if (own := _state_of(env)) is not None]
            state = np.stack(states)
        else:
            state = np.concatenate([array.reshape(self.num_worlds, -1) for array in observations.values()], axis=1)
        masks, acts = ({name: array.copy() for name, array in by.items()} for by in (self._masks, self._to_act))
        return Observation(observations, masks, {}, state, acts)

    def _get_state(self) -> dict[str, Any]:
        """The envs themselves are part of the state; of those that cannot be copied it holds why."""
        try:
            envs, why = packed(self.envs), ""
        except CopyError as error:
            envs, why = None, str(error)
        return {"envs": envs, "why": why, "seen": deepcopy((self._observations, self._masks, self._to_act))}

    def _set_state(self, state: dict[str, Any]) -> None:
        """Restores the envs, or, where they could not be copied, begins the next episode in every world."""
        if state["envs"] is None:
            logger.warning("%s: episodes that were under way begin anew", state["why"])
            self._start(np.arange(self.num_worlds))
            return
        self.envs = unpacked(state["envs"])
        self._observations, self._masks, self._to_act = deepcopy(state["seen"])


def foreign_domain(factory: Factory, name: str | None = None) -> Domain:
    """Makes a domain of a stranger's env, for everything that takes a domain.

    Args:
        factory: An env class, or a function such as PettingZoo's `parallel_env`; called with the config's `settings` as
            keyword arguments, or, if it is an RLlib env class, as its one config dictionary.
        name: Name of the domain; the factory's if None.
    """
    takes_config = any(base.__module__.startswith("ray.rllib") for base in getattr(factory, "__mro__", ()))

    def make(config: ForeignConfig, num_worlds: int, *, task: Any = None, first_world: int = 0) -> BatchedEnv:
        settings = dict(config.settings)
        if not takes_config:
            _check_settings(factory, settings)
        return ForeignBatchedEnv(
            (lambda: factory(dict(settings))) if takes_config else (lambda: factory(**settings)),
            num_worlds,
            task=task,
            team_weight=config.team_weight,
            first_world=first_world,
        )

    name = name or f"{factory.__module__}:{getattr(factory, '__qualname__', type(factory).__qualname__)}"
    summary = (factory.__doc__ or "An env of your own.").strip().splitlines()[0]
    return Domain(name, summary, ForeignConfig, ForeignTask, make)


def _check_settings(factory: Factory, settings: Mapping[str, Any]) -> None:
    """Raises ValueError, with the arguments there are, unless the factory can be called with the settings."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # not every callable tells
        return
    try:
        signature.bind(**settings)
    except TypeError as error:
        given = ", ".join(settings) or "nothing"
        taken = ", ".join(str(each) for each in signature.parameters.values()) or "nothing"
        raise ValueError(f"settings: got {given}, allowed is what the env takes: {taken} ({error})") from None


def _state_of(env: Any) -> NDArray[Any] | None:
    """The env's own global state, flat; None if it has none."""
    state = getattr(env, "state", None)
    if not callable(state):
        return None
    try:
        return np.asarray(state(), np.float32).ravel()
    except NotImplementedError:
        return None
    except AttributeError:  # PettingZoo's own `state`, which only says that there is none, asks for `metadata`
        if hasattr(env, "metadata"):
            raise
        return None


def _has_left(env: Any, agent: Any) -> bool:
    """Whether a `ParallelEnv` no longer lists the agent; a `MultiAgentEnv` may list whom it likes."""
    return callable(getattr(env, "observation_space", None)) and agent not in env.agents


def _check_known(seen: Mapping[Any, Any], known: set[Any]) -> None:
    """Raises ValueError if an agent is observed that the env does not name among all it may ever have."""
    if strangers := set(seen) - known:
        raise ValueError(
            f"agents: got {sorted(map(str, strangers))}, allowed are possible_agents, {sorted(map(str, known))}"
        )
