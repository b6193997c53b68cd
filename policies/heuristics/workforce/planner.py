"""Re-forecasts the day and weighs each worker by Erlang A: who is called in, who goes home, who helps where."""

from __future__ import annotations

import numpy as np

from envs.resource_allocation.workforce.outlook import Outlook
from envs.resource_allocation.workforce.plan import Floats, Ints
from envs.resource_allocation.workforce.staff import Orders
from policies.heuristics.workforce.rules import Manager

MOST = 6
"""Workers of a team weighed at once to be called in, or sent home."""


class ErlangPlanner(Manager):
    """Intraday re-planning with the posterior of the day's level.

    Every step, by marginal analysis (Fox 1966; for staffing Koole and Pot 2011): of the numbers of workers that can be
    called in the one is taken with which what Erlang A says they bring over their stay, in the mean over what the level
    may be, exceeds their pay by most; as long as already in the first of its steps each brings more than his pay, for
    else one can wait. Likewise workers are sent home whose wages until their shift ends are more than what they would
    bring, and would be now. Then workers are lent, one after the other, from where one brings least to where one
    brings most, as long as he brings more there.
    """

    name = "erlang"
    lends = True

    def ordered(self) -> Orders:
        """What marginal analysis says."""
        env, outlook = self._env, self.outlook()
        plan = env.plan
        call, home = self.called_in(outlook), self.sent_home(outlook)
        home = np.where(call > 0, 0, home)
        orders = self.possible(call, home)
        if not self.lends or not (plan.speed * (1 - np.eye(plan.speed.shape[1]))).any():
            return orders
        duty = np.rint(outlook.now[1]).astype(np.int64) - orders.home
        return Orders(orders.call, orders.home, self.lent(outlook, duty))

    def called_in(self, outlook: Outlook) -> Ints:
        """Workers to be called in, `[B, S]`."""
        plan, number = outlook.plan, np.arange(MOST + 1)
        first = outlook.clock[:, None] + plan.lead
        steps = np.arange(int(plan.stay.max()))
        inside = (steps < plan.stay[..., None]) & (first[..., None] + steps < plan.steps[:, None, None])
        place = np.minimum(first[..., None] + steps, plan.rate.shape[2] - 1)
        gain = self._added(outlook, place, number) * plan.step[:, None, None, None]
        pay = plan.wage * plan.premium * self.weight()
        whole = (gain * inside[..., None]).sum(axis=2) - number * (pay * plan.stay)[..., None]
        soonest = gain[:, :, 0] * inside[:, :, :1] - number * pay[..., None]
        late = first >= plan.steps[:, None]
        possible = number <= np.where(late, 0, self._env.staff.pool)[..., None]
        best = np.where(possible, whole, -np.inf).argmax(axis=2)
        return np.minimum(best, np.where(possible, soonest, -np.inf).argmax(axis=2))

    def sent_home(self, outlook: Outlook) -> Ints:
        """Workers to be sent home, `[B, S]`: of the shift that ends first."""
        env, plan, number = self._env, outlook.plan, np.arange(MOST + 1)
        present = env.staff.present(plan, outlook.clock)
        ends = np.where(present > 0, plan.ends, np.iinfo(np.int64).max).min(axis=2, initial=np.iinfo(np.int64).max)
        there = np.where(plan.ends == ends[..., None], present, 0).sum(axis=2)
        length = np.clip(np.minimum(ends, plan.steps[:, None]) - outlook.clock[:, None], 0, None)
        steps = np.arange(max(int(length[there > 0].max(initial=1)), 1))
        place = np.minimum(outlook.clock[:, None, None] + steps, plan.rate.shape[2] - 1)
        place = np.broadcast_to(place, (*ends.shape, len(steps)))
        inside = steps < length[..., None]
        loss = self._added(outlook, place, -number) * plan.step[:, None, None, None]
        pay = plan.wage * self.weight()
        whole = (loss * inside[..., None]).sum(axis=2) + number * (pay * length)[..., None]
        now = loss[:, :, 0] + number * pay[..., None]
        possible = number <= there[..., None]
        return np.minimum(
            np.where(possible, whole, -np.inf).argmax(axis=2), np.where(possible, now, -np.inf).argmax(axis=2)
        )

    def lent(self, outlook: Outlook, duty: Ints) -> Ints:
        """Workers of each team for each skill, `[B, S, S]`, of those on duty `[B, S]`; for a step the mean will do."""
        plan, speed = outlook.plan, outlook.plan.speed
        skills, load = duty.shape[1], outlook.now[0]
        worlds, own = np.arange(len(duty)), np.eye(duty.shape[1], dtype=np.bool_)
        found = np.zeros(speed.shape, np.int64)
        most = np.floor(self._env.config.lent * duty).astype(np.int64)
        at_home, strength = duty.copy(), duty.astype(np.float64)
        for _ in range(int(most.sum(axis=1).max(initial=0))):
            many = np.concatenate([strength[..., None] + speed.swapaxes(1, 2), strength[..., None] - 1], axis=2)
            worth = outlook.worth(np.broadcast_to(load[..., None], many.shape), np.maximum(many, 0.0), sure=True)
            base = outlook.worth(load, strength, sure=True)
            gain = (worth[:, :, :skills] - base[..., None]).swapaxes(1, 2)
            loss = base - worth[:, :, skills]
            allowed = (speed > 0) & ~own & (at_home > 1)[..., None] & (found < most[..., None])
            better = np.where(allowed, gain - loss[..., None], -np.inf).reshape(len(duty), -1)
            pair = better.argmax(axis=1)
            good = better[worlds, pair] > 0.05 * plan.wage.min(axis=1) / plan.step
            if not good.any():
                break
            source, target = np.divmod(pair, skills)
            found[worlds, source, target] += good
            at_home[worlds, source] -= good
            strength[worlds, source] -= good
            strength[worlds, target] += good * speed[worlds, source, target]
        return found

    def weight(self) -> Floats:
        """What wages weigh in each world's task, `[B, 1]`."""
        return self._env.objective_weights[:, 1:2]

    def _added(self, outlook: Outlook, place: Ints, number: Ints) -> Floats:
        """What so many workers more (or fewer) bring in steps `[B, S, N]` [currency a minute], `[B, S, N, K]`."""
        load = np.take_along_axis(outlook.load, place, axis=2)
        staff = np.take_along_axis(outlook.staff, place, axis=2)
        load = load + np.where(place == outlook.clock[:, None, None], outlook.waiting[..., None], 0.0)
        many = np.maximum(staff[..., None] + number, 0.0)
        worth = outlook.worth(np.broadcast_to(load[..., None], many.shape), many)
        found: Floats = worth - worth[..., :1]
        return found


class Unaided(ErlangPlanner):
    """The same, but teams keep to their own skills."""

    name = "no_lending"
    lends = False


class FixedLevel(ErlangPlanner):
    """The same, but for a mean day, whatever the calls so far tell."""

    name = "mean_day"

    def outlook(self) -> Outlook:
        """As if the level were 1 for certain."""
        return self._env.outlook(np.ones(self._env.plan.skill.shape))


class Oracle(ErlangPlanner):
    """The same, but it is told the day's level."""

    name = "oracle"

    def outlook(self) -> Outlook:
        """With the true level."""
        return self._env.outlook(self._env.future.level)
