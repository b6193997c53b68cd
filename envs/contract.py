"""Puts any `BatchedEnv`, ours or a user's, through its contract: `check_env(make)`.

What one run must show by itself is in `invariants.py`; here is what only shows between runs (seeds, batches, restored
states, rejected actions, switched tasks), found by comparing recordings to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from numpy.typing import NDArray
from pydantic import ValidationError

from envs.base import AgentGroup, BatchedEnv, Observation, Task
from envs.invariants import ContractError, check_endings, check_observation, check_spaces, check_step, demand
from envs.recording import Act, Recording, again, first_difference, randomly, record

__all__ = ["ContractError", "check_env"]

MakeWorlds = Callable[[int, int], BatchedEnv]
"""`make(num_worlds, first_world)`."""


def check_env(make: MakeWorlds, *, worlds: int = 3, steps: int = 100, seed: int = 0, stochastic: bool = True) -> None:
    """Checks every clause of the contract that `BatchedEnv` states, but for those that the env says it cannot keep.

    Args:
        make: Makes `num_worlds` fresh worlds, the first of which has the number `first_world` of the run as a whole.
        worlds: Worlds `B` of the batch under test, 2 or more.
        steps: Steps played; episodes must end within them.
        seed: Seed of the worlds and of the random actions.
        stochastic: Whether another seed must give other trajectories.

    Raises:
        ContractError: Naming the clause that does not hold, and where.
        ValueError: If the check itself is asked for too little.
    """
    if worlds < 2 or steps < 4:
        raise ValueError(f"worlds, steps: got {worlds} and {steps}, allowed is 2 or more and 4 or more")
    env = make(worlds, 0)
    check_spaces(env, worlds)
    _check_not_started(env)
    first = env.reset(seed)
    check_observation(env, first, worlds)
    # The observation is checked before anything is made of it, here and in every later step: what is chosen to act on
    # a wrong mask would hide the fault.
    act = randomly(env, seed)

    def checked(number: int, observation: Observation) -> Mapping[str, NDArray[Any]]:
        check_observation(env, observation, worlds)
        return act(number, observation)

    run = record(env, first, steps, checked)
    for number, step in enumerate(run.steps):
        check_step(env, run, number, step)
    check_endings(env, run)
    _check_seeding(make, run, seed, stochastic)
    if "alone" not in env.waived:
        _check_alone(make, run, seed)
        _check_mixed(make, run, seed)
    if "state" not in env.waived:
        _check_state(make, run, seed)
    _check_ignored(make, run, seed)
    _check_actions(make, run, seed)
    _check_tasks(make, run, seed)


def _check_not_started(env: BatchedEnv) -> None:
    """Stepping before the first reset is an error of its own."""
    nothing = {
        g.name: np.zeros((env.num_worlds, g.size, g.num_actions), g.action_space.dtype) for g in env.groups.values()
    }
    try:
        env.step(nothing)
    except RuntimeError:
        return
    raise ContractError("actions", "step before the first reset raises no RuntimeError")


def _demand_same(
    clause: str, one: Recording, other: Recording, what: str, worlds: tuple[int, int] | None = None
) -> None:
    where = first_difference(one, other, worlds)
    demand(where is None, clause, f"{what}: {where} differs")


def _check_seeding(make: MakeWorlds, run: Recording, seed: int, stochastic: bool) -> None:
    """The seed decides everything: nothing else does, and it does."""
    env, total = make(run.num_worlds, 0), len(run.steps)
    other = record(env, env.reset(seed + 1), total // 2, again(run.actions))
    if stochastic:
        differs = first_difference(run, other, until=total // 2) is not None
        demand(differs, "seeding", "another seed gives the same trajectories")
    used = record(env, env.reset(seed), total, again(run.actions))
    _demand_same("seeding", run, used, "the same seed in an env that was used before")


def _check_alone(make: MakeWorlds, run: Recording, seed: int) -> None:
    """A world in a batch is the world alone."""
    for world in range(run.num_worlds):
        env = make(1, world)
        lone = record(env, env.reset(seed), len(run.steps), again(run.actions, world))
        _demand_same("alone", run, lone, "a world in a batch and alone", (world, 0))


def _check_state(make: MakeWorlds, run: Recording, seed: int) -> None:
    """A restored env goes on as the one it was taken from, through restarts."""
    total = len(run.steps)
    for cut in (total // 3, total // 2 + 1):
        env = make(run.num_worlds, 0)
        record(env, env.reset(seed), cut, again(run.actions))
        state = env.get_state()
        copied = deepcopy(state)
        rest = record(env, env.observe(), total - cut, again(run.actions[cut:]))
        _demand_same("state", Recording([run.seen[cut]], [], run.steps[cut:]), rest, "reading the state")
        # Twice from one copy: the first env restored must not write into what the second one reads.
        for what, saved in (("copied", copied), ("restored twice", copied), ("kept while its env went on", state)):
            restored = make(run.num_worlds, 0)
            restored.set_state(saved)
            twin = record(restored, restored.observe(), total - cut, again(run.actions[cut:]))
            _demand_same("state", rest, twin, f"a state {what}, from step {cut}")


def _check_ignored(make: MakeWorlds, run: Recording, seed: int) -> None:
    """What agents do that do not act, and what is done in masked dimensions, changes nothing."""
    env = make(run.num_worlds, 0)
    rng = np.random.default_rng(seed)

    def meddled(dead: bool) -> Act:
        def act(number: int, seen: Observation) -> Mapping[str, NDArray[Any]]:
            actions = {name: array.copy() for name, array in run.actions[number].items()}
            for group in env.groups.values():
                drawn = _anything(group, env.num_worlds, rng)
                mask = seen.action_masks.get(group.name)
                if dead:
                    where = np.broadcast_to(~seen.acts[group.name][..., None], drawn.shape)
                else:
                    where = np.zeros_like(drawn, bool) if group.discrete or mask is None else ~mask
                actions[group.name][where] = drawn[where]
            return actions

        return act

    dead = record(env, env.reset(seed), len(run.steps), meddled(dead=True))
    _demand_same("dead agents", run, dead, "agents that are not alive, or not asked, act differently")
    masked = record(env, env.reset(seed), len(run.steps), meddled(dead=False))
    _demand_same("masks", run, masked, "masked dimensions are set differently")
    # A learner that knows no masks sends choices that are masked: they must be survived.
    blind = record(
        env,
        env.reset(seed),
        len(run.steps),
        lambda *_: {g.name: _anything(g, env.num_worlds, rng) for g in env.groups.values()},
    )
    for number, step in enumerate(blind.steps):
        for what, arrays in (("rewards", step.rewards), ("observations", step.observation.observations)):
            finite = all(np.isfinite(array).all() for array in arrays.values())
            demand(finite, "masks", f"{what} hold NaN or infinity once masked choices were taken, in step {number}")


def _anything(group: AgentGroup, worlds: int, rng: np.random.Generator) -> NDArray[Any]:
    """Actions within bounds that know no masks."""
    shape = (worlds, group.size, group.num_actions)
    if isinstance(group.action_space, MultiDiscrete):
        return rng.integers(group.action_space.nvec, size=shape)
    return rng.uniform(-1, 1, shape).astype(np.float32)


def _check_actions(make: MakeWorlds, run: Recording, seed: int) -> None:
    """Wrong actions are rejected, and rejecting them changes nothing."""
    env = make(run.num_worlds, 0)
    env.reset(seed)
    for group in env.groups.values():
        right = run.actions[0][group.name]
        wrong: dict[str, NDArray[Any] | None] = {
            "missing": None,
            "of a wrong shape": right[:, :, :-1],
            "for too few worlds": right[:-1],
        }
        for what, value in (("out of bounds", 2.0), ("NaN", np.nan), ("infinite", np.inf)):
            wrong[what] = np.where(np.arange(right.size).reshape(right.shape) == right.size - 1, value, right)
        if isinstance(group.action_space, MultiDiscrete):
            wrong["below bounds"] = right - 1 - right.min()
            wrong["out of bounds"] = right + group.action_space.nvec
        for what, array in wrong.items():
            actions = {name: a for name, a in run.actions[0].items() if name != group.name}
            if array is not None:
                actions[group.name] = array
            try:
                env.step(actions)
            except ValueError:
                continue
            raise ContractError("actions", f"actions of group {group.name!r} that are {what} raise no ValueError")
    rest = record(env, env.observe(), len(run.steps), again(run.actions))
    _demand_same("actions", run, rest, "after actions were rejected")


def _check_tasks(make: MakeWorlds, run: Recording, seed: int) -> None:
    """A task takes effect at its world's next reset, in that world alone, and is part of the state until then."""
    env, total = make(run.num_worlds, 0), len(run.steps)
    first_end, world = next((n, int(s.final.worlds[0])) for n, s in enumerate(run.steps) if s.final is not None)
    first = env.reset(seed)
    old = env.tasks[world]
    task = old.model_copy(update={"name": "switched", "max_steps": old.max_steps // 2 or 2})
    env.set_tasks(task, [world])
    state = env.get_state()
    switched = record(env, first, total, again(run.actions))
    where = first_difference(run, switched, (world, world), until=first_end)
    demand(where is None, "tasks", f"a task set in mid-episode acts before the next reset: {where} differs")
    played = [
        (number, final.tasks[row], final.lengths[row])
        for number, step in enumerate(switched.steps)
        if (final := step.final) is not None
        for row in np.flatnonzero(final.worlds == world)
    ]
    demand(
        played and played[0][:2] == (first_end, old), "tasks", "a task set in mid-episode changes the episode's account"
    )
    late = total - first_end > task.max_steps
    demand(len(played) > 1 or not late, "tasks", f"max_steps {task.max_steps} is not kept after the next reset")
    for _, now, length in played[1:]:
        demand(now == task, "tasks", "the task set is not played after the next reset")
        demand(length <= task.max_steps, "tasks", f"max_steps {task.max_steps} is not kept after the next reset")
    for other in set(range(run.num_worlds)) - {world}:
        _demand_same("tasks", run, switched, "a task set in another world", (other, other))
    if "state" in env.waived:
        return
    restored = make(run.num_worlds, 0)
    restored.set_state(state)
    twin = record(restored, restored.observe(), total, again(run.actions))
    _demand_same("tasks", switched, twin, "a task set before the state was taken, and restored with it")


def _check_mixed(make: MakeWorlds, run: Recording, seed: int) -> None:
    """Worlds that play different tasks together play them as each does alone."""
    env = make(run.num_worlds, 0)
    tasks = [(env.tasks[0], varied(make, env.tasks[0]))[world % 2] for world in range(run.num_worlds)]
    env.set_tasks(tasks)
    mixed = record(env, env.reset(seed), len(run.steps), again(run.actions))
    for world, task in enumerate(tasks):
        alone = make(1, world)
        alone.set_tasks(task)
        lone = record(alone, alone.reset(seed), len(run.steps), again(run.actions, world))
        _demand_same("tasks", mixed, lone, "a task beside another world's, and alone", (world, 0))


def varied(make: MakeWorlds, task: Task) -> Task:
    """The task with as many fields changed as the model and the env allow, one after the other."""
    for name, value in task:
        candidates: list[Any] = []
        if isinstance(value, bool):
            candidates = [not value]
        elif isinstance(value, int | float):
            candidates = [type(value)(value * 0.5), value * 2, value + 1]
        for candidate in () if name == "max_steps" else candidates:
            try:
                changed = type(task).model_validate(task.model_dump() | {name: candidate})
                env = make(1, 0)
                env.set_tasks(changed)
                env.reset(0)
            except (ValidationError, ValueError):
                continue
            if changed != task:
                task = changed
                break
    return task
