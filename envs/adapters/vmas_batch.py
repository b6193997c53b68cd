"""A VMAS scenario as it is: a batch already, of torch tensors, stepped without a loop over worlds.

VMAS (Bettini et al. 2022, arXiv:2207.03530) is an optional extra, `pip install entrepot[vmas]`, imported when a
scenario is made; its scenarios are found by name, as `vmas:balance`. It draws from global random streams, one for all
worlds, and its arithmetic depends on how many there are. So each world *begins* as it would alone, drawn from its own
stream, but what happens then need not be the same to the bit: that clause of the contract is waived.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import cloudpickle
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from pydantic import Field

from envs.arrays import OwnActions
from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, FloatArray, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain


class VmasConfig(EnvConfig):
    """What a scenario is made with."""

    settings: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of the scenario.")


class VmasTask(Task):
    """How long an episode lasts; a scenario's own settings are fixed for a run."""

    max_steps: int = Field(200, ge=1, description="Steps after which an episode is truncated.")


class VmasBatchedEnv(BatchedEnv):
    """`B` worlds of one scenario, side by side in its tensors.

    Agents with equal spaces form a group. Continuous actions are rescaled from [-1, 1]; the global state is all
    observations side by side.

    Args:
        scenario: Its name.
        config: What it is made with.
        num_worlds: Number of worlds `B`.
        task: The task to begin with.
        first_world: Number of the first world.

    Raises:
        ValueError: If VMAS is not installed, has no such scenario, or an agent's spaces cannot be translated.
    """

    def __init__(
        self, scenario: str, config: VmasConfig, num_worlds: int, *, task: Task | None = None, first_world: int = 0
    ) -> None:
        vmas, self._torch = _library("vmas"), _library("torch")
        discrete = config.action_mode == "discrete"
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="Scenario kwargs")  # VMAS warns of what it does not know
                self._env = vmas.make_env(
                    scenario,
                    num_envs=num_worlds,
                    device="cpu",
                    continuous_actions=not discrete,
                    multidiscrete_actions=discrete,
                    terminated_truncated=True,
                    seed=0,
                    **config.settings,
                )
        except (TypeError, AssertionError, UserWarning) as error:
            given = f"settings: got {config.settings} for vmas:{scenario}, allowed is what it can be made with"
            raise ValueError(f"{given} ({error})") from error
        # Which agents, by place, form each group.
        self._places: dict[str, list[int]] = {}
        groups: list[AgentGroup] = []
        spaces = [
            (_size(seen, agent.name), _actions(acted, agent.name))
            for agent, seen, acted in zip(
                self._env.agents, self._env.observation_space, self._env.action_space, strict=True
            )
        ]
        for size, acted in dict.fromkeys((size, str(acted)) for size, acted in spaces):
            members = [i for i, (width, space) in enumerate(spaces) if (width, str(space)) == (size, acted)]
            name = f"agents_{len(groups)}" if len({(s, str(a)) for s, a in spaces}) > 1 else "agents"
            layout = ObservationLayout(tuple(f"x{i}" for i in range(size)))
            ids = tuple(self._env.agents[i].name for i in members)
            groups.append(
                AgentGroup(name, ids, spaces[members[0]][1], layout, _own(self._env.action_space[members[0]]))
            )
            self._places[name] = members
        super().__init__(
            num_worlds,
            groups,
            state_size=sum(group.size * group.layout.size for group in groups),
            task=task or VmasTask(),
            team_weight=config.team_weight,
            first_world=first_world,
        )
        self._random: list[Any] = list(self._env.vmas_random_state)
        self._observations: dict[str, FloatArray] = {}

    @property
    def waived(self) -> Mapping[str, str]:
        """A world in a batch is not the world alone, to the bit."""
        return {"alone": "VMAS draws from one random stream for all worlds"}

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """Lends VMAS, whose random state belongs to all envs of a process, that of this one."""
        shared = self._env.vmas_random_state
        before, shared[:] = list(shared), self._random
        try:
            yield
        finally:
            self._random, shared[:] = list(shared), before

    def _begin(self, worlds: IntArray) -> None:
        with self._own_random():
            for world in worlds:  # an episode's beginning, not a step: each world from its own stream
                self._env.seed(int(self.streams.generators[world].integers(2**31)))
                self._env.reset_at(int(world), return_observations=False)
            self._see(self._env.get_from_scenario(True, False, False, False)[0])

    def _see(self, observations: list[Any]) -> None:
        """Takes down what all agents see, by group."""
        for name, places in self._places.items():
            seen = self._torch.stack([observations[i] for i in places], dim=1)
            self._observations[name] = seen.numpy().astype(np.float32)

    def _advance(self, actions: Actions) -> Outcome:
        told: list[Any] = [None] * len(self._env.agents)
        for name, places in self._places.items():
            for row, place in enumerate(places):
                told[place] = self._torch.from_numpy(self._scaled(actions[name][:, row], place))
        with self._own_random():
            observations, earned, over, _, _ = self._env.step(told)
        self._see(observations)
        ended = over.numpy().astype(np.bool_)
        rewards = {
            name: self._torch.stack([earned[i] for i in places], dim=1).numpy().astype(np.float32)
            for name, places in self._places.items()
        }
        return Outcome(rewards, {name: np.repeat(ended[:, None], len(p), axis=1) for name, p in self._places.items()})

    def _scaled(self, actions: NDArray[Any], place: int) -> NDArray[Any]:
        space = self._env.action_space[place]
        if not hasattr(space, "low"):
            return actions
        share = (actions.astype(np.float32) + 1) / 2
        scaled: NDArray[Any] = np.clip(space.low + share * (space.high - space.low), space.low, space.high)
        return scaled

    def _observe(self) -> Observation:
        observations = {name: array * self.alive[name][:, :, None] for name, array in self._observations.items()}
        state = np.concatenate([array.reshape(self.num_worlds, -1) for array in observations.values()], axis=1)
        return Observation(observations, {}, {}, state)

    def _get_state(self) -> dict[str, Any]:
        """The scenario as it stands, tensors and all."""
        return {
            "env": cloudpickle.dumps(self._env),
            "random": cloudpickle.dumps(self._random),
            "seen": {name: array.copy() for name, array in self._observations.items()},
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        self._env = cloudpickle.loads(state["env"])
        self._random = cloudpickle.loads(state["random"])
        self._observations = {name: array.copy() for name, array in state["seen"].items()}


def __getattr__(name: str) -> Domain:
    """The domain of a scenario, so that it is found by its address."""
    if name.startswith("__"):
        raise AttributeError(name)

    def make(config: VmasConfig, num_worlds: int, *, task: Any = None, first_world: int = 0) -> BatchedEnv:
        return VmasBatchedEnv(name, config, num_worlds, task=task, first_world=first_world)

    return Domain(f"vmas:{name}", f"The scenario {name} of VMAS.", VmasConfig, VmasTask, make)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f"vmas: {name} is not installed ({error}); pip install 'entrepot[vmas]'") from error


def _size(space: Any, agent: str) -> int:
    shape = getattr(space, "shape", None)
    if shape is None or len(shape) != 1:
        raise ValueError(f"observation space of {agent!r}: got {space}, allowed is a Box of one axis")
    return int(shape[0])


def _own(space: Any) -> OwnActions | None:
    if not hasattr(space, "low") or (np.all(space.low == -1) and np.all(space.high == 1)):
        return None
    return OwnActions(tuple(map(float, space.low)), tuple(map(float, space.high)))


def _actions(space: Any, agent: str) -> Box | MultiDiscrete:
    """An action space of the old gym's, which VMAS speaks, as a group has it."""
    if hasattr(space, "nvec"):
        return MultiDiscrete(np.asarray(space.nvec))
    if hasattr(space, "n"):
        return MultiDiscrete([int(space.n)])
    if hasattr(space, "low") and np.isfinite(space.low).all() and np.isfinite(space.high).all():
        return Box(-1, 1, space.shape, np.float32)
    raise ValueError(
        f"action space of {agent!r}: got {space}, allowed are Discrete, MultiDiscrete, and Box with bounds"
    )
