"""Tests of the contract's checker: our domains pass it, and every clause catches an env that breaks it."""

# ruff: noqa: D102, the classes say how they are broken

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box

from envs.base import Actions, IntArray, Observation, Outcome, Step, Task
from envs.contract import ContractError, check_env
from envs.cue import CueConfig, CueEnv, CueTask
from envs.registry import domain_names, get_domain

GROUP = CueEnv.GROUP


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("domain", domain_names())
def test_every_domain_keeps_its_contract(domain: str, mode: str) -> None:
    """Every built-in domain passes in both action modes, with short episodes and an odd number of worlds."""
    config, task = {"action_mode": mode}, {"max_steps": 12}
    check_env(lambda b, k: get_domain(domain).env(config, b, task=task, first_world=k), worlds=5, steps=27)


@pytest.mark.parametrize("team_weight", [0.0, 0.4])
@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_cue_with_absent_and_dying_agents_keeps_the_contract(mode: str, team_weight: float) -> None:
    """Agents who die at different times, or never take part, and shared rewards are within the contract."""
    config = {"action_mode": mode, "num_agents": 4, "team_weight": team_weight}
    task = {"lifetimes": (3, 5, 0), "agents": 3, "max_steps": 9}
    check_env(lambda b, k: get_domain("cue").env(config, b, task=task, first_world=k), worlds=4, steps=40)


class _Steps(CueEnv):
    """Gets hold of every step before it is returned."""

    def step(self, actions: Actions) -> Step:
        step = super().step(actions)
        self.spoil(step)
        return step

    def spoil(self, step: Step) -> None:
        """Breaks something."""


class _Observes(CueEnv):
    """Gets hold of everything that is seen."""

    def _observe(self) -> Observation:
        seen = super()._observe()
        self.spoil(seen)
        return seen

    def spoil(self, seen: Observation) -> None:
        """Breaks something."""


class TwinNames(CueEnv):
    """spaces: two agents have one name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        group = self.groups[GROUP]
        self.groups[GROUP] = replace(group, agent_ids=("same",) * group.size)


class WideActions(CueEnv):
    """spaces: continuous actions are not in [-1, 1]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        group = self.groups[GROUP]
        self.groups[GROUP] = replace(group, action_space=Box(-2, 2, (group.num_actions,), np.float32))


class FewerWorlds(CueEnv):
    """spaces: there are not as many worlds as were asked for."""

    def __init__(self, config: CueConfig, num_worlds: int, **kwargs: Any) -> None:
        super().__init__(config, 1, **kwargs)


class HalfHeard(CueEnv):
    """spaces: who hears whom is said of some agents only."""

    @property
    def hears(self) -> np.ndarray[Any, Any]:
        return np.ones((2, 3), np.bool_)


class DoublePrecision(_Observes):
    """shapes: observations are float64."""

    def spoil(self, seen: Observation) -> None:
        seen.observations[GROUP] = seen.observations[GROUP].astype(np.float64)


class NarrowState(_Observes):
    """shapes: the state is not as wide as its space."""

    def spoil(self, seen: Observation) -> None:
        seen.state = seen.state[:, 1:]


class OneReward(_Steps):
    """shapes: rewards are by world, not by agent."""

    def spoil(self, step: Step) -> None:
        step.rewards[GROUP] = step.rewards[GROUP].mean(axis=1)


class LateNaN(_Observes):
    """finite: late in an episode an observation is NaN."""

    def spoil(self, seen: Observation) -> None:
        seen.observations[GROUP][self.clock == 4, 0, 0] = np.nan


class UndefinedMetric(CueEnv):
    """finite: a metric is NaN."""

    def _metrics(self, worlds: IntArray) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
        return {"ratio": np.full(worlds.size, np.nan)}


class NoChoice(_Observes):
    """masks: a branch is left without a choice."""

    def spoil(self, seen: Observation) -> None:
        mask = seen.action_masks[GROUP]
        mask[self.clock == 3, :, : self.config.num_choices] = False


class MaskedCounts(CueEnv):
    """masks: what is done in a masked dimension is rewarded."""

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        outcome.rewards[GROUP] += (actions[GROUP][:, :, -1] > 0.1) * self.alive[GROUP] * np.float32(0.5)
        return outcome


class MaskedBreaks(CueEnv):
    """masks: a masked choice gives NaN."""

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        outcome.rewards[GROUP][(actions[GROUP][:, :, -1] > 0) & self.alive[GROUP]] = np.nan
        return outcome


class SeeingDead(_Observes):
    """dead agents: an agent that is not alive sees."""

    def spoil(self, seen: Observation) -> None:
        seen.observations[GROUP][:, :, 0] = 1.0


