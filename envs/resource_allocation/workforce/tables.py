"""What servers are worth, tabulated once: Erlang A over loads and numbers of servers, read by interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.resource_allocation.workforce.erlang import erlang_a, erlang_b
from envs.resource_allocation.workforce.plan import Floats, Ints, Plan, Size

LOADS = 97
"""Loads that are tabulated."""
FOREVER = 60.0
"""Patience of callers who never give up [minutes], as far as plans are made: theirs must have a steady state."""


class Tables:
    """Of the centres of a run.

    What happens in a step is taken for the steady state at its rates (pointwise stationary approximation, Green and
    Kolesar 1991). Handling times other than exponential ones count by their mean.

    Args:
        plans: The centres.
        size: How large they are at most.

    Attributes:
        worth: What a step brings: answered calls less losses and waiting [currency a minute], `[P, S, G, C]`.
        prompt: Calls answered within the limit [a minute], `[P, S, G, C]`.
        most: Largest load that is tabulated [erlangs], `[P, S]`.
    """

    def __init__(self, plans: Sequence[Plan], size: Size) -> None:
        servers = 2 * size.workers + 2
        shape = (len(plans), size.skills, LOADS, servers)
        self.worth, self.prompt = np.zeros(shape), np.zeros(shape)
        self.most = np.ones(shape[:2])
        count = np.arange(servers)
        for p, plan in enumerate(plans):
            for s in np.flatnonzero(plan.skill):
                peak = plan.rate[s].max() / plan.step * plan.handling[s]
                self.most[p, s] = 3.0 * peak
                load = np.linspace(0.0, self.most[p, s], LOADS)
                blocked = erlang_b(load, servers - 1)
                before = np.concatenate([np.ones((1, LOADS)), blocked[:-1]]).T  # with one server less
                calls = np.maximum(load, 1e-9)[:, None] / plan.handling[s]
                theta = 1.0 / min(plan.patience[s], FOREVER)
                found = erlang_a(calls, 1.0 / plan.handling[s], theta, count, before, plan.within[s])
                gain = plan.value[s] - (plan.value[s] + plan.penalty[s]) * found.abandons - plan.waiting[s] * found.wait
                self.worth[p, s], self.prompt[p, s] = calls * gain, calls * found.prompt

    def read(self, centre: Ints, load: Floats, servers: Floats, fair: Floats) -> Floats:
        """What servers bring, between the tables' lines, `[B, S, ...]` [currency a minute].

        Args:
            centre: Number of each world's centre, `[B]`.
            load: Offered load [erlangs], `[B, S, ...]`; what lies beyond the tables counts as their end.
            servers: Number of servers, whole or not, `[B, S, ...]`.
            fair: What a call answered within the limit is worth beyond its value [currency], `[B, S, ...]`.
        """
        skills, lines, columns = self.worth.shape[1:]
        extra = (1,) * (load.ndim - 2)
        most = self.most[centre].reshape(*load.shape[:2], *extra)
        row = np.clip(load * ((lines - 1) / most), 0.0, lines - 1.000001)
        column = np.clip(servers, 0.0, columns - 1.000001)
        low, left = row.astype(np.int64), column.astype(np.int64)
        down, right = row - low, column - left
        first = (centre[:, None] * skills + np.arange(skills)).reshape(*load.shape[:2], *extra)
        corners = [(first * lines + low) * columns + left]
        corners += [corners[0] + 1, corners[0] + columns, corners[0] + columns + 1]

        def between(table: Floats) -> Floats:
            one, two, three, four = (table.ravel()[corner] for corner in corners)
            upper, lower = one + right * (two - one), three + right * (four - three)
            found: Floats = upper + down * (lower - upper)
            return found

        return between(self.worth) + fair * between(self.prompt) if fair.any() else between(self.worth)
