"""The supply-chain env: every node of a network orders what it needs, many networks at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from envs.base import Actions, AgentGroup, BatchedEnv, IntArray, Observation, Outcome, Task
from envs.supply_chain.accounts import earned, worth
from envs.supply_chain.config import COSTS, OBJECTIVES, SupplyConfig, SupplyTask
from envs.supply_chain.flows import Flows, Luck, Moved
from envs.supply_chain.forecasters import filters
from envs.supply_chain.forecasts import Forecasts
from envs.supply_chain.future import Future, Places
from envs.supply_chain.kpis import Kpis, shares_of
from envs.supply_chain.network import ROLES, Network, Node
from envs.supply_chain.observations import Observer, Seen
from envs.supply_chain.plan import Floats, Plan, Size
from envs.supply_chain.positions import covered, in_time
from envs.supply_chain.seats import Hall, Seats, supplied, taken
from envs.supply_chain.tape import Moment, Tape

RECENT = 0.1
"""Weight of the newest step in what was unmet of late."""


class SupplyChainEnv(BatchedEnv):
    """Nodes that order.

    One step: every node orders by each of its ways (a product on a lane, or one that it makes), goods move as
    `envs.supply_chain.flows` says, and costs are counted. An action `a` in [-1, 1] asks for a base-stock level: ordered
    is what is missing to

        mean * (L + reach * a * sqrt(L))

    where `mean` is what passes through on average, or what is forecast, `L` the way's mean lead time, and what counts
    as there is the stock, less all that is waited for, and what
    arrives within `L`; ways to the same product order one after the other, the fastest first, and count what was just
    ordered: two lanes are a dual-index policy (Veeraraghavan and Scheller-Wolf 2008). Discrete branches are evenly
    spaced values of `a`.

    The reward is made of sales, purchases, holding, backlog, order fees, emissions, swings and the change of what stock
    is worth, in units of the network's `money`: what all nodes sell in a step, price and penalty together, shared among
    them. Goods that lie at a
    node all step are paid for: after sending, and where customers are served, after these. So a serial system costs
    what Clark and Scarf's does.

    Args:
        config: What is fixed for the run.
        num_worlds: Number of worlds `B`.
        task: The task all worlds begin with.
        first_world: Number of the first world.

    Attributes:
        config: As given.
        flows: The goods.
        future: What chance has in store; for those who must know all.
        forecasts: What nodes expect.
        seats: Who orders by which ways.
        wanted: What customers asked for in the last step, `[B, M]`.
        ordered: What was ordered by each way in the last step, `[B, S]`.
        asked: What was asked of each cell in the last step, by customers, nodes and makers, `[B, M]`.
        money: What rewards are in units of [currency], `[B]`.
    """

    def __init__(
        self, config: SupplyConfig, num_worlds: int, *, task: SupplyTask | None = None, first_world: int = 0
    ) -> None:
        self.config = config
        networks = list(config.loaded.values())
        size = Size.of(networks)
        self.size = Size(**{**vars(size), "horizon": size.horizon + config.longest_delay})
        self.hall = Hall.of(networks)
        self._plans = {name: Plan.of(network, self.size) for name, network in config.loaded.items()}
        self._seatings = {
            name: Seats.of(network, self._plans[name], self.hall, self.size) for name, network in config.loaded.items()
        }
        self._places = {name: Places.of(network) for name, network in config.loaded.items()}
        supplies = {name: supplied(self._plans[name], self._seatings[name], self.size) for name in config.loaded}
        width = max(max(len(own) for own in each) for each in supplies.values())
        self._filters = {name: self._filter(name) for name in config.loaded}
        self._supplies = {
            name: _table(each, width, self.size.ways + self.size.cells) for name, each in supplies.items()
        }
        self._observer = Observer(num_worlds, self.hall, width, self.size)
        space: Box | MultiDiscrete = (
            Box(-1, 1, (self.hall.ways,), np.float32)
            if config.action_mode == "continuous"
            else MultiDiscrete([config.levels] * self.hall.ways)
        )
        ends = np.cumsum([0, *self.hall.agents.values()])
        self._slices = {
            role: slice(int(first), int(last))
            for role, first, last in zip(self.hall.agents, ends[:-1], ends[1:], strict=True)
        }
        groups = [
            AgentGroup(role, tuple(f"{role}_{index}" for index in range(count)), space, self._observer.layout)
            for role, count in self.hall.agents.items()
        ]
        super().__init__(
            num_worlds,
            groups,
            state_size=4 * self.size.cells,
            task=task or SupplyTask(),
            team_weight=config.team_weight,
            first_world=first_world,
            objectives=OBJECTIVES,
            costs=COSTS,
        )
        self.flows = Flows(num_worlds, self.size)
        self.future = Future.empty(num_worlds, 1, self.size)
        window = 0 if config.forecast == "smoothed" else config.window
        self.forecasts = Forecasts(num_worlds, self.size.cells, config.smoothing, window)
        self.seats = Seats.empty(self.hall, self.size).worlds(num_worlds)
        self.money = np.ones(num_worlds)
        self.kpis = Kpis.zero(num_worlds)
        self._supply = np.zeros((num_worlds, *next(iter(self._supplies.values())).shape), np.int64)
        self._shares_of = {name: shares_of(self._plans[name], network) for name, network in config.loaded.items()}
        self._shares = np.zeros((num_worlds, self.size.ways, len(ROLES)))
        self._per_usual = np.zeros((num_worlds, self.size.nodes))
        # What was chosen, seat by seat and way by way, and a nought for ways that do not exist; where each way's lies.
        self._chosen = np.zeros((num_worlds, sum(self.hall.agents.values()) * self.hall.ways + 1))
        self._chosen_at = np.zeros((num_worlds, self.size.ways), np.int64)
        self._installed: list[Task | None] = [None] * num_worlds
        self._luck = self.future.luck(np.zeros(num_worlds, np.int64))
        self.ordered = np.zeros((num_worlds, self.size.ways))
        self.asked = np.zeros((num_worlds, self.size.cells))
        self.wanted = np.zeros((num_worlds, self.size.cells))
        self._unmet = np.zeros((num_worlds, self.size.nodes))
        self._mean = np.ones((num_worlds, self.size.cells))
        self._worth = np.zeros((num_worlds, self.size.nodes))
        self._alarm = np.ones(num_worlds, np.bool_)
        self._begun = np.ones(num_worlds, np.bool_)
        self._tape: Tape | None = None
        self._limits = np.ones(num_worlds, np.int64)
        self.admit(self._next_tasks[0])

    def _filter(self, name: str) -> Floats:
        """How a network's demand is forecast."""
        config = self.config
        return filters(
            config.forecast,
            self._plans[name],
            self._places[name],
            self.size,
            weight=config.smoothing,
            window=config.window,
            span=config.learned_from,
            collaboration=config.collaboration,
        )

    def network_of(self, task: Task) -> Network:
        """The network that a task plays."""
        assert isinstance(task, SupplyTask)
        return self.config.loaded[task.network or next(iter(self.config.loaded))]

    def nodes_of(self, task: Task) -> list[Node]:
        """The nodes of the network that a task plays, in the order of the arrays."""
        network = self.network_of(task)
        return [network.nodes[name] for name in network.order]

    def plan_of(self, task: Task) -> Plan:
        """The arrays of the network that a task plays."""
        return self._plans[self.network_of(task).name]

    # -- the contract ----------------------------------------------------------------------------------------------

    def check_task(self, task: Task) -> None:
        """Raises ValueError if there is no such network, place of a disruption, or room for its delays."""
        assert isinstance(task, SupplyTask)
        if task.network and task.network not in self.config.loaded:
            raise ValueError(f"network: got {task.network!r}, allowed are {', '.join(self.config.loaded)}")
        self._places[self.network_of(task).name].check(task)
        delays = task.disruptions.delays
        if delays is not None and delays.steps > self.config.longest_delay:
            raise ValueError(
                f"disruptions.delays.steps: got {delays.steps}, allowed is at most the run's longest_delay, "
                f"{self.config.longest_delay}"
            )

    def _begin(self, worlds: IntArray) -> None:
        self.flows.begin(worlds, self._install(worlds))
        self._observer.begin(worlds, self.flows, self.seats, self._supply)
        self.forecasts.begin(worlds, self.flows.plan.rate[worlds])
        self.kpis.begin(worlds)
        self.ordered[worlds] = self.flows.plan.way_rate[worlds]
        self.asked[worlds], self.wanted[worlds] = self.flows.plan.rate[worlds], self.flows.plan.level[worlds]
        self._unmet[worlds] = 0.0
        self._worth[worlds] = worth(self.flows)[worlds]
        self._begun[worlds] = True
        self._foresee(worlds, [self.streams.generators[world] for world in worlds])

    def _install(self, worlds: IntArray) -> list[Plan]:
        """Puts worlds' tasks in place, where they are not already; returns their plans."""
        for world in worlds.tolist():
            if self._installed[world] is not self.tasks[world]:
                self._put(world, cast(SupplyTask, self.tasks[world]))
                self._installed[world] = self.tasks[world]
        for role, part in self._slices.items():
            self.alive[role][worlds] = self.seats.node[worlds, part] < self.size.nodes
        return [self.plan_of(self.tasks[world]) for world in worlds]

    def _put(self, world: int, task: SupplyTask) -> None:
        """Puts a task in place."""
        network = self.network_of(task)
        plan, seats = self._plans[network.name], self._seatings[network.name]
        self.seats.put(world, seats)
        self._chosen_at[world] = seats.place + world * self._chosen.shape[1]
        self._supply[world] = self._supplies[network.name]
        self._shares[world] = self._shares_of[network.name]
        self.forecasts.filters[:, world] = self._filters[network.name]
        self._mean[world] = plan.level * task.demand
        usual = np.bincount(plan.site, self._mean[world], self.size.nodes + 1)[:-1]
        self._per_usual[world] = np.where(usual > 0, 1.0 / np.where(usual > 0, usual, 1.0), 0.0)
        worth = (self._mean[world] * (plan.sale + plan.shortage)).sum() / len(network.nodes)
        self.money[world] = worth if worth > 0 else 1.0
        self._alarm[world], self._limits[world] = task.disruptions.alarm, task.max_steps

    def _foresee(self, worlds: IntArray, streams: Sequence[np.random.Generator]) -> None:
        """Draws worlds' episodes from the beginning of their streams, those of the same task together."""
        for together in self._alike(worlds):
            task = cast(SupplyTask, self.tasks[worlds[together[0]]])
            self.future.longer(task.max_steps)
            name, rngs = self.network_of(task).name, [streams[place] for place in together]
            self.future.draw(worlds[together], self._places[name], self._plans[name], task, self.size.horizon, rngs)

    # -- orders ----------------------------------------------------------------------------------------------------

    @property
    def lead(self) -> Floats:
        """Mean lead time of each way [steps], `[B, S]`."""
        return self.flows.wiring.lead

    def expected(self) -> tuple[Floats, Floats]:
        """Forecast demand over each way's lead time, and its deviation, `[B, S]`."""
        flows, lead = self.flows, self.lead
        deviation = flows.of(np.sqrt(self.forecasts.variance), "target")
        return flows.of(self.forecasts.mean, "target") * lead, deviation * np.sqrt(lead)

    def there(self) -> Floats:
        """What counts as there for each way, `[B, S]`: stock, less all that is waited for, and what comes in time."""
        return in_time(self.flows)

    def orders(self, levels: Floats) -> Floats:
        """What is ordered by each way to have so much there, `[B, S]`.

        Orders are known upstream in the same step; of the ways to one product the fastest is ordered first.
        """
        return self.flows.wiring.known_upstream(levels - self.there())

    def levels_for(self, orders: Floats) -> Floats:
        """The levels at which `orders` has so much ordered by each way, `[B, S]`."""
        return self.there() + covered(self.flows, orders)

    def levels(self, actions: Actions) -> Floats:
        """The levels that actions ask for, of each way, `[B, S]`."""
        chosen = self._chosen[:, :-1].reshape(self.num_worlds, -1, self.hall.ways)
        for role, part in self._slices.items():
            chosen[:, part] = actions[role]
        if self.config.action_mode == "discrete":
            chosen *= 2.0 / (self.config.levels - 1)
            chosen -= 1.0
        self._chosen[:, :-1] = chosen.reshape(self.num_worlds, -1)
        middle, room = self.span()
        return middle + room * self._chosen.take(self._chosen_at)

    def span(self) -> tuple[Floats, Floats]:
        """The middle of the levels that can be asked for, and how far they reach from it, `[B, S]`."""
        wiring, lead = self.flows.wiring, self.flows.wiring.lead
        each = wiring.mean if self.config.around == "mean" else wiring.of(self.forecasts.mean, "target")
        return each * lead, self.config.reach * each * wiring.root_lead

    def actions_for(self, levels: Floats) -> Actions:
        """The actions that ask for levels `[B, S]`, or come nearest: what rules and oracles play."""
        middle, room = self.span()
        share = np.clip((levels - middle) / np.where(room > 0, room, 1.0), -1.0, 1.0)
        share = np.where(self.flows.plan.way, share, 0.0)
        chosen = taken(share, self.seats.ways)
        if self.config.action_mode == "discrete":
            whole = np.rint((chosen + 1.0) / 2 * (self.config.levels - 1)).astype(np.int64)
            return {role: whole[:, part] for role, part in self._slices.items()}
        return {role: chosen[:, part].astype(np.float32) for role, part in self._slices.items()}

    # -- a step ----------------------------------------------------------------------------------------------------

    def _advance(self, actions: Actions) -> Outcome:
        levels, clock = self.levels(actions), self.clock
        demand, luck = self.future.demand[np.arange(self.num_worlds), clock], self._luck
        if self._tape is not None:
            self._record(levels, demand, luck)
        orders = self.orders(levels)
        before = self.flows.backlog.copy()
        moved = self.flows.step(orders, demand, luck)
        at_once = np.maximum(moved.served - before, 0.0)
        richer, self._worth = -self._worth, worth(self.flows)
        richer += self._worth
        objectives = earned(self.flows, moved, self.ordered, richer) / self.money[:, None, None]
        self._learn(moved, demand)
        unmet = self.flows.by_node(demand - at_once) * self._per_usual
        self._unmet += RECENT * (unmet - self._unmet)
        self.kpis.add(self.flows, moved, demand, at_once, self._mean, self._shares)
        paid = self._observer.of_seats(objectives)
        costs = taken(unmet[..., None], self.seats.node)
        return Outcome(
            {},
            {role: np.zeros_like(self.alive[role]) for role in self._slices},
            objectives={role: paid[:, part] for role, part in self._slices.items()},
            costs={role: costs[:, part].astype(np.float32) for role, part in self._slices.items()},
        )

    # -- what derivatives are made of --------------------------------------------------------------------------------

    def record(self) -> None:
        """Begins a tape; see `envs.base.Differentiable`."""
        self._tape = Tape(self.size, self._slices)
        self._begun[:] = True

    def recorded(self) -> Tape:
        """Ends it, and hands it over."""
        if self._tape is None:
            raise RuntimeError("recorded: nothing was; call record() before the steps")
        tape, self._tape = self._tape, None
        return tape

    def _record(self, levels: Floats, demand: Floats, luck: Luck) -> None:
        """Writes down a step that is about to be taken."""
        assert self._tape is not None
        agents = sum(alive.sum(axis=1) for alive in self.alive.values())
        self._tape.moments.append(
            Moment(
                self._begun.copy(),
                self.flows.get_state() if self._begun.any() else None,
                self.flows.wiring,
                self.seats.ways.copy(),
                self.objective_weights / (self.money * np.maximum(agents, 1))[:, None],
                self.ordered.copy(),
                levels,
                self.span()[1],
                demand,
                luck,
            )
        )
        self._begun[:] = False

    def _learn(self, moved: Moved, demand: Floats) -> None:
        """What nodes make of what they were asked for."""
        self.ordered, self.wanted = moved.ordered, demand
        self.asked = demand + self.flows.asked_by(moved.ordered)
        self.forecasts.see(self.flows.wiring.passed_on(demand) if self.config.collaboration else self.asked)

    def _observe(self) -> Observation:
        self._luck = self.future.luck(np.minimum(self.clock, self._limits - 1))
        seen = Seen(
            self.flows,
            self.flows.standing(),
            self.forecasts,
            self._luck,
            self.ordered,
            self.asked,
            self._unmet,
            self._alarm,
        )
        table = self._observer.write(seen)
        exists = self.seats.ways < self.size.ways
        masks = {}
        for role, part in self._slices.items():
            allowed = exists[:, part]
            if self.config.action_mode == "discrete":
                middle = np.arange(self.config.levels) == self.config.levels // 2
                allowed = (allowed[..., None] | middle).reshape(*allowed.shape[:2], -1)
            masks[role] = np.ascontiguousarray(allowed)
        observations = {role: table[:, part] for role, part in self._slices.items()}
        return Observation(observations, masks, {}, self._observer.state(seen))

    def _metrics(self, worlds: IntArray) -> dict[str, Any]:
        return self.kpis.figures(worlds)

    _TABLES = ("ordered", "asked", "wanted", "_unmet", "_worth")

    def _get_state(self) -> dict[str, Any]:
        return {
            "flows": self.flows.get_state(),
            "forecasts": self.forecasts.get_state(),
            "kpis": {name: array.copy() for name, array in vars(self.kpis).items()},
            "tables": {name: getattr(self, name).copy() for name in self._TABLES},
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        worlds = np.arange(self.num_worlds)
        self.flows.set_state(state["flows"], self._install(worlds))
        self._observer.begin(worlds, self.flows, self.seats, self._supply)
        self._foresee(worlds, [self.streams.again(world) for world in range(self.num_worlds)])
        self._luck = self.future.luck(np.minimum(self.clock, self._limits - 1))
        self.forecasts.set_state(state["forecasts"])
        for name, array in state["kpis"].items():
            getattr(self.kpis, name)[...] = array
        for name, array in state["tables"].items():
            setattr(self, name, array.copy())


def _table(rows: list[list[int]], width: int, nothing: int) -> IntArray:
    """Lists of different lengths as one array, filled up."""
    return np.array([[*row, *[nothing] * (width - len(row))] for row in rows], np.int64)
