"""What a team lead sees: the day, its own skill and team, and the skills that it could lend to.

Amounts are shares: of a team, of a load, of its square root, of a wage. So what is learned by ten workers holds for a
hundred, and what is learned by two teams for eight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.layout import ObservationLayout
from envs.resource_allocation.fairness import equivalent
from envs.resource_allocation.workforce.accounts import Accounts
from envs.resource_allocation.workforce.calls import Queues
from envs.resource_allocation.workforce.outlook import Outlook
from envs.resource_allocation.workforce.plan import Bools, Floats
from envs.resource_allocation.workforce.staff import Staff
from envs.utility import least

OWN = (
    "passed",
    "left_to_call",
    "level",
    "unsure",
    "lately",
    "load_now",
    "rising",
    "spare_now",
    "spare_soon",
    "spare_called",
    "queue",
    "oldest",
    "busy",
    "on_call",
    "coming",
    "by_shift",
    "gain_now",
    "loss_now",
    "gain_called",
    "loss_soon",
    "lost",
    "service",
    "mean_service",
    "worst_service",
    "inequality",
    "weigh_wages",
    "weigh_fairness",
)
"""Share of the day that has passed, and share of a stay that one called in now would work in it; the day's level less
1, as the calls so far tell, and how unsure that is; calls of the last steps beside what that level let expect, in
standard deviations; the load [root of ten erlangs], and how much larger it will be when one called in is there; staff
less load, in roots of the load (as square-root staffing has it): now, over the next steps of a stay, and over those of
one called in now; calls that wait, by workers; how long the first of them has waited [minutes], cut off; share of
workers in a call; who can still be called in, and who is called in and not there yet, by workers; share of the workers
that came by a shift, and can be sent home; what one worker more would bring, and what one less would cost, by Erlang A,
in wages: now, for one called in (in what he is paid), and over the next steps; share of its calls that gave up; its
calls answered in time, and the mean and the worst skill's; aversion to inequality; and what objectives weigh."""
SKILLS = ("own", "speed", "spare", "queue", "gain", "size", "service", "lent")
"""Of a skill, as a team sees it: whether it is its own; how fast it handles its calls; staff less load there, in roots
of the load; calls that wait, by workers; what one of its workers would bring there, less what he brings where he is, in
wages; its load beside the team; its calls answered in time; and the share of the team that was lent to it."""
MOST = 10.0
"""Observed shares are cut off here."""
LATELY = 4
"""Steps whose calls are seen beside what was expected."""


@dataclass(frozen=True)
class Seen:
    """What there is to be seen of `B` worlds.

    Attributes:
        outlook, staff, queues, accounts: As they stand.
        busy: Share of each team in a call, `[B, S]`.
        lately: Calls of the last steps beside what was expected [standard deviations], `[B, S]`.
        alive: Which skills there are, `[B, S]`.
        passed: Share of the day, `[B]`.
        alpha: Aversion to inequality, `[B]`.
        weights: What wages and fairness weigh, `[B, 2]`.
    """

    outlook: Outlook
    staff: Staff
    queues: Queues
    accounts: Accounts
    busy: Floats
    lately: Floats
    alive: Bools
    passed: Floats
    alpha: Floats
    weights: Floats


def layout_of(skills: int) -> ObservationLayout:
    """The observation of every team lead; three actions belong to each skill."""
    return ObservationLayout(OWN, SKILLS, tuple(f"skill_{index}" for index in range(skills)), 3)