class PaidDead(_Steps):
    """dead agents: an agent that is not alive is paid."""

    def spoil(self, step: Step) -> None:
        step.rewards[GROUP] += np.float32(1.0)


class DyingTwice(CueEnv):
    """dead agents: an agent goes on terminating."""

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        outcome.terminated[GROUP] |= ~self.alive[GROUP]
        return outcome


class ActingDead(CueEnv):
    """dead agents: what an agent that is not alive does moves the others."""

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        total = actions[GROUP].sum(axis=(1, 2), dtype=np.float32)
        outcome.rewards[GROUP] += self.alive[GROUP] * total[:, None]
        return outcome


class Resurrection(CueEnv):
    """alive: an agent comes back to life in mid-episode."""

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        self.alive[GROUP][self.clock == 4] = True
        return outcome


class Endless(CueEnv):
    """endings: max_steps is forgotten."""

    def _advance(self, actions: Actions) -> Outcome:
        self._ledger.limits += 1
        return super()._advance(actions)


class BothEnds(_Steps):
    """endings: an episode that terminated is called truncated too."""

    def spoil(self, step: Step) -> None:
        if step.final is not None:
            step.truncated[step.final.worlds] = True


class RestartShown(_Steps):
    """final: the final observation is the next episode's first."""

    def spoil(self, step: Step) -> None:
        if step.final is not None:
            alive = step.final.observation.alive
            step.final.observation = step.observation.of(step.final.worlds)
            step.final.observation.observations[GROUP] *= alive[GROUP][:, :, None]
            step.final.observation.alive = alive


class FinalMissing(_Steps):
    """final: a world that ended is not listed."""

    def spoil(self, step: Step) -> None:
        step.final = None


class FinalRevived(_Steps):
    """final: who terminated in the last step is still called alive, and would be bootstrapped."""

    def spoil(self, step: Step) -> None:
        if step.final is not None:
            step.final.observation.alive[GROUP][...] = True
            step.final.observation.observations[GROUP][...] = 0.5


class LostReturns(_Steps):
    """final: returns leave out the last reward."""

    def spoil(self, step: Step) -> None:
        if step.final is not None:
            step.final.returns[GROUP] -= step.rewards[GROUP][step.final.worlds]


class DeafToSeed(CueEnv):
    """seeding: the seed is not used."""

    def reset(self, seed: int) -> Observation:
        return super().reset(0)


class LongMemory(CueEnv):
    """seeding: the first reset of an env is unlike its later ones."""

    resets = 0

    def reset(self, seed: int) -> Observation:
        self.resets += 1
        return super().reset(seed)

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        outcome.rewards[GROUP] *= np.float32(self.resets)
        return outcome


class SharedStream(CueEnv):
    """alone: all worlds draw from one stream."""

    def _draw(self, worlds: IntArray) -> None:
        for world in worlds:
            stream = self.streams.generators[0]
            self._choices[world] = stream.integers(self.config.num_choices, size=self._choices.shape[1:])
        self._choices[worlds] *= self._in_play[worlds][:, None, :]


class Crowded(CueEnv):
    """alone: the arithmetic depends on the number of worlds, in the last bit only."""

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        if self.num_worlds > 1:
            outcome.rewards[GROUP] = np.nextafter(outcome.rewards[GROUP], np.float32(0.0))
        return outcome


class Forgetful(CueEnv):
    """state: part of the state is not saved."""

    def _get_state(self) -> dict[str, Any]:
        return super()._get_state() | {"choices": np.zeros_like(self._choices)}


class SharedState(CueEnv):
    """state: a saved state changes as its env goes on."""

    def _get_state(self) -> dict[str, Any]:
        return super()._get_state() | {"choices": self._choices}


class AdoptedState(CueEnv):
    """state: a restored env writes into the state it was given."""

    def _set_state(self, state: dict[str, Any]) -> None:
        super()._set_state(state)
        self._choices = state["choices"]


class StateDraws(CueEnv):
    """state: reading the state moves the random streams on."""

    def _get_state(self) -> dict[str, Any]:
        self._draw(np.arange(self.num_worlds))
        return super()._get_state()


class Lenient(CueEnv):
    """actions: wrong values are made to fit without a word."""

    def step(self, actions: Actions) -> Step:
        return super().step({name: np.clip(np.nan_to_num(array), -1, 1) for name, array in actions.items()})


