"""A centre as arrays, sized for the largest of a run, so that worlds with different ones are stepped together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numpy.typing import NDArray

from envs.resource_allocation.workforce.centre import Centre

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Size:
    """How large arrays are: most skills, steps of a day, shifts of a team, workers of a team, and steps of a stay.

    Attributes:
        ahead: Most steps from a call-in until the one called in has left.
    """

    skills: int
    steps: int
    shifts: int
    workers: int
    ahead: int

    @classmethod
    def of(cls, centres: Sequence[Centre]) -> Self:
        """What holds each of the centres."""
        teams = [team for centre in centres for team in centre.teams.values()]
        return cls(
            max(len(centre.skills) for centre in centres),
            max(centre.steps for centre in centres),
            max(len(team.shifts) for team in teams),
            max(sum(shift.workers for shift in team.shifts) + team.on_call for team in teams),
            max(team.lead + team.stay for team in teams),
        )


@dataclass
class Plan:
    """One centre, or those of `B` worlds with an axis before all others. `S` skills, of which each has a team.

    Attributes:
        step: Length of a step [minutes], no axis of its own.
        steps: Length of the day [steps], likewise.
        skill: Whether there is such a skill, `[S]`.
        rate: Calls a step on a day of level 1, `[S, T]`.
        handling: Mean [minutes], `[S]`.
        cv: Coefficient of variation of a lognormal handling time; 0 where it is exponential, `[S]`.
        patience: Mean [minutes], infinite where nobody gives up, `[S]`.
        value, penalty: Of an answered and a lost call [currency], `[S]`.
        waiting: Cost of waiting [currency a minute], `[S]`.
        within: Time in which a call should be answered [minutes], `[S]`.
        shift: Workers of each shift, `[S, J]`, those that end first first.
        on_duty: Whether a shift works in a step, `[S, J, T]`.
        ends: Step in which a shift works no more, `[S, J]`.
        wage: [currency a step], `[S]`.
        premium: What is paid to one called in, over the wage, `[S]`.
        on_call, lead, stay: As in `Team`, `[S]`.
        speed: Of each team's workers in each skill, 0 where they cannot, `[S, S]`.
    """

    step: Floats
    steps: Ints
    skill: Bools
    rate: Floats
    handling: Floats
    cv: Floats
    patience: Floats
    value: Floats
    penalty: Floats
    waiting: Floats
    within: Floats
    shift: Ints
    on_duty: Bools
    ends: Ints
    wage: Floats
    premium: Floats
    on_call: Ints
    lead: Ints
    stay: Ints
    speed: Floats

    @classmethod
    def empty(cls, size: Size) -> Self:
        """A centre without skills."""
        skills, shifts, steps = size.skills, size.shifts, size.steps
        return cls(
            step=np.array(1.0),
            steps=np.array(steps),
            skill=np.zeros(skills, np.bool_),
            rate=np.zeros((skills, steps)),
            handling=np.ones(skills),
            cv=np.zeros(skills),
            patience=np.full(skills, np.inf),
            value=np.zeros(skills),
            penalty=np.zeros(skills),
            waiting=np.zeros(skills),
            within=np.ones(skills),
            shift=np.zeros((skills, shifts), np.int64),
            on_duty=np.zeros((skills, shifts, steps), np.bool_),
            ends=np.zeros((skills, shifts), np.int64),
            wage=np.ones(skills),
            premium=np.ones(skills),
            on_call=np.zeros(skills, np.int64),
            lead=np.ones(skills, np.int64),
            stay=np.ones(skills, np.int64),
            speed=np.zeros((skills, skills)),
        )

    @classmethod
    def of(cls, centre: Centre, size: Size) -> Self:
        """A centre as arrays."""
        plan, names = cls.empty(size), list(centre.skills)
        plan.step[...], plan.steps[...] = centre.step, centre.steps
        for s, (name, skill) in enumerate(centre.skills.items()):
            team, profile = centre.teams[name], np.array(centre.profiles[skill.profile])
            plan.skill[s] = True
            plan.rate[s, : centre.steps] = skill.calls * profile / profile.sum()
            plan.handling[s] = skill.handling.mean
            plan.cv[s] = skill.handling.cv if skill.handling.kind == "lognormal" else 0.0
            plan.patience[s] = np.inf if skill.patience is None else skill.patience
            for field in ("value", "penalty", "waiting"):
                getattr(plan, field)[s] = getattr(skill, field)
            plan.within[s] = skill.within / 60
            for j, shift in enumerate(sorted(team.shifts, key=lambda shift: shift.start + shift.length)):
                plan.shift[s, j], plan.ends[s, j] = shift.workers, shift.start + shift.length
                plan.on_duty[s, j, shift.start : plan.ends[s, j]] = True
            plan.wage[s] = team.wage * centre.step / 60
            for field in ("premium", "on_call", "lead", "stay"):
                getattr(plan, field)[s] = getattr(team, field)
            plan.speed[s, s] = 1.0
            for other, speed in team.also.items():
                plan.speed[s, names.index(other)] = speed
        return plan

    def worlds(self, count: int) -> Plan:
        """The plan for `count` worlds alike, arrays with an axis before all others."""
        return Plan(**{f.name: np.repeat(getattr(self, f.name)[None], count, axis=0) for f in fields(self)})

    def put(self, world: int, plan: Plan, skills: int, load: float, lending: bool) -> None:
        """Has one world play another centre, or the first so many of its skills, with so many more calls."""
        for field in fields(self):
            getattr(self, field.name)[world] = getattr(plan, field.name)
        self.rate[world] *= load
        self.skill[world, skills:] = False
        for absent in (self.rate, self.shift, self.on_call):
            absent[world, skills:] = 0
        self.on_duty[world, skills:] = False
        self.speed[world, skills:] = 0.0
        self.speed[world, :, skills:] = 0.0
        if not lending:
            self.speed[world] *= np.eye(len(plan.skill))
