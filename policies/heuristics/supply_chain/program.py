"""The flow of goods as a linear program: what to send when, if all that comes is known, or may be one of several.

Variables are what is sent by each way, what lies in each cell, what customers get, and what they wait for, in each of
`T` steps and `K` scenarios. What is sent in the first step is the same in all scenarios: two-stage stochastic
programming with recourse (Birge and Louveaux 2011, section 2.4). With one scenario, that which will be, the optimum is
what nobody exceeds.

It is a relaxation of `envs.supply_chain.flows`: any quantity may be sent, order fees, minima, batches and swings are
left out, goods may be thrown away instead of spoiling, and a later order may overtake. So its optimum is a bound, and
tight where a network has none of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from envs.supply_chain.plan import Floats, Ints, Plan


class ProgramError(RuntimeError):
    """The solver found no optimum."""


@dataclass(frozen=True)
class Courses:
    """What may happen in `T` steps, in `K` scenarios that are equally likely.

    Attributes:
        demand: What customers ask for [units], `[K, T, M]`.
        shut: Whether a way takes nothing, `[K, T, S]`.
        strength: Share of its capacity that each node has, `[K, T, N]`.
    """

    demand: Floats
    shut: NDArray[np.bool_]
    strength: Floats


@dataclass(frozen=True)
class Start:
    """What there is before the first step.

    Attributes:
        stock: `[M]`.
        transit: On its way, by the steps until it arrives, `[S, H]`.
        backlog: What customers wait for, `[M]`.
    """

    stock: Floats
    transit: Floats
    backlog: Floats


class FlowProgram:
    """A linear program of one network, solved again and again as stock and demand change.

    Args:
        plan: The network.
        lead: Lead times of what is sent [steps], `[K, T, S]`.
        good: Yields, `[K, T, S]`.
        service: Weight of backlog and lost sales beside money.
        carbon: Price of emissions [currency a kg CO2e].
        valued: Share of its cost that what is left at the end is worth, and what there is at the start.
        settled: First steps in which the same is sent in all scenarios.
    """

    def __init__(
        self,
        plan: Plan,
        lead: Ints,
        good: Floats,
        *,
        service: float = 1.0,
        carbon: float = 0.0,
        valued: float = 1.0,
        settled: int = 1,
    ) -> None:
        self.plan, self.service, self.carbon, self.valued, self.settled = plan, service, carbon, valued, settled
        self.scenarios, self.steps = lead.shape[:2]
        self._ways, self._cells, self._sold = (np.flatnonzero(each) for each in (plan.way, plan.cell, plan.sold))
        self._lanes = np.flatnonzero(np.isfinite(plan.lane_capacity[:-1]))
        bound = np.unique(plan.bound[self._ways])
        self._nodes = bound[bound < len(plan.node)]
        self._rented = np.flatnonzero(plan.node & np.isfinite(plan.storage) & (plan.overflow > 0))
        self._number()
        self._solver = highspy.Highs()
        self._solver.silent()
        self._solver.setOptionValue("threads", 1)
        self._write(lead[..., self._ways], good[..., self._ways])

    # -- building --------------------------------------------------------------------------------------------------

    def _number(self) -> None:
        """Numbers variables and constraints."""
        k, t = self.scenarios, self.steps
        count = len(self._ways)

        def numbers(first: int, width: int) -> tuple[NDArray[np.int64], int]:
            found = first + np.arange(k * t * width).reshape(k, t, width)
            return found, first + found.size

        later, end = numbers(self.settled * count, count)
        self._sent = later
        self._sent[:, : self.settled] = np.arange(self.settled * count).reshape(self.settled, count)
        self._stock, end = numbers(end, len(self._cells))
        self._served, end = numbers(end, len(self._sold))
        self._waiting, end = numbers(end, len(self._sold))
        self._rent, self._num_columns = numbers(end, len(self._rented))
        self._balance, end = numbers(0, len(self._cells))
        self._left, end = numbers(end, len(self._cells))
        self._wanted, end = numbers(end, len(self._sold))
        self._lane_limit, end = numbers(end, len(self._lanes))
        self._node_limit, end = numbers(end, len(self._nodes))
        self._space, self._num_rows = numbers(end, len(self._rented))

    def _write(self, lead: Ints, good: Floats) -> None:
        """Writes the matrix and the objective, and hands both to the solver, which begins where it last ended."""
        plan, ways, cells, steps = self.plan, self._ways, self._cells, self.steps
        entries: list[tuple[Any, Any, Any]] = []
        cost = np.zeros(self._num_columns)

        def put(rows: Any, columns: Any, values: Any) -> None:
            entries.append(tuple(np.ravel(each) for each in np.broadcast_arrays(rows, columns, values)))  # type: ignore[arg-type]

        def pay(columns: Any, values: Any) -> None:
            which, much = np.broadcast_arrays(columns, values)
            cost[:] += np.bincount(which.ravel(), much.ravel(), len(cost))

        place = np.full(len(plan.cell) + 1, -1)
        place[cells] = np.arange(len(cells))
        time = np.arange(steps)[:, None]
        number = np.arange(len(ways))
        lies = ~plan.sold[cells]  # what counts as held is stock after sending, but where customers are served
        hold = plan.hold[cells]
        put(self._balance, self._stock, 1.0)
        put(self._balance[:, 1:], self._stock[:, :-1], -1.0)
        put(self._left[:, 1:], self._stock[:, :-1], 1.0)
        pay(self._stock, -np.where(lies, 0.0, hold))
        pay(self._stock[:, :-1], -np.where(lies, hold, 0.0))
        outgoing = [
            (way, int(place[plan.source[w]]), 1.0) for way, w in enumerate(ways) if plan.source[w] < len(plan.cell)
        ]
        for way, w in enumerate(ways):
            outgoing += [
                (way, int(place[part]), float(units))
                for part, units in zip(plan.parts[w], plan.needs[w], strict=True)
                if units
            ]
        if outgoing:
            by, of, units = (np.array(each) for each in zip(*outgoing, strict=True))
            put(self._balance[..., of], self._sent[..., by], units)
            put(self._left[..., of], self._sent[..., by], -units)
            pay(self._sent[..., by], np.where(lies, hold, 0.0)[of] * units)
        lasts = np.minimum(lead, steps - time)
        arrives = time + lead - 1
        value = np.append(plan.value, 0.0)
        left_over = self.valued * value[plan.target[ways]] * good * (arrives >= steps)
        pay(self._sent, left_over)
        pay(self._stock[:, -1], self.valued * plan.value[cells])
        k, t, s = np.nonzero(arrives < steps)
        into = place[plan.target[ways]]
        put(self._balance[k, arrives[k, t, s], into[s]], self._sent[k, t, s], -good[k, t, s])
        paid = np.where(plan.seller[ways] < len(plan.node), 0.0, plan.price[ways]) + self.carbon * plan.emissions[ways]
        pay(self._sent, -(paid + plan.transit[ways] * good * lasts))
        sold = place[self._sold]
        put(self._balance[..., sold], self._served, 1.0)
        put(self._wanted, self._served, 1.0)
        put(self._wanted, self._waiting, 1.0)
        kept = ~plan.lost[self._sold]
        put(self._wanted[:, 1:, kept], self._waiting[:, :-1, kept], -1.0)
        pay(self._served, plan.sale[self._sold])
        pay(self._waiting, -self.service * plan.shortage[self._sold])
        for index, lane in enumerate(self._lanes):
            put(self._lane_limit[..., index, None], self._sent[..., number[plan.lane[ways] == lane]], 1.0)
        for index, node in enumerate(self._nodes):
            put(self._node_limit[..., index, None], self._sent[..., number[plan.bound[ways] == node]], 1.0)
        for index, node in enumerate(self._rented):
            own = np.flatnonzero(plan.site[cells] == node)
            put(self._space[..., index], self._rent[..., index], 1.0)
            put(self._space[..., index, None], self._stock[..., own], -plan.volume[cells[own]])
        pay(self._rent, -plan.overflow[self._rented])
        rows, columns, values = (np.concatenate(each) for each in zip(*entries, strict=True))
        matrix = sparse.csc_array((values, (rows, columns)), (self._num_rows, self._num_columns))
        self._solver.passModel(
            self._num_columns,
            self._num_rows,
            matrix.nnz,
            int(highspy.MatrixFormat.kColwise),
            int(highspy.ObjSense.kMaximize),
            0.0,
            cost / self.scenarios,
            np.zeros(self._num_columns),
            np.full(self._num_columns, np.inf),
            np.full(self._num_rows, -np.inf),
            np.full(self._num_rows, np.inf),
            matrix.indptr.astype(np.int32),
            matrix.indices.astype(np.int32),
            matrix.data,
            np.zeros(self._num_columns, np.int32),
        )

    # -- solving ---------------------------------------------------------------------------------------------------

    def solve(self, start: Start, courses: Courses) -> tuple[float, Floats]:
        """The best that can be done.

        Args:
            start: What there is.
            courses: What may happen.

        Returns:
            What is earned in all `T` steps, mean of the scenarios [currency], and what is sent in the first, `[S]`.

        Raises:
            ProgramError: If the solver finds no optimum.
        """
        plan = self.plan
        low, high = np.full(self._num_rows, -np.inf), np.full(self._num_rows, np.inf)
        came = np.zeros((self.steps, len(plan.cell) + 1))
        soon = min(self.steps, start.transit.shape[1])
        for step in range(soon):
            came[step] = np.bincount(plan.target, start.transit[:, step], came.shape[1])
        there = came[:, self._cells]
        there[0] += start.stock[self._cells]
        keeps = plan.life[self._cells] == 0
        high[self._balance] = there
        low[self._balance] = np.where(keeps, there, -np.inf)
        low[self._left] = 0.0
        low[self._left[:, 0]] = -start.stock[self._cells]
        wanted = courses.demand[..., self._sold].copy()
        wanted[:, 0] += np.where(plan.lost, 0.0, start.backlog)[self._sold]
        low[self._wanted] = high[self._wanted] = wanted
        high[self._lane_limit] = plan.lane_capacity[self._lanes]
        strength = courses.strength[..., self._nodes]
        limit = np.where(strength > 0, plan.node_capacity[self._nodes] * np.where(strength > 0, strength, 1.0), 0.0)
        high[self._node_limit] = limit
        low[self._space] = -plan.storage[self._rented]
        most = np.full(self._num_columns, np.inf)
        most[self._sent] = np.where(courses.shut[..., self._ways], 0.0, np.inf)
        least, solver = np.zeros(self._num_columns), cast(Any, self._solver)
        solver.changeRowsBounds(self._num_rows, np.arange(self._num_rows, dtype=np.int32), low, high)
        solver.changeColsBounds(self._num_columns, np.arange(self._num_columns, dtype=np.int32), least, most)
        solver.run()
        status = solver.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise ProgramError(f"linear program: got {solver.modelStatusToString(status)}, allowed is an optimum")
        sent = np.zeros(len(plan.way))
        sent[self._ways] = np.array(solver.getSolution().col_value)[: len(self._ways)]
        return float(solver.getInfo().objective_function_value) - self._unavoidable(start), sent

    def _unavoidable(self, start: Start) -> float:
        """What is paid whatever is done, and what there is at the start is worth."""
        plan = self.plan
        steps = np.minimum(np.arange(1, start.transit.shape[1] + 1), self.steps)
        lies = np.where(plan.sold | ~plan.cell, 0.0, plan.hold * start.stock).sum()
        value = np.append(plan.value, 0.0)[plan.target][:, None]
        late = (value * start.transit[:, self.steps :]).sum()  # what does not arrive in time keeps its worth
        worth = (plan.value * start.stock).sum() + (value * start.transit).sum() - late
        return float(lies + (plan.transit[:, None] * start.transit * steps).sum() + self.valued * worth)
