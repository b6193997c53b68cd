"""A day as a linear program: what calls there were, who could have answered them when, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from envs.resource_allocation.workforce.plan import Floats, Ints, Plan


@dataclass(frozen=True)
class Day:
    """What happened in one world's day.

    Attributes:
        plan: Its centre, without an axis of worlds.
        steps: Steps played.
        waits: Of the calls that came in each step, how many did not give up before the step `k` later, `[S, T, K]`.
        gave_up: Of them, how many would give up before the day ended, `[S, T]`.
        staffed: Workers of each shift, `[S, J]`.
        residual: Largest mean of what is left of a call in progress [minutes], `[S]`.
        prompt: Value of answering a call within its limit, by skill [currency], `[S]`.
        wages: Weight of wages.
    """

    plan: Plan
    steps: int
    waits: Ints
    gave_up: Ints
    staffed: Ints
    residual: Floats
    prompt: Floats
    wages: float


@dataclass
class Program:
    """A linear program under way: columns are numbered as they are made, rows are `<= right`."""

    cost: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    entries: list[tuple[int, int, float]] = field(default_factory=list)

    def column(self, cost: float = 0.0, upper: float = np.inf) -> int:
        """A variable of 0 or more; its number."""
        self.cost.append(cost)
        self.upper.append(upper)
        return len(self.cost) - 1

    def row(self, terms: dict[int, float], right: float) -> None:
        """The sum of terms is at most so much."""
        self.entries += [(len(self.right), column, value) for column, value in terms.items()]
        self.right.append(right)

    def least(self) -> float:
        """The smallest cost there is."""
        rows, columns, values = zip(*self.entries, strict=True)
        matrix: Any = coo_array((values, (rows, columns)), shape=(len(self.right), len(self.cost)))
        bounds: Any = np.stack([np.zeros(len(self.upper)), self.upper], axis=1)
        found: Any = linprog(self.cost, A_ub=matrix.tocsr(), b_ub=self.right, bounds=bounds, method="highs")
        if found.status != 0:
            raise RuntimeError(f"hindsight: got no optimum ({found.message}), allowed are days that have one")
        return float(found.fun)


def least_cost(day: Day) -> float:
    """What a day must have cost at least [currency]: lost calls, waiting and wages, less what prompt answers are worth.

    Variables: calls of skill `s` that came in step `t` and were answered `k` steps later, `z`; calls answered by each
    team, `y`; workers called in, `c`, and sent home so far of each shift, `h`; and work that a team has begun and not
    ended when a step is over, `u`. Each row holds of every day that can be played, at least in the mean over handling
    times that nobody knows beforehand; see `hindsight`.
    """
    plan, program = day.plan, Program()
    skills = np.flatnonzero(plan.skill)
    answered = _answers(day, program, skills)
    constant = sum(_team(day, program, int(team), answered) for team in skills)
    for calls, teams in answered.values():  # as many are answered as teams answer
        program.row({**dict.fromkeys(calls, 1.0), **dict.fromkeys(teams, -1.0)}, 0.0)
    return program.least() + constant


LEAST_LEVEL = 0.01
"""Service levels below count as this much for fairness."""
Answered = dict[tuple[int, int], tuple[list[int], list[int]]]
"""By skill and step, the columns of calls answered then, by when they came, and by the team that answers them."""


def _answers(day: Day, program: Program, skills: Ints) -> Answered:
    """Columns and rows of calls: who is still there to be answered, who is lost, and what is prompt."""
    plan, minutes = day.plan, float(day.plan.step)
    answered: Answered = {}
    for skill in skills.tolist():
        for step in range(day.steps):
            answered[skill, step] = ([], [])
        prompt = program.column(-day.prompt[skill] * day.waits[skill, :, 0].sum(), 1.0)
        timely: list[int] = []
        last = 1 + int(np.ceil(plan.within[skill] / minutes))
        for step in range(day.steps):
            columns = []
            for later in range(min(day.waits.shape[2], day.steps - step)):
                if day.waits[skill, step, later] == 0:
                    break
                columns.append(program.column(plan.waiting[skill] * minutes * max(later - 1, 0)))
                answered[skill, step + later][0].append(columns[-1])
            for later in range(len(columns)):
                program.row(dict.fromkeys(columns[later:], 1.0), float(day.waits[skill, step, later]))
            timely += columns[:last]
            if day.gave_up[skill, step] > 0:
                lost = program.column(plan.value[skill] + plan.penalty[skill])
                program.row({**dict.fromkeys(columns, -1.0), lost: -1.0}, -float(day.gave_up[skill, step]))
        total = max(float(day.waits[skill, :, 0].sum()), 1.0)
        program.row({**dict.fromkeys(timely, -1.0 / total), prompt: 1.0}, LEAST_LEVEL if timely else 1.0)
    return answered


def _team(day: Day, program: Program, team: int, answered: Answered) -> float:
    """Rows of a team: who is on duty, and what they can work; what its roster is paid if nobody is sent home."""
    plan, steps, minutes = day.plan, day.steps, float(day.plan.step)
    lead, stay = int(plan.lead[team]), int(plan.stay[team])
    wage = float(plan.wage[team]) * day.wages
    calls = [program.column(wage * plan.premium[team] * stay) for _ in range(max(steps - lead, 0))]
    if calls:
        program.row(dict.fromkeys(calls, 1.0), float(plan.on_call[team]))
    duty: list[dict[int, float]] = [{} for _ in range(steps)]
    fixed, leaving = np.zeros(steps), [dict[int, float]() for _ in range(steps)]
    left_by_shift = np.zeros(steps)
    for step, column in enumerate(calls):
        for there in range(step + lead, min(step + lead + stay, steps)):
            duty[there][column] = 1.0
        if step + lead + stay < steps:
            leaving[step + lead + stay][column] = 1.0
    for shift in np.flatnonzero(day.staffed[team]).tolist():
        count, ends = float(day.staffed[team, shift]), int(plan.ends[team, shift])
        before = None
        for step in np.flatnonzero(plan.on_duty[team, shift, :steps]).tolist():
            gone = program.column(-wage, count)
            fixed[step] += count
            duty[step][gone] = -1.0
            leaving[step][gone] = 1.0
            if before is not None:
                leaving[step][before] = -1.0
                program.row({before: 1.0, gone: -1.0}, 0.0)
            before = gone
        if before is not None and ends < steps:
            left_by_shift[ends] += count
            leaving[ends][before] = -1.0
    able = [s for s in np.flatnonzero(plan.speed[team] > 0).tolist() if plan.skill[s]]
    residual = max(day.residual[s] / plan.speed[team, s] for s in able)
    under_way = None
    for step in range(steps):
        rest = program.column()
        terms: dict[int, float] = {rest: -1.0}
        if under_way is not None:
            terms[under_way] = 1.0
        for skill in able:
            share = program.column()
            answered[skill, step][1].append(share)
            terms[share] = plan.handling[skill] / plan.speed[team, skill]
        for column, value in duty[step].items():
            terms[column] = terms.get(column, 0.0) - minutes * value
        for column, value in leaving[step].items():
            terms[column] = terms.get(column, 0.0) - residual * value
        program.row(terms, minutes * fixed[step] + residual * left_by_shift[step])
        program.row({rest: 1.0, **{c: -residual * v for c, v in duty[step].items()}}, residual * fixed[step])
        under_way = rest
    return float(wage * fixed.sum())