class Observer:
    """Writes observations.

    Args:
        worlds: Worlds `B`.
        skills: Most skills of a centre.
    """

    def __init__(self, worlds: int, skills: int) -> None:
        self.layout = layout_of(skills)
        self.out = np.zeros((worlds, skills, self.layout.size), np.float32)
        (table,) = self.layout.places
        self._table, self._exists = table.values_of(self.out), self.out[:, :, table.exists]

    def write(self, seen: Seen) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Observations of all team leads, `[B, A, D]`, in an array that the next call reuses, and the state."""
        outlook, staff = seen.outlook, seen.staff
        load, there = outlook.now
        spare = spare_of(load, there)
        soon, called = outlook.soon, outlook.called
        wage = outlook.plan.wage / outlook.plan.step[:, None]
        gain, loss = _marginal(outlook, [(load, there), (called.load, called.staff), (soon.load, soon.staff)], wage)
        self._write_own(seen, spare, gain, loss)
        self._write_skills(seen, spare, load, there, wage, loss[0])
        self.out *= seen.alive[..., None]
        np.clip(self.out, -MOST, MOST, out=self.out)
        service = np.where(seen.alive, seen.accounts.service(), 0.0)
        pool = staff.pool / np.maximum(there, 1.0)
        state = np.concatenate(
            [
                np.where(seen.alive, part, 0.0)
                for part in (outlook.level, spare, spare_of(called.load, called.staff), pool)
            ]
            + [service, seen.alive, seen.passed[:, None]],
            axis=1,
        )
        return self.out, np.clip(state, -MOST, MOST).astype(np.float32)

    def _write_own(self, seen: Seen, spare: Floats, gain: Floats, loss: Floats) -> None:
        outlook, staff, accounts = seen.outlook, seen.staff, seen.accounts
        plan, worlds = outlook.plan, np.arange(len(seen.alive))
        soon, called = outlook.soon, outlook.called
        load = outlook.load[worlds, :, outlook.clock]
        workers = np.maximum(outlook.now[1], 1.0)
        count = np.maximum(seen.alive.sum(axis=1), 1)
        service = accounts.service()
        present = staff.present(plan, outlook.clock).sum(axis=2)
        coming = plan.on_call - staff.pool - come_already(staff, outlook)
        own: tuple[Any, ...] = (
            seen.passed[:, None],
            called.part,
            outlook.level - 1,
            outlook.spread,
            seen.lately,
            np.sqrt(load / 10),
            (called.load - load) / np.sqrt(np.maximum(load, 1.0)),
            spare,
            spare_of(soon.load, soon.staff),
            spare_of(called.load, called.staff),
            seen.queues.count / workers,
            np.minimum(seen.queues.oldest, MOST),
            seen.busy,
            staff.pool / workers,
            coming / workers,
            present / workers,
            gain[0],
            loss[0],
            gain[1] / plan.premium * called.part,
            loss[2],
            accounts.abandoned / np.maximum(accounts.arrived, 1.0),
            service,
            (np.where(seen.alive, service, 0.0).sum(axis=1) / count)[:, None],
            least(service, seen.alive)[:, None],
            (seen.alpha / (1 + seen.alpha))[:, None],
        )
        for place, values in enumerate(own):
            self.out[:, :, place] = values
        self.out[:, :, len(own) : len(OWN)] = seen.weights[:, None]

    def _write_skills(self, seen: Seen, spare: Floats, load: Floats, there: Floats, wage: Floats, loss: Floats) -> None:
        outlook, out, plan = seen.outlook, self._table, seen.outlook.plan
        workers = np.maximum(there, 1.0)
        # What a worker of team i would bring to skill j: [B, j, i], then turned.
        speed = plan.speed.swapaxes(1, 2)
        many = np.broadcast_to(there[..., None], speed.shape)
        more = outlook.worth(np.broadcast_to(load[..., None], speed.shape), many + speed, sure=True)
        gain = (more - outlook.worth(load, there, sure=True)[..., None]).swapaxes(1, 2) / wage[..., None] - loss[
            ..., None
        ]
        own = np.eye(plan.speed.shape[1], dtype=np.bool_)
        self._exists[...] = seen.alive[:, None]
        out[..., 0] = own
        out[..., 1] = plan.speed
        out[..., 2] = spare[:, None]
        out[..., 3] = (seen.queues.count / workers)[:, None]
        out[..., 4] = np.where((plan.speed > 0) & ~own, gain, 0.0)
        out[..., 5] = load[:, None] / workers[..., None]
        out[..., 6] = seen.accounts.service()[:, None]
        out[..., 7] = seen.staff.lent / workers[..., None]
        out *= seen.alive[:, None, :, None]


def spare_of(load: Floats, staff: Floats) -> Floats:
    """Staff less load, in roots of the load (Halfin and Whitt 1981)."""
    found: Floats = (staff - load) / np.sqrt(np.maximum(load, 1.0))
    return found


def _marginal(outlook: Outlook, states: list[tuple[Floats, Floats]], wage: Floats) -> tuple[Floats, Floats]:
    """What one worker more would bring, and what one less would cost, in wages of the same time, `[N, B, S]` each.

    Args:
        outlook: What is expected.
        states: Loads and staffs, `[B, S]` each.
        wage: [currency a minute], `[B, S]`.
    """
    load = np.stack([load for load, _ in states], axis=2)[..., None]
    many = np.stack([staff for _, staff in states], axis=2)[..., None] + np.array([-1.0, 0.0, 1.0])
    worth = outlook.worth(np.broadcast_to(load, many.shape), np.maximum(many, 0.0)) / wage[..., None, None]
    steps = np.moveaxis(worth[..., 1:] - worth[..., :-1], 2, 0)
    return steps[..., 1], steps[..., 0]


def come_already(staff: Staff, outlook: Outlook) -> Floats:
    """Workers called in who have come already, gone again or not, `[B, S]`."""
    plan = outlook.plan
    steps = np.arange(staff.leaving.shape[2])
    come: Floats = (staff.leaving * (steps - plan.stay[..., None] <= outlook.clock[:, None, None])).sum(axis=2)
    return come


def fair_share(accounts: Accounts, alpha: Floats, alive: Bools) -> Floats:
    """How the equally distributed equivalent of service levels grows with each of them, `[B, S]`, times their number.

    `dE / ds = (E / s)^alpha / n`.
    """
    service = np.maximum(accounts.service(), 0.05)
    even = equivalent(service, alpha, alive)
    found: Floats = (even[:, None] / service) ** np.minimum(alpha, 8.0)[:, None]
    return found
