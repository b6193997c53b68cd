"""The energy env: batteries that trade with a power system in real time, many systems at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from envs.base import Actions, AgentGroup, BatchedEnv, IntArray, Observation, Outcome, Task
from envs.resource_allocation.energy.accounts import Accounts
from envs.resource_allocation.energy.config import COSTS, OBJECTIVES, EnergyConfig, EnergyTask
from envs.resource_allocation.energy.forecasts import forecast
from envs.resource_allocation.energy.future import Future
from envs.resource_allocation.energy.grid import Grid
from envs.resource_allocation.energy.merit import Curve
from envs.resource_allocation.energy.observations import FleetPlan, Observer, Outlook, Seen
from envs.resource_allocation.energy.plan import Floats, Plan, Size
from envs.resource_allocation.energy.storage import Batteries

GROUP = "battery"


class EnergyEnv(BatchedEnv):
    """Batteries that move the price.

    One step:

    1. *Act*: each battery says what it takes (1: at full power) or gives (-1); 0 is idle, or, around a plan, its part
       of what the fleet would do if it were one battery. Nobody knows the price yet: demand, weather and outages of
       the step are only forecast. Discrete branches are evenly spaced powers.
    2. *Cut*: what is asked becomes what is possible (`storage`).
    3. *Clear*: the load that there really is, batteries included, is met by the cheapest units that run (`merit`).
    4. *Store*: what is stored changes.

    What the system saves through batteries is its cost without them less its cost with them and their wear, and what
    is stored counts at the mean price, less what giving it will cost: so an episode's end is no reason to sell. Each is
    credited with its marginal contribution, what the system would have cost more had this battery alone been idle in
    this step, and an even part of the rest, so that all add up to what was saved: the mean return is the community's,
    and what one changes by its action it sees nearly by itself (Wolpert and Tumer 2001).

    Rewards are in units of `money`: a step of a battery's mean power at the mean price.

    Args:
        config: What is fixed for the run.
        num_worlds: Number of worlds `B`.
        task: The task all worlds begin with.
        first_world: Number of the first world.

    Attributes:
        config: As given.
        size: How large arrays are.
        plan: The grids, in their tasks.
        future: What chance has in store; for those who must know all.
        batteries: As they stand.
        accounts: What the episode comes to.
        taken, given: By each battery in the last step, `[B, A]` [MW].
        price: In the last step, `[B]` [currency a MWh].
        money: What rewards are in units of [currency], `[B]`.
    """

    def __init__(
        self, config: EnergyConfig, num_worlds: int, *, task: EnergyTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        self.size = size = Size.of(list(config.loaded.values()), config.batteries)
        self._observer = Observer(num_worlds, size.batteries, config.horizon, config.planned)
        space: Box | MultiDiscrete = (
            Box(-1, 1, (1,), np.float32) if config.action_mode == "continuous" else MultiDiscrete([config.levels])
        )
        names = tuple(f"{GROUP}_{index}" for index in range(size.batteries))
        super().__init__(
            num_worlds,
            [AgentGroup(GROUP, names, space, self._observer.layout)],
            state_size=2 * size.batteries + 1 + config.horizon,
            task=task or EnergyTask(),
            team_weight=config.team_weight,
            first_world=first_world,
            objectives=OBJECTIVES,
            costs=COSTS,
        )
        self._plans: dict[str, Plan] = {}
        self.plan = Plan.empty(size).worlds(num_worlds)
        self.future = Future.empty(num_worlds, size)
        self.batteries = Batteries.none(num_worlds, size.batteries)
        self.accounts = Accounts.zero(num_worlds, size.batteries)
        self.taken = np.zeros((num_worlds, size.batteries))
        self.given = np.zeros((num_worlds, size.batteries))
        self.price = np.zeros(num_worlds)
        self._awaited, self._expected = np.zeros(num_worlds), np.zeros(num_worlds)
        self.money = np.ones(num_worlds)
        self._outlook: Outlook | None = None
        self._fleet: FleetPlan | None = None
        self._limits = np.ones(num_worlds, np.int64)
        self.admit(self._next_tasks[0])

    def grid_of(self, task: Task) -> Grid:
        """The grid that a task plays."""
        assert isinstance(task, EnergyTask)
        return self.config.loaded[task.grid or next(iter(self.config.loaded))]

    def plan_of(self, task: Task) -> Plan:
        """A task's grid as arrays."""
        assert isinstance(task, EnergyTask)
        key = task.model_dump_json(exclude={"name", "max_steps", "drawn"})
        if key not in self._plans:
            if len(self._plans) >= 64:  # tasks may be drawn anew for every episode
                self._plans.pop(next(iter(self._plans)))
            self._plans[key] = Plan.of(self.grid_of(task), task, self.size)
        return self._plans[key]

    def count_of(self, task: Task) -> int:
        """How many batteries a task has."""
        assert isinstance(task, EnergyTask)
        return task.batteries or self.config.batteries

    # -- the contract ----------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        """Raises ValueError if there is no such grid or no room for its batteries, or carbon is too dear for it."""
        assert isinstance(task, EnergyTask)
        if task.grid and task.grid not in self.config.loaded:
            raise ValueError(f"grid: got {task.grid!r}, allowed are {', '.join(self.config.loaded)}")
        if task.batteries > self.config.batteries:
            raise ValueError(f"batteries: got {task.batteries}, allowed is at most the run's, {self.config.batteries}")
        grid = self.grid_of(task)
        for name, unit in grid.generators.items():
            room = grid.lost_load - unit.linear - 2 * unit.quadratic * unit.capacity
            if task.carbon_price * unit.carbon >= room:
                raise ValueError(
                    f"carbon_price: got {task.carbon_price:g}, allowed is below {room / unit.carbon:g}, where {name} "
                    "costs more than lost load"
                )

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds.tolist():
            self._install(world)
        self._foresee(worlds, [self.streams.generators[world] for world in worlds])
        self.accounts.begin(worlds)
        self.taken[worlds], self.given[worlds] = 0.0, 0.0
        charged = np.array([cast(EnergyTask, self.tasks[world]).charged for world in worlds])
        self.batteries.stored[worlds] = self.batteries.energy[worlds] * charged[:, None]
        self.price[worlds] = self._expected[worlds] = self.plan.mean_price[worlds]
        count = np.array([self.count_of(self.tasks[world]) for world in worlds])
        self.alive[GROUP][worlds] = np.arange(self.size.batteries) < count[:, None]

    def _install(self, world: int) -> None:
        """Puts a world's task in place."""
        self._outlook = self._fleet = None
        task = cast(EnergyTask, self.tasks[world])
        self.plan.put(world, self.plan_of(task))
        self._limits[world] = task.max_steps

    def _foresee(self, worlds: IntArray, streams: Sequence[np.random.Generator]) -> None:
        """Draws worlds' episodes from the beginning of their streams, those of the same task together."""
        for together in self._alike(worlds):
            task = cast(EnergyTask, self.tasks[worlds[together[0]]])
            grid, count = self.grid_of(task), self.count_of(task)
            rngs = [streams[place] for place in together]
            self.future.draw(worlds[together], grid, self.plan_of(task), task, count, rngs)
            there = np.arange(self.size.batteries) < count
            kind = self.future.kind[worlds[together]]
            for name in ("power", "energy", "charging", "discharging", "wear", "worth"):
                each = np.take_along_axis(getattr(self.plan, name)[worlds[together]], kind, axis=1)
                missing = 1.0 if name in ("charging", "discharging") else 0.0
                getattr(self.batteries, name)[worlds[together]] = np.where(there, each, missing)
            money = self.batteries.power[worlds[together]].sum(axis=1) / count
            self.money[worlds[together]] = (
                money * self.plan.hours[worlds[together]] * self.plan.mean_price[worlds[together]]
            )

    # -- what is asked ---------------------------------------------------------------------------------------------

    def asked(self, actions: Actions) -> Floats:
        """What actions ask for, to take where above 0, `[B, A]` [MW]."""
        chosen = actions[GROUP][..., 0].astype(np.float64)
        if self.config.action_mode == "discrete":
            chosen = 2 * chosen / (self.config.levels - 1) - 1
        elif self.config.around == "plan":
            middle = self.planned()
            chosen = middle + np.where(chosen < 0, 1 + middle, 1 - middle) * chosen
        return chosen * self.batteries.power * self.alive[GROUP]

    def actions_for(self, asked: Floats) -> Actions:
        """The actions that ask for so much `[B, A]` [MW], or come nearest."""
        power = self.batteries.power
        share = np.clip(asked / np.where(power > 0, power, 1.0), -1.0, 1.0)[..., None]
        if self.config.action_mode == "discrete":
            return {GROUP: np.rint((share + 1) / 2 * (self.config.levels - 1)).astype(np.int64)}
        if self.config.around == "plan":
            middle = self.planned()[..., None]
            share = (share - middle) / np.maximum(np.where(share < middle, 1 + middle, 1 - middle), 1e-9)
        return {GROUP: share.astype(np.float32)}

    def planned(self) -> Floats:
        """What an action of 0 asks for where actions are around a plan, `[B, A]` [share of power]."""
        return self.fleet().parts(self.batteries, self.plan.hours)

    def fleet(self) -> FleetPlan:
        """What the fleet would do if it were one battery; worked out once a step."""
        if self._fleet is None:
            self._fleet = FleetPlan.of(self.plan, self.batteries, self.outlook(), self._limits - self.clock)
        return self._fleet

    def outlook(self) -> Outlook:
        """What everybody can know of the hours to come; worked out once a step."""
        if self._outlook is None:
            self._outlook = Outlook.of(self.plan, forecast(self.plan, self.future, self.clock, self.config.horizon))
        return self._outlook

    # -- a step ----------------------------------------------------------------------------------------------------

    def _advance(self, actions: Actions) -> Outcome:
        plan, own, alive, accounts = self.plan, self.batteries, self.alive[GROUP], self.accounts
        hours, worlds, now = plan.hours, np.arange(self.num_worlds), self.clock
        asked = self.asked(actions)
        self._outlook = self._fleet = None
        demand, sun = self.future.demand[worlds, now], self.future.given[worlds, now]
        curve = Curve.of(plan, self.future.running[worlds, now + 1])
        net = demand - sun
        spare = curve.quantity[:, -1] - net
        self.taken, self.given = own.possible(asked, hours, plan.connection, spare)
        change = own.move(self.taken, self.given, hours)
        each = self.taken - self.given
        total = net + each.sum(axis=1)
        # Everything at once: without batteries, with all, and with all but one.
        cleared = curve.at(np.concatenate([net[:, None], total[:, None], total[:, None] - each], axis=1))
        cost, price = cleared.cost, cleared.price[:, 1]
        wear, count = own.wear * self.given * hours[:, None], np.maximum(alive.sum(axis=1), 1)
        kept = own.worth * change - wear
        saved = (cost[:, 0] - cost[:, 1]) * hours + kept.sum(axis=1)
        marginal = ((cost[:, 2:] - cost[:, 1:2]) * hours[:, None] + kept) * alive
        system = marginal + ((saved - marginal.sum(axis=1)) / count)[:, None]
        profit = kept - price[:, None] * each * hours[:, None]
        carbon = (cleared.carbon[:, 0] - cleared.carbon[:, 1]) * hours / count
        shed = cleared.shed[:, 1] / np.where(demand > 0, demand, 1.0)
        money = self.money[:, None]
        objectives: Any = np.stack(
            [system / money, profit / money, np.broadcast_to(carbon[:, None] / money, each.shape)], axis=2
        )
        self._expected, self.price = self._awaited, price
        accounts.without += cost[:, 0] * hours
        accounts.saved += saved
        accounts.demand += demand * hours
        accounts.shed += cleared.shed[:, 1] * hours
        accounts.given += sun * hours
        accounts.spilled += cleared.spilled[:, 1] * hours
        accounts.carbon += cleared.carbon[:, 1] * hours
        accounts.peak = np.maximum(accounts.peak, price)
        accounts.earned += profit
        accounts.cycles += self.given * hours[:, None] / np.where(own.energy > 0, own.energy * own.discharging, 1.0)
        return Outcome(
            {},
            {GROUP: np.zeros(alive.shape, np.bool_)},
            objectives={GROUP: objectives * alive[..., None]},
            costs={GROUP: (shed[:, None] * alive)[..., None].astype(np.float32)},
        )

    # -- what is seen ----------------------------------------------------------------------------------------------

    def _observe(self) -> Observation:
        alive, own, outlook = self.alive[GROUP], self.batteries, self.outlook()
        self._awaited = outlook.price[:, 0].copy()
        seen = Seen(
            self.plan,
            own,
            alive,
            outlook,
            self.fleet() if self.config.planned else None,
            self._limits - self.clock,
            (self.future.start + self.clock) % self.plan.steps,
            self.price,
            self._expected,
            self.objective_weights,
        )
        table, state = self._observer.write(seen)
        mask = alive[..., None].copy()
        if self.config.action_mode == "discrete":
            level = np.arange(self.config.levels) * 2 - self.config.levels + 1
            gives, takes = own.supply(self.plan.hours) > 0, own.room(self.plan.hours) > 0
            mask = alive[..., None] & np.where(
                level < 0, gives[..., None], np.where(level > 0, takes[..., None], alive[..., None])
            )
            mask |= ~alive[..., None] & (np.arange(self.config.levels) == 0)
        return Observation({GROUP: table}, {GROUP: mask}, {}, state)

    def _metrics(self, worlds: IntArray) -> dict[str, Any]:
        own = self.batteries
        return self.accounts.figures(worlds, self.alive[GROUP][worlds], own.energy[worlds], own.power[worlds])

    def _get_state(self) -> dict[str, Any]:
        return {
            "accounts": self.accounts.get_state(),
            "stored": self.batteries.stored.copy(),
            "tables": {
                name: getattr(self, name).copy() for name in ("taken", "given", "price", "_expected", "_awaited")
            },
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        worlds = np.arange(self.num_worlds)
        for world in worlds.tolist():
            self._install(world)
        self._foresee(worlds, [self.streams.again(world) for world in worlds.tolist()])
        self.accounts.set_state(state["accounts"])
        self.batteries.stored[...] = state["stored"]
        for name, array in state["tables"].items():
            setattr(self, name, array.copy())
