"""What a single run of any `BatchedEnv` must show by itself: shapes, masks, who is alive, and how episodes end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from envs.base import BatchedEnv, Final, Observation, Step
from envs.recording import Recording


class ContractError(Exception):
    """An env breaks its contract; the message is one line that names the clause, and where it fails.

    Attributes:
        clause: The clause's name.
    """

    def __init__(self, clause: str, what: str) -> None:
        super().__init__(f"{clause}: {what}")
        self.clause = clause


def demand(holds: Any, clause: str, what: str) -> None:
    """Raises ContractError unless something holds."""
    if not holds:
        raise ContractError(clause, what)


def _check_array(array: Any, shape: tuple[int, ...], dtype: type, what: str) -> None:
    """One array of the expected shape and dtype, without NaN or infinity."""
    demand(isinstance(array, np.ndarray), "shapes", f"{what} is a {type(array).__name__}, not an array")
    demand(array.shape == shape, "shapes", f"{what} has shape {array.shape}, not {shape}")
    demand(array.dtype == dtype, "shapes", f"{what} has dtype {array.dtype}, not {np.dtype(dtype)}")
    demand(np.isfinite(array).all(), "finite", f"{what} holds NaN or infinity")


def check_spaces(env: BatchedEnv, worlds: int) -> None:
    """Sizes, names and spaces agree with each other."""
    demand(env.num_worlds == worlds, "spaces", f"num_worlds is {env.num_worlds}, asked for {worlds}")
    demand(env.agent_ids, "spaces", "there are no agents")
    demand(len(set(env.agent_ids)) == len(env.agent_ids), "spaces", "agent ids are not unique")
    if env.hears is not None:
        shape, kind = np.shape(env.hears), np.asarray(env.hears).dtype
        allowed = (len(env.agent_ids),) * 2
        demand(shape == allowed and kind == np.bool_, "spaces", f"hears is {kind} {shape}, not bool {allowed}")
    for name, group in env.groups.items():
        space = group.action_space
        what = f"group {name!r}"
        demand(group.name == name, "spaces", f"{what} calls itself {group.name!r}")
        if isinstance(space, MultiDiscrete):
            demand(space.nvec.ndim == 1 and not np.any(space.start), "spaces", f"{what}: branches are not 1-D from 0")
        else:
            unit = isinstance(space, Box) and space.dtype == np.float32 and len(space.shape) == 1
            unit = unit and bool((space.low == -1).all() and (space.high == 1).all())
            demand(unit, "spaces", f"{what}: action space is {space}, not float32 Box(-1, 1, [K]) or MultiDiscrete")
        expected = group.layout.num_entities * group.layout.actions_per_entity
        demand(
            not expected or expected == group.num_actions,
            "spaces",
            f"{what}: layout gives {expected} actions to its entities, the action space has {group.num_actions}",
        )


def check_observation(env: BatchedEnv, seen: Observation, rows: int, what: str = "") -> None:
    """Shapes, dtypes, finiteness and masks of an observation of `rows` worlds."""
    names = set(env.groups)
    for kind, arrays in (("observations", seen.observations), ("alive", seen.alive), ("acts", seen.acts)):
        demand(set(arrays) == names, "shapes", f"{what}{kind} has keys {sorted(arrays)}, not {sorted(names)}")
    demand(set(seen.action_masks) <= names, "shapes", f"{what}action_masks has keys {sorted(seen.action_masks)}")
    assert env.state_space.shape is not None
    _check_array(seen.state, (rows, *env.state_space.shape), np.float32, f"{what}state")
    for group in env.groups.values():
        name, of = group.name, f"{what}{{}}[{group.name!r}]"
        _check_array(
            seen.observations[name], (rows, group.size, group.layout.size), np.float32, of.format("observations")
        )
        _check_array(seen.alive[name], (rows, group.size), np.bool_, of.format("alive"))
        _check_array(seen.acts[name], (rows, group.size), np.bool_, of.format("acts"))
        mask = seen.action_masks.get(name)
        if mask is not None:
            _check_array(mask, (rows, group.size, group.mask_size), np.bool_, of.format("action_masks"))
            if isinstance(group.action_space, MultiDiscrete):
                branches = np.split(mask, np.cumsum(group.action_space.nvec)[:-1], axis=2)
                some = np.stack([branch.any(axis=2) for branch in branches]).all()
                demand(some, "masks", f"{of.format('action_masks')} leaves a branch without a choice")
        unseen = seen.observations[name][~seen.alive[name]]
        demand(not unseen.any(), "dead agents", f"{of.format('observations')} is not zero for agents not alive")


def check_step(env: BatchedEnv, run: Recording, number: int, step: Step) -> None:
    """What a single step must satisfy, given what was seen before it."""
    where = f" in step {number}"
    before, after, worlds = run.seen[number], step.observation, env.num_worlds
    check_observation(env, after, worlds)
    sums = ("objectives", step.objectives, env.objectives), ("costs", step.costs, env.costs)
    for kind, summed, names in sums:
        demand(set(summed) == (set(env.groups) if names else set()), "shapes", f"{kind} has keys {sorted(summed)}")
    demand(set(step.arrived) <= set(env.groups), "shapes", f"arrived has keys {sorted(step.arrived)}")
    demand(set(after.action_masks) == set(before.action_masks), "masks", f"groups with masks change{where}")
    for kind, arrays in (("rewards", step.rewards), ("terminated", step.terminated)):
        demand(set(arrays) == set(env.groups), "shapes", f"{kind} has keys {sorted(arrays)}")
    _check_array(step.truncated, (worlds,), np.bool_, "truncated")
    left = {}
    for group in env.groups.values():
        name, alive = group.name, before.alive[group.name]
        _check_array(step.rewards[name], (worlds, group.size), np.float32, f"rewards[{name!r}]")
        _check_array(step.terminated[name], (worlds, group.size), np.bool_, f"terminated[{name!r}]")
        demand(not step.rewards[name][~alive].any(), "dead agents", f"one not alive is rewarded{where}")
        demand(not step.terminated[name][~alive].any(), "dead agents", f"one not alive terminates{where}")
        for kind, summed, names in sums:
            if names:
                _check_array(summed[name], (worlds, group.size, len(names)), np.float32, f"{kind}[{name!r}]")
                demand(not summed[name][~alive].any(), "dead agents", f"one not alive has {kind}{where}")
        left[name] = alive & ~step.terminated[name]
        if name in step.arrived:
            _check_array(step.arrived[name], (worlds, group.size), np.bool_, f"arrived[{name!r}]")
            demand(not (step.arrived[name] & alive).any(), "alive", f"one that is there arrives{where}")
            left[name] = left[name] | step.arrived[name]
    over = ~np.any([alive.any(axis=1) for alive in left.values()], axis=0)
    demand(not (over & step.truncated).any(), "endings", f"a world is truncated and terminated at once{where}")
    ended = np.flatnonzero(over | step.truncated)
    listed = np.zeros(0, np.int64) if step.final is None else step.final.worlds
    demand(np.array_equal(ended, listed), "final", f"worlds {ended} ended, final lists {listed}{where}")
    for name, alive in left.items():
        stays = np.setdiff1d(np.arange(worlds), ended)
        same = np.array_equal(after.alive[name][stays], alive[stays])
        asked = after.acts[name] & ~after.alive[name]
        demand(not asked.any(), "dead agents", f"acts[{name!r}] asks one that is not alive{where}")
        demand(same, "alive", f"it is not those alive before, less the terminated, and the arrived{where}")
    if step.final is not None:
        _check_final(env, step.final, run, number, left)


def _check_final(
    env: BatchedEnv, final: Final, run: Recording, number: int, left: Mapping[str, NDArray[np.bool_]]
) -> None:
    """The last sight of the worlds that ended in step `number`, and the account of their episodes."""
    where, rows = f" in step {number}", final.worlds.size
    check_observation(env, final.observation, rows, "final ")
    demand(final.lengths.shape == (rows,) and len(final.tasks) == rows, "final", f"not {rows} lengths, tasks{where}")
    for name, figures in final.metrics.items():
        _check_array(figures, (rows,), np.float64, f"metric {name!r}")
    for row, world in enumerate(final.worlds):
        began = _beginning(run, number, int(world))
        length = number + 1 - began
        demand(final.lengths[row] == length, "final", f"length {final.lengths[row]}, was {length}{where}")
        demand(final.tasks[row] == run.tasks[number][world], "final", f"task is not the one played{where}")
        limit = final.tasks[row].max_steps
        demand(length <= limit, "endings", f"an episode of {length} steps, max_steps is {limit}{where}")
        own, earned = 0.0, 0.0
        for name in env.groups:
            alive = final.observation.alive[name][row]
            demand(np.array_equal(alive, left[name][world]), "final", f"alive is not as before the restart{where}")
            there = [run.seen[began + step].alive[name][world] for step in range(length)]
            present = np.any([*there, left[name][world]], axis=0)
            demand(np.array_equal(final.present[name][row], present), "final", f"present is not who took part{where}")
            rewards = np.sum([s.rewards[name][world] for s in run.steps[began : number + 1]], axis=0, dtype=np.float64)
            returns = final.returns[name][row]
            agree = env.team_weight > 0 or np.allclose(returns, rewards, rtol=1e-5, atol=1e-6)
            demand(agree, "final", f"returns {returns} are not the sums of rewards {rewards}{where}")
            own, earned = own + returns.sum(), earned + rewards.sum()
        # Sharing moves reward between agents and makes none.
        demand(
            np.isclose(own, earned, rtol=1e-4, atol=1e-4), "final", f"shared rewards sum to {earned}, not {own}{where}"
        )


def _beginning(run: Recording, number: int, world: int) -> int:
    """The step in which the episode that `world` plays in step `number` began."""
    for earlier in range(number - 1, -1, -1):
        final = run.steps[earlier].final
        if final is not None and world in final.worlds:
            return earlier + 1
    return 0


def check_endings(env: BatchedEnv, run: Recording) -> None:
    """Episodes end, in time, and what is seen at the end is not the restart."""
    ends = [(number, step) for number, step in enumerate(run.steps) if step.final is not None]
    demand(ends, "endings", f"no episode ended in {len(run.steps)} steps: check more steps or a task with fewer")
    for world in range(env.num_worlds):
        began = _beginning(run, len(run.steps), world)
        going, limit = len(run.steps) - began, env.tasks[world].max_steps
        demand(going < limit, "endings", f"world {world} goes on after {going} steps, max_steps is {limit}")
    for _, step in ends:
        final = step.final
        assert final is not None
        for name, seen in final.observation.observations.items():
            restart = step.observation.observations[name][final.worlds]
            someone = final.observation.alive[name]
            if someone.any() and not np.array_equal(seen[someone], restart[someone]):
                return
            state = final.observation.state
            if not someone.any() and (
                state.tobytes() != step.observation.state[final.worlds].tobytes() or not state.any()
            ):  # a state of zeros, where nobody is left, can be both
                return
    raise ContractError("final", "what is seen at the end of every episode is the first sight of the next one")
