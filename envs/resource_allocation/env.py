"""The allocation env: tenants ask machines for room for their jobs, many clusters at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from envs.base import Actions, AgentGroup, BatchedEnv, IntArray, Observation, Outcome, Task
from envs.resource_allocation.accounts import Accounts
from envs.resource_allocation.cluster import Cluster
from envs.resource_allocation.config import COSTS, OBJECTIVES, AllocationConfig, AllocationTask
from envs.resource_allocation.fairness import equivalent
from envs.resource_allocation.future import Future, causes
from envs.resource_allocation.jobs import Jobs
from envs.resource_allocation.observations import Observer, Seen
from envs.resource_allocation.placing import Kinds, evicted, loads, placed
from envs.resource_allocation.plan import Floats, Plan, Size
from envs.resource_allocation.slots import DONE, Slots

GROUP = "tenant"


class AllocationEnv(BatchedEnv):
    """Tenants that share machines.

    One step:

    1. *Ask*: each tenant asks for tasks of each of its jobs: an action in [-1, 1] for a share of the job's width, from
       none at -1 by `start` at 0 to all at 1, linearly between, and no more than there is work for. Discrete branches
       are evenly spaced shares. A quota cuts what a tenant asks for all its jobs alike.
    2. *Grant*: what is asked is placed on machines; whatever is asked, what is granted fits (`placing`).
    3. *Evict*: where more was granted than there is, and is really used, tasks of the lowest priorities stop.
    4. *Work*: each task works for a step. A task that ran and runs no more loses its work since the last checkpoint.
    5. *End*: jobs that are done are paid for; those past their deadlines are lost.
    6. *Come*: tenants leave and come back, and jobs that have come take free slots.

    Jobs that never end, as services, are paid for what they work. Fairness is the equally distributed equivalent (see
    `fairness`) of the tenants' *service*: the share of the value they could have had worked that was. Counted over the
    run its growth is the reward of a step, so that an episode's sum is what fairness came to, times its steps.

    Rewards are in units of `money`: the value that comes in a step on average, shared among tenants.

    Args:
        config: What is fixed for the run.
        num_worlds: Number of worlds `B`.
        task: The task all worlds begin with.
        first_world: Number of the first world.

    Attributes:
        config: As given.
        size: How large arrays are.
        plan: The clusters.
        future: What chance has in store; for those who must know all.
        slots: The jobs in hand.
        jobs: The same one after the other, as they were last seen: it is those that an action is about.
        accounts: What tenants have had.
        up: Share of the machines of each kind that run now, `[B, M]`.
        granted: What ran in the last step on each kind of machine, of each slot, `[B, M, A * J]`.
        money: What rewards are in units of [currency], `[B]`.
        quota: Most of the cluster that each tenant may have, `[B, A]`.
        alpha: Aversion to inequality, `[B]`.
        oversubscribed: What is granted over what there is, `[B]`.
    """

    def __init__(
        self, config: AllocationConfig, num_worlds: int, *, task: AllocationTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        self.size = size = Size.of(list(config.loaded.values()), config.tenants, config.slots)
        self._plans = {name: Plan.of(cluster, size) for name, cluster in config.loaded.items()}
        self._observer = Observer(num_worlds, size)
        space: Box | MultiDiscrete = (
            Box(-1, 1, (size.slots,), np.float32)
            if config.action_mode == "continuous"
            else MultiDiscrete([config.levels] * size.slots)
        )
        names = tuple(f"{GROUP}_{index}" for index in range(size.tenants))
        super().__init__(
            num_worlds,
            [AgentGroup(GROUP, names, space, self._observer.layout)],
            state_size=3 * size.tenants + 2 * size.machines,
            task=task or AllocationTask(),
            team_weight=config.team_weight,
            first_world=first_world,
            objectives=OBJECTIVES,
            costs=COSTS,
        )
        self.plan = Plan.empty(size).worlds(num_worlds)
        self.future = Future.empty(num_worlds, size)
        self.slots = Slots.empty(num_worlds, size)
        self.jobs = Jobs.of(self.slots)
        self.accounts = Accounts.zero(num_worlds, size.tenants)
        self.granted = np.zeros((num_worlds, size.machines, size.tenants * size.slots))
        self.money = np.ones(num_worlds)
        self.quota = np.ones((num_worlds, size.tenants))
        self.alpha = np.zeros(num_worlds)
        self._over_run = np.ones(num_worlds, np.bool_)
        self._liars = np.zeros((num_worlds, size.tenants), np.bool_)
        self.oversubscribed = np.ones(num_worlds)
        self._limits = np.ones(num_worlds, np.int64)
        self._means = np.ones((num_worlds, 2))
        self._load = np.zeros((num_worlds, size.machines))
        self._fair = np.zeros(num_worlds)
        self.admit(self._next_tasks[0])

    def cluster_of(self, task: Task) -> Cluster:
        """The cluster that a task plays."""
        assert isinstance(task, AllocationTask)
        return self.config.loaded[task.cluster or next(iter(self.config.loaded))]

    def tenants_of(self, task: Task) -> int:
        """How many tenants a task has."""
        assert isinstance(task, AllocationTask)
        return task.tenants or self.config.tenants

    # -- the contract ----------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        """Raises ValueError if there is no such cluster, or no room for its tenants, or its machines cannot fail."""
        assert isinstance(task, AllocationTask)
        if task.cluster and task.cluster not in self.config.loaded:
            raise ValueError(f"cluster: got {task.cluster!r}, allowed are {', '.join(self.config.loaded)}")
        if task.tenants > self.config.tenants:
            raise ValueError(f"tenants: got {task.tenants}, allowed is at most the run's, {self.config.tenants}")
        machines = tuple(self.cluster_of(task).machines)
        for place in () if task.failures is None else task.failures.places:
            if place not in machines:
                raise ValueError(f"failures.places: got {place!r}, allowed are {', '.join(machines)}")
        if task.workload.recorded is not None and (rows := len(task.workload.recorded.load())) < task.max_steps:
            raise ValueError(f"max_steps: got {task.max_steps}, allowed is at most {rows}, the rows recorded")

    def _begin(self, worlds: IntArray) -> None:
        self._install(worlds)
        self._foresee(worlds, [self.streams.generators[world] for world in worlds])
        self.slots.clear(worlds)
        self.accounts.begin(worlds)
        self.granted[worlds], self._load[worlds], self._fair[worlds] = 0.0, 0.0, 1.0
        self.alive[GROUP][worlds] = self.future.present[worlds, 0]
        clock = np.where(np.isin(np.arange(self.num_worlds), worlds), 0, self._now())
        self.slots.fill(self.future, self.plan, clock)

    def _install(self, worlds: IntArray) -> None:
        """Puts worlds' tasks in place."""
        for together in self._alike(worlds, lambda task: self.cluster_of(task).name):
            self.plan.put(worlds[together], self._plans[self.cluster_of(self.tasks[worlds[together[0]]]).name])
        for world in worlds.tolist():
            task = cast(AllocationTask, self.tasks[world])
            self.alpha[world], self._over_run[world] = task.alpha, task.over == "run"
            self.oversubscribed[world], self._limits[world] = task.oversubscription, task.max_steps
            self._liars[world] = np.arange(self.size.tenants) < task.liars
            self._means[world] = task.price.mean or 1.0, task.carbon.mean or 1.0

    def _foresee(self, worlds: IntArray, streams: Sequence[np.random.Generator]) -> None:
        """Draws worlds' episodes from the beginning of their streams, those of alike tasks together."""
        for together in self._alike(worlds, causes):
            task = cast(AllocationTask, self.tasks[worlds[together[0]]])
            cluster, tenants = self.cluster_of(task), self.tenants_of(task)
            rngs = [streams[place] for place in together]
            self.future.draw(worlds[together], cluster, self._plans[cluster.name], task, tenants, rngs)
            self.money[worlds[together]] = self.future.expected[worlds[together]] / tenants
        self.quota[worlds] = np.take_along_axis(self.plan.quota[worlds], self.future.kind[worlds], axis=1)

    def _now(self) -> IntArray:
        """The present step, or the last one where an episode has just ended, `[B]`."""
        return np.minimum(self.clock, self._limits - 1)

    # -- what is asked ---------------------------------------------------------------------------------------------

    def capacity(self) -> Floats:
        """What machines have now, those that failed left out, `[B, M, R]`."""
        up: Floats = self.future.up[np.arange(self.num_worlds), self._now()]
        return self.plan.capacity * up[..., None]

    def energy_price(self) -> Floats:
        """What energy costs now, its carbon included, as the objectives weigh them [currency a kWh], `[B]`."""
        clock = np.arange(self.num_worlds), self._now()
        weights = self.objective_weights
        found: Floats = weights[:, 2] * self.future.price[clock] + weights[:, 3] * self.future.carbon[clock]
        return found

    def requests(self, actions: Actions) -> Floats:
        """Tasks that actions ask for, of each slot, `[B, A, J]`, within quotas."""
        jobs = Jobs.of(self.slots)
        return jobs.laid(self._asked(jobs, actions))

    def _asked(self, jobs: Jobs, actions: Actions) -> Floats:
        """Tasks that actions ask for, of each job, `[N]`, within quotas."""
        chosen = actions[GROUP].take(jobs.place).astype(np.float64)
        discrete = self.config.action_mode == "discrete"
        start = self.config.start
        share = (
            chosen / (self.config.levels - 1) if discrete else start + np.where(chosen < 0, start, 1 - start) * chosen
        )
        share = np.where(self._liars.take(jobs.tenant), 1.0, share)
        asked = np.minimum(share * jobs.width, jobs.left)  # of what is left it would never be done
        part = jobs.by_tenant(asked * jobs.dominant)
        within = np.where(part > self.quota, self.quota / np.where(part > 0, part, 1.0), 1.0)
        return asked * within.take(jobs.tenant)

    def actions_for(self, requests: Floats) -> Actions:
        """The actions that ask for so many tasks of each slot `[B, A, J]`.

        Branches have but a few levels: what one slot is rounded off goes to the tenant's next, so that all it asks for
        comes as near as it can.
        """
        there, usable = self.slots.there, self.slots.usable()
        share = np.clip(requests / np.where(there, self.slots.width, 1.0), 0.0, 1.0)
        share = np.where(there & (requests < usable * (1 - 1e-9)), share, 1.0)  # all that is left is all it can have
        if self.config.action_mode == "discrete":
            wanted = np.where(there, share * (self.config.levels - 1), 0.0)
            whole = np.floor(wanted.cumsum(axis=2) + 0.5)
            chosen = np.diff(whole, axis=2, prepend=0.0)
            return {GROUP: np.where(there, np.clip(chosen, 0, self.config.levels - 1), 0).astype(np.int64)}
        start = self.config.start
        return {GROUP: ((share - start) / np.where(share < start, start, max(1 - start, 1e-9))).astype(np.float32)}

    # -- a step ----------------------------------------------------------------------------------------------------

    def _advance(self, actions: Actions) -> Outcome:
        slots, plan, accounts, jobs = self.slots, self.plan, self.accounts, self.jobs
        alive, capacity = self.alive[GROUP].copy(), self.capacity()
        kinds = jobs.kinds(plan)
        granted = self._granted(jobs, kinds, self._asked(jobs, actions), capacity)
        tasks = granted.sum(axis=0)
        wanted, worked = jobs.by_tenant(jobs.usable * jobs.value), jobs.by_tenant(tasks * jobs.value)
        accounts.wanted += wanted
        accounts.got += worked
        total = np.where(plan.capacity.sum(axis=1) > 0, plan.capacity.sum(axis=1), 1.0)
        accounts.used += (self._taken.sum(axis=1) / total).sum(axis=1)
        accounts.there += (capacity.sum(axis=1) / total).sum(axis=1)
        power = self._power(jobs, kinds, granted)
        left = np.maximum(self._stopped(jobs, tasks) - tasks, 0.0)
        slots.left.put(jobs.place, left)
        slots.granted.put(jobs.place, tasks)
        paid, late = self._end(jobs, left, tasks)
        clock = np.arange(self.num_worlds), self._now()
        price, carbon = self.future.price[clock][:, None], self.future.carbon[clock][:, None]
        accounts.energy += power.sum(axis=1)
        accounts.carbon += (power * carbon).sum(axis=1)
        fair = self._fairness(wanted, worked, alive)
        money = self.money[:, None]
        objectives: Any = np.stack(
            [paid / money, fair * alive, -power * price / money, -power * carbon / money], axis=2
        )
        costs = (late / money)[..., None]
        gone, arrived = self._move_on(alive)
        return Outcome(
            {},
            {GROUP: gone},
            arrived={GROUP: arrived},
            objectives={GROUP: objectives},
            costs={GROUP: costs.astype(np.float32)},
        )

    def _granted(self, jobs: Jobs, kinds: Kinds, asked: Floats, capacity: Floats) -> Floats:
        """What runs on each kind of machine, of each job, `[M, N]`."""
        offered = capacity * self.oversubscribed[:, None, None]
        granted = placed(asked, jobs.fewest, kinds, offered, self.config.passes)
        if (self.oversubscribed > 1).any():
            used = replace(kinds, needs=kinds.needs * self.plan.usage[:, None])
            kept = evicted(granted, used, self.plan.priority, capacity)
            self.accounts.evicted += jobs.by_world((granted - kept).sum(axis=0))
            granted = kept
        self._taken = loads(kinds.by_machine(granted), kinds.needs)
        self._load = (self._taken / np.where(capacity > 0, capacity, 1.0)).max(axis=2)
        self.granted = np.stack([jobs.laid(on).reshape(self.num_worlds, -1) for on in granted], axis=1)
        return granted

    def _stopped(self, jobs: Jobs, tasks: Floats) -> Floats:
        """Work left once tasks that ran and run no more have lost theirs, `[N]`; those that were done lose nothing."""
        fewer = np.maximum(np.minimum(jobs.granted, jobs.left) - tasks, 0.0)
        again = jobs.left + fewer * jobs.checkpoint
        return np.where(fewer > DONE, np.minimum(again, jobs.work), jobs.left)

    def _power(self, jobs: Jobs, kinds: Kinds, granted: Floats) -> Floats:
        """Energy that each tenant's tasks draw, and its part of what idle machines do [kWh], `[B, A]`."""
        drawn = jobs.by_tenant((granted * kinds.on_machines(self.plan.power)).sum(axis=0))
        up = self.future.up[np.arange(self.num_worlds), self._now()]
        idle = (self.plan.idle * up).sum(axis=1) / np.maximum(self.alive[GROUP].sum(axis=1), 1)
        found: Floats = drawn + idle[:, None] * self.alive[GROUP]
        return found

    def _end(self, jobs: Jobs, left: Floats, tasks: Floats) -> tuple[Floats, Floats]:
        """Takes jobs that are done or late out of their slots; value paid, and lost, `[B, A]`."""
        after = self._now()[jobs.world] + 1
        done = left <= DONE
        late = ~done & (jobs.due <= after)
        ended = np.flatnonzero(done)
        least = np.maximum(np.ceil(jobs.work[ended] / jobs.width[ended]), 1.0)
        self.accounts.finish(jobs.world[ended], (after[ended] - jobs.since[ended]) / least)
        self.accounts.late += np.bincount(jobs.world[late], minlength=self.num_worlds)
        paid = jobs.by_tenant(np.where(np.isinf(jobs.work), tasks, np.where(done, jobs.work, 0.0)) * jobs.value)
        lost = jobs.by_tenant(np.where(late, jobs.work, 0.0) * jobs.value)
        self.slots.drop(jobs.place[done | late])
        return paid, lost

    def _fairness(self, wanted: Floats, worked: Floats, alive: Any) -> Floats:
        """What fairness earns in this step, `[B, 1]`."""
        steps = self.clock + 1
        before, self._fair = self._fair, equivalent(self.accounts.service(), self.alpha, alive)
        found = steps * self._fair - (steps - 1) * before
        if not self._over_run.all():
            share = np.where(wanted > 0, worked / np.where(wanted > 0, wanted, 1.0), 1.0)
            now = equivalent(share, self.alpha, alive)
            found = np.where(self._over_run, found, now)
        return found[:, None]

    def _move_on(self, alive: Any) -> tuple[Any, Any]:
        """Tenants leave and come back, and jobs come, for the next step; who goes, and who comes, `[B, A]`."""
        after = np.minimum(self.clock + 1, self._limits - 1)
        present = self.future.present[np.arange(self.num_worlds), after]
        gone, arrived = alive & ~present, present & ~alive
        accounts = self.accounts
        came = self.future.came[np.arange(self.num_worlds), after]
        if gone.any():
            held = self.slots.there & gone[..., None]
            accounts.lost += (gone * (came - self.slots.taken)).sum(axis=1) + held.sum(axis=(1, 2))
            self.slots.drop(np.flatnonzero(held))
        self.slots.taken = np.where(present, self.slots.taken, came)
        for field in ("wanted", "got"):
            getattr(accounts, field)[gone] = 0.0
        self.slots.fill(self.future, self.plan, after)
        return gone, arrived

    # -- what is seen ----------------------------------------------------------------------------------------------

    def _observe(self) -> Observation:
        worlds, now = np.arange(self.num_worlds), self._now()
        alive, slots = self.alive[GROUP], self.slots
        self.jobs = Jobs.of(slots)
        seen = Seen(
            self.plan,
            self.jobs,
            self.accounts,
            now,
            alive,
            self.future.came[worlds, now] - slots.taken,
            self.future.up[worlds, now],
            self._load,
            self.future.price[worlds, now] / self._means[:, 0],
            self.future.carbon[worlds, now] / self._means[:, 1],
            1.0 - self.clock / self._limits,
            self.alpha,
            self.objective_weights[:, [0, 1, 3]],
            self.money,
            self.energy_price(),
            self.quota,
        )
        table, state = self._observer.write(seen)
        exists = slots.there.copy()
        if self.config.action_mode == "discrete":
            first = np.arange(self.config.levels) == 0
            exists = (exists[..., None] | first).reshape(*exists.shape[:2], -1)
        return Observation({GROUP: table}, {GROUP: exists}, {}, state)

    def _metrics(self, worlds: IntArray) -> dict[str, Any]:
        figures = self.accounts.figures(worlds, self.alive[GROUP][worlds])
        return figures | {"first_value": self._ledger.objectives[GROUP][worlds, 0, 0]}

    def _get_state(self) -> dict[str, Any]:
        return {
            "slots": self.slots.get_state(),
            "accounts": self.accounts.get_state(),
            "tables": {name: getattr(self, name).copy() for name in ("granted", "_load", "_fair")},
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        worlds = np.arange(self.num_worlds)
        self._install(worlds)
        self._foresee(worlds, [self.streams.again(world) for world in worlds.tolist()])
        self.slots.set_state(state["slots"])
        self.jobs = Jobs.of(self.slots)
        self.accounts.set_state(state["accounts"])
        for name, array in state["tables"].items():
            setattr(self, name, array.copy())