class Unstarted(CueEnv):
    """actions: steps are taken before any reset."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reset(0)


class HalfDone(CueEnv):
    """actions: time has passed when an action is rejected."""

    def step(self, actions: Actions) -> Step:
        try:
            return super().step(actions)
        except ValueError:
            self._draw(np.arange(self.num_worlds))
            raise


class AtOnce(CueEnv):
    """tasks: a task takes effect in mid-episode."""

    def set_tasks(self, tasks: Task | Sequence[Task], worlds: Any = None) -> None:
        super().set_tasks(tasks, worlds)
        for world, task in enumerate(self._next_tasks):
            self._ledger.limits[world] = task.max_steps


class Unmoved(CueEnv):
    """tasks: a task never takes effect."""

    def set_tasks(self, tasks: Task | Sequence[Task], worlds: Any = None) -> None:
        """Does nothing."""


class AllAlike(CueEnv):
    """tasks: one world's task is given to all."""

    def set_tasks(self, tasks: Task | Sequence[Task], worlds: Any = None) -> None:
        super().set_tasks(tasks, None)


class FirstOfAll(CueEnv):
    """tasks: the first world's task is played by all."""

    def _begin(self, worlds: IntArray) -> None:
        own = list(self.tasks)
        self.tasks[:] = [own[0]] * self.num_worlds
        super()._begin(worlds)
        self.tasks[:] = own


class TaskForgotten(CueEnv):
    """tasks: a task that was set and did not yet take effect is not saved."""

    def get_state(self) -> dict[str, Any]:
        state = super().get_state()
        return state | {"next_tasks": state["tasks"]}


CONTINUOUS = [
    *(
        TwinNames,
        WideActions,
        FewerWorlds,
        HalfHeard,
        DoublePrecision,
        NarrowState,
        OneReward,
        LateNaN,
        UndefinedMetric,
    ),
    *(MaskedCounts, SeeingDead, PaidDead, DyingTwice, ActingDead, Resurrection, Endless, BothEnds, RestartShown),
    *(FinalMissing, FinalRevived, LostReturns, DeafToSeed, LongMemory, SharedStream, Crowded, Forgetful, SharedState),
    *(AdoptedState, StateDraws, Lenient, Unstarted, HalfDone, AtOnce, Unmoved, AllAlike, FirstOfAll),
    TaskForgotten,
]
DISCRETE = [NoChoice, MaskedBreaks, Forgetful, SharedStream]
BROKEN = [(kind, "continuous") for kind in CONTINUOUS] + [(kind, "discrete") for kind in DISCRETE]


def _check(kind: type[CueEnv], mode: str) -> None:
    config = CueConfig.model_validate({"action_mode": mode, "num_agents": 3})
    # Time cuts the third agent off, unless what is broken shows only where all terminate.
    lifetimes = (2, 3, 4) if kind in (BothEnds, FinalRevived) else (3, 5)
    task = CueTask(lifetimes=lifetimes, max_steps=8)
    check_env(lambda b, k: kind(config, b, task=task, first_world=k), worlds=3, steps=24)


@pytest.mark.parametrize(("kind", "mode"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_env_fails_its_clause(kind: type[CueEnv], mode: str) -> None:
    """An env that breaks one clause, and no other before it, is told which, in one line."""
    assert kind.__doc__ is not None
    clause = kind.__doc__.partition(":")[0]
    with pytest.raises(ContractError) as error:
        _check(kind, mode)
    assert error.value.clause == clause, str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_the_envs_they_were_made_from_pass(mode: str) -> None:
    """Under the same conditions the env that was not broken passes: the failures above are the spoiling's own."""
    _check(CueEnv, mode)


def test_no_clause_goes_untested() -> None:
    """Every clause that the checker can name is broken by some env above."""
    clauses = {
        *("spaces", "shapes", "finite", "masks", "dead agents", "alive", "endings", "final"),
        *("seeding", "alone", "state", "actions", "tasks"),
    }
    assert {str(kind.__doc__).partition(":")[0] for kind, _ in BROKEN} == clauses


def test_an_env_without_chance_may_say_so() -> None:
    """An env that ignores its seed passes when told that it is not stochastic."""
    config = CueConfig(num_agents=2)
    check_env(lambda b, k: DeafToSeed(config, b, task=CueTask(), first_world=k), steps=24, stochastic=False)


def test_episodes_must_end_within_the_check() -> None:
    """A check too short to see an ending says so instead of passing."""
    config, task = CueConfig(), CueTask(max_steps=50)
    with pytest.raises(ContractError, match=r"^endings: no episode ended in 20 steps"):
        check_env(lambda b, k: CueEnv(config, b, task=task, first_world=k), steps=20)


def test_too_small_a_check_is_refused() -> None:
    """One world cannot show that worlds are independent."""
    with pytest.raises(ValueError, match="worlds, steps: got 1 and 100"):
        check_env(lambda b, k: CueEnv(CueConfig(), b, first_world=k), worlds=1)
