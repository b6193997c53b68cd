"""The workforce env: team leads call workers in, send them home and lend them while calls come, many days at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from envs.base import Actions, AgentGroup, BatchedEnv, IntArray, Observation, Outcome, Task
from envs.resource_allocation.fairness import equivalent
from envs.resource_allocation.workforce.accounts import Accounts
from envs.resource_allocation.workforce.calls import Queues, Tally
from envs.resource_allocation.workforce.centre import Centre
from envs.resource_allocation.workforce.config import COSTS, OBJECTIVES, WorkforceConfig, WorkforceTask
from envs.resource_allocation.workforce.future import Future
from envs.resource_allocation.workforce.levels import posterior
from envs.resource_allocation.workforce.observations import LATELY, Observer, Seen, fair_share
from envs.resource_allocation.workforce.orders import actions_of, wishes
from envs.resource_allocation.workforce.outlook import Outlook, staff_path
from envs.resource_allocation.workforce.plan import Floats, Ints, Plan, Size
from envs.resource_allocation.workforce.staff import Orders, Staff
from envs.resource_allocation.workforce.tables import Tables

GROUP = "lead"


class WorkforceEnv(BatchedEnv):
    """Teams that answer calls, one for each skill.

    One step:

    1. *Order*: each team lead says how many workers the team is to have, and which part of it helps other skills (see
       `orders`); whatever is said, what is done is possible (`Staff.ordered`).
    2. *Change*: shifts begin and end, those sent home leave, those called in a while ago come. Who is in a call ends
       it, wherever his next one is.
    3. *Answer*: calls come, wait, are answered in their order or give up, in continuous time (`queues`).
    4. *Pay*: for calls lost, for waiting, and wages. Who was called in is paid for his stay even if the day
       ends before it does, and who ends a call after his time is paid for that.

    How busy the day is nobody is told: it shows in the calls that come (`levels`).

    Service is counted from what it would be if every call were answered at once: a lost call costs its value and its
    penalty. That is what answered calls are worth, less what nobody decides, how many calls came; so that busy days and
    quiet ones can be compared. Rewards are in units of `money`: what the calls of a mean step are worth, shared among
    skills. Fairness is the
    equally distributed equivalent (see `fairness`) of the skills' service levels, the share of calls answered in time;
    its growth is the reward of a step, so that a day's sum is what it came to, times the steps.

    Args:
        config: What is fixed for the run.
        num_worlds: Number of worlds `B`.
        task: The task all worlds begin with.
        first_world: Number of the first world.

    Attributes:
        config: As given.
        size: How large arrays are.
        plan: The centres, as the worlds' tasks have them.
        tables: What workers are worth.
        future: What chance has in store; for those who must know all.
        staff: Who works where.
        queues: The calls that wait.
        accounts: What the day has come to.
        money: What rewards are in units of [currency], `[B]`.
        alpha: Aversion to inequality, `[B]`.
        tally: What became of calls in the last step; None before the first.
    """

    def __init__(
        self, config: WorkforceConfig, num_worlds: int, *, task: WorkforceTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        self.size = size = Size.of(list(config.loaded.values()))
        self._plans = {name: Plan.of(centre, size) for name, centre in config.loaded.items()}
        self.tables = Tables(list(self._plans.values()), size)
        skills = size.skills
        self._observer = Observer(num_worlds, skills)
        space: Box | MultiDiscrete = (
            Box(-1, 1, (3 * skills,), np.float32)
            if config.action_mode == "continuous"
            else MultiDiscrete([config.levels] * (3 * skills))
        )
        names = tuple(f"{GROUP}_{index}" for index in range(skills))
        super().__init__(
            num_worlds,
            [AgentGroup(GROUP, names, space, self._observer.layout)],
            state_size=6 * skills + 1,
            task=task or WorkforceTask(),
            team_weight=config.team_weight,
            first_world=first_world,
            objectives=OBJECTIVES,
            costs=COSTS,
        )
        self.plan = Plan.empty(size).worlds(num_worlds)
        self.future = Future.empty(num_worlds, size)
        self.staff = Staff.empty(num_worlds, size)
        self.queues = Queues.empty(num_worlds, skills)
        self.accounts = Accounts.zero(num_worlds, skills)
        self.money, self.alpha = np.ones(num_worlds), np.zeros(num_worlds)
        self.tally: Tally | None = None
        self._centre = np.zeros(num_worlds, np.int64)
        self._spread = np.zeros((num_worlds, 2))
        self._absence, self._limits = np.zeros(num_worlds), np.ones(num_worlds, np.int64)
        self._fair, self.busy = np.ones(num_worlds), np.zeros((num_worlds, skills))
        self._outlook: Outlook | None = None
        self.admit(self._next_tasks[0])

    def centre_of(self, task: Task) -> Centre:
        """The centre that a task plays."""
        assert isinstance(task, WorkforceTask)
        return self.config.loaded[task.centre or next(iter(self.config.loaded))]

    # -- the contract ----------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        """Raises ValueError if there is no such centre, it has fewer skills, or its day is shorter."""
        assert isinstance(task, WorkforceTask)
        if task.centre and task.centre not in self.config.loaded:
            raise ValueError(f"centre: got {task.centre!r}, allowed are {', '.join(self.config.loaded)}")
        centre = self.centre_of(task)
        if task.skills > len(centre.skills):
            raise ValueError(f"skills: got {task.skills}, allowed is at most the centre's, {len(centre.skills)}")
        if task.max_steps > centre.steps:
            raise ValueError(f"max_steps: got {task.max_steps}, allowed is at most the day's, {centre.steps}")
        if task.workload.recorded is not None and (rows := len(task.workload.recorded.load())) < task.max_steps:
            raise ValueError(f"max_steps: got {task.max_steps}, allowed is at most {rows}, the rows recorded")

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds.tolist():
            self._install(world)
        self._foresee(worlds, [self.streams.generators[world] for world in worlds.tolist()])
        self.staff.begin(worlds, self.plan, self.future.staffed)
        self.queues.begin(worlds)
        self.accounts.begin(worlds)
        self._fair[worlds], self.busy[worlds] = 1.0, 0.0
        self.alive[GROUP][worlds] = self.plan.skill[worlds]
        self._outlook = None

    def _install(self, world: int) -> None:
        """Puts a world's task in place."""
        task = cast(WorkforceTask, self.tasks[world])
        name = self.centre_of(task).name
        plan = self._plans[name]
        skills = task.skills or int(plan.skill.sum())
        self.plan.put(world, plan, skills, task.load, task.lending)
        self.plan.steps[world] = min(task.max_steps, int(plan.steps))
        self._centre[world] = list(self._plans).index(name)
        common = task.days.common
        if task.days.recorded is not None:
            record = task.days.recorded.load()
            common = float(record.std() / record.mean())
        self._spread[world] = common, task.days.own
        self._absence[world], self.alpha[world] = task.absence, task.alpha
        self._limits[world] = task.max_steps
        calls = self.plan.rate[world, :, : task.max_steps].sum(axis=1)
        self.money[world] = max(float((calls * self.plan.value[world]).sum()), 1e-9) / task.max_steps / skills

    def _foresee(self, worlds: IntArray, streams: Sequence[np.random.Generator]) -> None:
        """Draws worlds' days from the beginning of their streams, those of the same task together."""
        for together in self._alike(worlds):
            task = cast(WorkforceTask, self.tasks[worlds[together[0]]])
            self.future.draw(worlds[together], self.plan, task, [streams[place] for place in together])

    def now(self) -> IntArray:
        """The present step, or the last one where a day has just ended, `[B]`."""
        return np.minimum(self.clock, self._limits - 1)

    # -- what is expected, and what is ordered ---------------------------------------------------------------------

    def outlook(self, level: Floats | None = None, spread: Floats | None = None) -> Outlook:
        """What is to be expected, as the calls so far tell, or with levels and their deviations that one believes in.

        Args:
            level: Of each skill's day, `[B, S]`.
            spread: Standard deviation of it, `[B, S]`; 0 if a level is given without.
        """
        if level is None:
            if self._outlook is None:
                self._outlook = self._looked(*self._learned())
            return self._outlook
        return self._looked(level, np.zeros_like(level) if spread is None else spread)

    def _learned(self) -> tuple[Floats, Floats]:
        worlds, clock = np.arange(self.num_worlds), self.now()
        exposure = np.where(np.arange(self.size.steps) < clock[:, None, None], self.plan.rate, 0.0).sum(axis=2)
        counts = self.future.came[worlds, :, clock]
        return posterior(counts, exposure, self._spread[:, 0], self._spread[:, 1], self.plan.skill)

    def _looked(self, level: Floats, spread: Floats) -> Outlook:
        plan, clock = self.plan, self.now()
        minutes = plan.step[:, None]
        load = plan.rate * (level * plan.handling / minutes)[..., None]
        day = np.maximum((plan.rate.sum(axis=2)) * level, 1.0)
        weight = self.objective_weights[:, 2] * self.money * self._limits
        fair = weight[:, None] * fair_share(self.accounts, self.alpha, plan.skill) / day * plan.skill
        return Outlook(
            plan,
            self.tables,
            self._centre,
            clock,
            level,
            spread,
            load,
            staff_path(plan, self.staff, clock, self._absence),
            self.queues.count * plan.handling / minutes,
            fair,
        )

    def orders(self, actions: Actions) -> Orders:
        """What actions come to, in whole workers and as far as it is possible."""
        chosen = actions[GROUP].astype(np.float64)
        if self.config.action_mode == "discrete":
            chosen = 2.0 * chosen / (self.config.levels - 1) - 1.0
        call, home, share = wishes(chosen, self.outlook(), self.config.lent)
        alive = self.alive[GROUP]
        call, home = np.where(alive, call, 0), np.where(alive, home, 0)
        return self.staff.ordered(call, home, share * alive[..., None], self.plan, self.now())

    def actions_for(self, orders: Orders) -> Actions:
        """The actions that come to these orders, or nearest to them."""
        duty = self.outlook().now[1] + 0.0
        chosen = actions_of(orders, self.outlook(), duty - orders.home, self.config.lent)
        chosen = np.where(self._open(), chosen, 0.0)
        if self.config.action_mode == "continuous":
            return {GROUP: chosen.astype(np.float32)}
        last = self.config.levels - 1
        return {GROUP: np.where(self._open(), np.rint((chosen + 1) / 2 * last), 0).astype(np.int64)}

    def _open(self) -> Any:
        """Which dimensions mean something, `[B, A, 3 S]`: of its own skill the first two, of others the last."""
        own = np.eye(self.size.skills, dtype=np.bool_)
        alive = self.alive[GROUP][..., None]
        mine = np.broadcast_to(own, self.plan.speed.shape)
        parts = np.stack([mine, mine, (self.plan.speed > 0) & ~own], axis=3) & alive[..., None]
        return parts.reshape(*self.alive[GROUP].shape, -1)

    # -- a step ----------------------------------------------------------------------------------------------------

    def _advance(self, actions: Actions) -> Outcome:
        plan, staff, accounts, clock = self.plan, self.staff, self.accounts, self.now()
        orders = self.orders(actions)
        overtime = staff.order(orders, plan, clock)
        posts = staff.posts(plan)
        self.tally, free = self.queues.play(clock, plan, self.future, posts)
        staff.worked(posts, free)
        accounts.take(self.tally)
        wages = self._wages(clock, overtime)
        accounts.called += orders.call
        accounts.sent += orders.home
        accounts.lent += orders.lent.sum(axis=2)
        end = ((clock + 1) * plan.step)[:, None, None]
        in_call = (np.isfinite(staff.free) & (staff.free > end)).sum(axis=2)
        self.busy = in_call / np.maximum(staff.duty, 1)
        tally, alive = self.tally, self.alive[GROUP].copy()
        missed = tally.abandoned * (plan.value + plan.penalty) + tally.waited * plan.waiting
        steps = self.clock + 1
        before, self._fair = self._fair, equivalent(accounts.service(), self.alpha, alive)
        fair = np.broadcast_to((steps * self._fair - (steps - 1) * before)[:, None], alive.shape)
        money = self.money[:, None]
        objectives: Any = np.stack([-missed / money, -wages / money, fair], axis=2) * alive[..., None]
        usual = np.maximum(plan.rate.sum(axis=2) / self._limits[:, None], 1e-9)
        late = (tally.late + tally.abandoned) / usual * alive
        self._outlook = None
        return Outcome(
            {},
            {GROUP: np.zeros_like(alive)},
            objectives={GROUP: objectives},
            costs={GROUP: late[..., None].astype(np.float32)},
        )

    def _wages(self, clock: Ints, overtime: Floats) -> Floats:
        """What teams are paid for a step [currency], `[B, S]`."""
        plan, staff = self.plan, self.staff
        worlds = np.arange(self.num_worlds)
        called = staff.called[worlds, :, clock]
        # When the day ends those still there are paid for the rest of their stay.
        rest = np.where(np.arange(staff.called.shape[2]) >= self._limits[:, None, None], staff.called, 0).sum(axis=2)
        called = called + np.where((clock == self._limits - 1)[:, None], rest, 0)
        shift = staff.present(plan, clock).sum(axis=2)
        time = (shift + called) * plan.step[:, None] + overtime
        self.accounts.paid += time
        wages: Floats = plan.wage * (shift + plan.premium * called + overtime / plan.step[:, None])
        self.accounts.wages += wages
        return wages

    # -- what is seen ----------------------------------------------------------------------------------------------

    def _observe(self) -> Observation:
        worlds, now, outlook = np.arange(self.num_worlds), self.now(), self.outlook()
        since = np.maximum(now - LATELY, 0)
        came = self.future.came[worlds, :, now] - self.future.came[worlds, :, since]
        steps = np.arange(self.size.steps)
        recent = (steps >= since[:, None, None]) & (steps < now[:, None, None])
        usual = np.where(recent, self.plan.rate, 0.0).sum(axis=2) * outlook.level
        seen = Seen(
            outlook,
            self.staff,
            self.queues,
            self.accounts,
            self.busy,
            (came - usual) / np.sqrt(np.maximum(usual, 1.0)),
            self.alive[GROUP],
            self.clock / self._limits,
            self.alpha,
            self.objective_weights[:, 1:],
        )
        table, state = self._observer.write(seen)
        mask = self._open()
        if self.config.action_mode == "discrete":
            first = np.arange(self.config.levels) == 0
            mask = (mask[..., None] | first).reshape(*mask.shape[:2], -1)
        return Observation({GROUP: table}, {GROUP: mask}, {}, state)

    def _metrics(self, worlds: IntArray) -> dict[str, Any]:
        return self.accounts.figures(worlds, self.plan.skill[worlds])

    def _get_state(self) -> dict[str, Any]:
        return {
            "staff": self.staff.get_state(),
            "queues": self.queues.get_state(),
            "accounts": self.accounts.get_state(),
            "tables": {name: getattr(self, name).copy() for name in ("_fair", "busy")},
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        worlds = np.arange(self.num_worlds)
        for world in worlds.tolist():
            self._install(world)
        self._foresee(worlds, [self.streams.again(world) for world in worlds.tolist()])
        self.staff.set_state(state["staff"])
        self.queues.set_state(state["queues"])
        self.accounts.set_state(state["accounts"])
        for name, array in state["tables"].items():
            setattr(self, name, array.copy())
        self._outlook = None
