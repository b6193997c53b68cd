"""Trajectories written down in full, to be compared to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.base import Actions, BatchedEnv, Observation, Step, Task
from envs.sampling import random_actions

Act = Callable[[int, Observation], Actions]
"""Chooses the actions of a step from its number and what is seen."""


@dataclass
class Recording:
    """What happened in `T` steps; nothing in it is shared with the env.

    Attributes:
        seen: What the agents saw before each step, and after the last, `T + 1`.
        actions: What they did, `T`.
        steps: What came of it, `T`.
        tasks: The tasks the worlds played before each step, `T`.
    """

    seen: list[Observation]
    actions: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    tasks: list[list[Task]] = field(default_factory=list)

    @property
    def num_worlds(self) -> int:
        """Worlds `B`."""
        return int(self.seen[0].state.shape[0])


def record(env: BatchedEnv, first: Observation, steps: int, act: Act) -> Recording:
    """Steps `env` and writes everything down.

    Args:
        env: The worlds, already reset or restored.
        first: What is seen in them now.
        steps: Steps `T`.
        act: Chooses the actions.
    """
    recording = Recording([deepcopy(first)])
    for number in range(steps):
        actions = {name: np.array(array) for name, array in act(number, recording.seen[-1]).items()}
        recording.tasks.append(list(env.tasks))
        recording.actions.append(deepcopy(actions))
        step = deepcopy(env.step(actions))
        recording.steps.append(step)
        recording.seen.append(step.observation)
    return recording


def randomly(env: BatchedEnv, seed: int) -> Act:
    """Allowed actions at random."""
    rng = np.random.default_rng((seed, 0xC0))
    return lambda number, observation: random_actions(env.groups, observation, rng)


def again(actions: Sequence[Actions], world: int | None = None) -> Act:
    """The actions of an earlier recording, of all worlds or of one."""
    chosen = slice(None) if world is None else slice(world, world + 1)
    return lambda number, _: {name: array[chosen] for name, array in actions[number].items()}


def first_difference(
    one: Recording,
    other: Recording,
    worlds: tuple[int, int] | None = None,
    until: int | None = None,
) -> str | None:
    """Says where two recordings differ first, to the bit; None if nowhere.

    Args:
        one: A recording.
        other: A recording of as many steps.
        worlds: A world of `one` and the world of `other` it is compared with; all, in order, if None.
        until: Compare this many steps only; all if None.
    """
    pairs = [worlds] if worlds else [(w, w) for w in range(one.num_worlds)]
    for here, there in pairs:
        if what := _unequal(_of_observation(one.seen[0], here), _of_observation(other.seen[0], there)):
            return f"{what} of world {here} after reset"
        for number, (a, b) in enumerate(zip(one.steps[:until], other.steps[:until], strict=True)):
            if what := _unequal(_of_step(a, here), _of_step(b, there)):
                return f"{what} of world {here} in step {number}"
    return None


def _of_observation(observation: Observation, row: int, prefix: str = "") -> dict[str, NDArray[Any]]:
    """The arrays of one world, by what they are."""
    kinds: dict[str, Mapping[str, NDArray[Any]]] = {
        "observation": observation.observations,
        "action mask": observation.action_masks,
        "alive": observation.alive,
        "acts": observation.acts,
    }
    arrays = {f"{prefix}{kind} [{name}]": array[row] for kind, by in kinds.items() for name, array in by.items()}
    return arrays | {f"{prefix}state": observation.state[row]}


def _of_step(step: Step, world: int) -> dict[str, NDArray[Any]]:
    """Everything that a step says about one world, by what it is."""
    arrays = _of_observation(step.observation, world)
    arrays |= {f"reward [{name}]": array[world] for name, array in step.rewards.items()}
    arrays |= {f"terminated [{name}]": array[world] for name, array in step.terminated.items()}
    for kind, by in (("arrived", step.arrived), ("objectives", step.objectives), ("costs", step.costs)):
        arrays |= {f"{kind} [{name}]": array[world] for name, array in by.items()}
    arrays["truncated"] = np.asarray(step.truncated[world])
    if step.final is not None and world in step.final.worlds:
        final, row = step.final, int(np.flatnonzero(step.final.worlds == world)[0])
        arrays |= _of_observation(final.observation, row, "final ")
        arrays |= {f"return [{name}]": array[row] for name, array in final.returns.items()}
        arrays |= {f"metric {name}": np.asarray(array[row]) for name, array in final.metrics.items()}
        arrays["length"] = np.asarray(final.lengths[row])
        arrays["level"] = final.levels[row]
    return arrays


def _unequal(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> str | None:
    """The first name whose arrays differ in a bit."""
    for name in [*one, *(name for name in other if name not in one)]:
        if name not in one or name not in other:
            return name
        a, b = one[name], other[name]
        if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
            return name
    return None
