"""Yardsticks for supply chains: what an operations researcher would do, and what is optimal where that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import erf, sqrt

import numpy as np
from numpy.typing import NDArray

from envs.base import Actions, BatchedEnv, Observation
from envs.supply_chain.config import SupplyConfig, SupplyTask
from envs.supply_chain.env import SupplyChainEnv
from envs.supply_chain.network import Network, order_of
from policies.base import Policy, PolicyState
from policies.heuristics import Baselines

Floats = NDArray[np.float64]


class _Levels(Policy):
    """Orders up to levels, as near as actions come to them."""

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        assert isinstance(env, SupplyChainEnv)
        self._env = env

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The actions that ask for the levels."""
        return self._env.actions_for(self.levels()), None

    def levels(self) -> Floats:
        """Of each way, `[B, S]`."""
        raise NotImplementedError


class AsSold(_Levels):
    """Orders what was asked for: by customers in the last step, by nodes downstream in this one; the fastest way."""

    name = "as_sold"

    def levels(self) -> Floats:
        """What is there, and what customers asked for beside; what is asked in this step comes to it by itself."""
        env = self._env
        return env.there() + np.where(env.seats.fastest, env.flows.of(env.wanted, "target"), 0.0)


class BaseStock(_Levels):
    """Orders up to the forecast over the lead time and a safety stock.

    Args:
        safety: Standard deviations of lead-time demand, of each way; one for all, or by a function of env and world.
        name: Name in tables.
    """

    def __init__(self, safety: float | Callable[[SupplyChainEnv, int], Floats] = 1.0, name: str = "base_stock") -> None:
        self.safety, self.name = safety, name

    def levels(self) -> Floats:
        """Forecast and safety stock."""
        mean, deviation = self._env.expected()
        if isinstance(self.safety, float):
            return mean + self.safety * deviation
        safety = np.stack([self.safety(self._env, world) for world in range(self._env.num_worlds)])
        return mean + safety * deviation


def critical_ratio(env: SupplyChainEnv, world: int) -> Floats:
    """The newsvendor's safety stock of each way, `[S]`: the quantile `penalty / (penalty + holding)` of normal demand.

    The penalty is the largest of all that a cell's goods end in.
    """
    plan = env.flows.plan
    cells = env.size.cells
    penalty = np.where(plan.sold[world], plan.shortage[world] + np.where(plan.lost[world], plan.sale[world], 0.0), 0.0)
    penalty = np.append(penalty, 0.0)
    for way in np.flatnonzero(plan.way[world])[::-1]:  # upstream first, so that downstream is known by then
        target = plan.target[world, way]
        for cell in {int(plan.source[world, way]), *map(int, plan.parts[world, way])} - {cells}:
            penalty[cell] = max(penalty[cell], penalty[target])
    hold = np.append(plan.hold[world], 0.0)
    ratio = penalty / np.where(penalty + hold > 0, penalty + hold, 1.0)
    return _normal_quantile(np.clip(ratio, 0.05, 0.99))[plan.target[world]]


def tuned(env: SupplyChainEnv, world: int) -> Floats:
    """Safety stocks tuned by simulation for the world's task, `[S]`."""
    task = env.tasks[world]
    assert isinstance(task, SupplyTask)
    config = env.config.model_copy(update={"action_mode": "continuous"})
    return _tuned(config, task)


@lru_cache(maxsize=64)
def _tuned(config: SupplyConfig, task: SupplyTask, worlds: int = 48, seed: int = 7_000_001) -> Floats:
    """Pattern search over the ways' safety stocks, all candidates of a round played side by side.

    Every candidate meets the same worlds. A round tries each safety stock a step up and down; the best of them, and all
    that are better than none put together, is where the next one begins; where none is better, the step is halved.
    """
    size = SupplyChainEnv(config, 1, task=task)
    size.reset(0)
    ways = np.flatnonzero(size.flows.plan.way[0])
    best = critical_ratio(size, 0)
    step = 1.0

    def returns(candidates: Floats) -> Floats:
        """Mean return of each candidate `[C, S]`, `[C]`."""
        found = []
        for some in np.array_split(candidates, max(1, len(candidates) // 32)):
            env = SupplyChainEnv(config, worlds * len(some), task=task)
            env.reset(seed)
            env.replay([(seed, world, 0) for _ in some for world in range(worlds)], range(env.num_worlds))
            env.restart(range(env.num_worlds))
            earned = _mean_returns(env, np.repeat(some, worlds, axis=0))
            found.append(earned.reshape(len(some), worlds).mean(axis=1))
        return np.concatenate(found)

    value = returns(best[None])[0]
    while step > 0.1:
        moves = np.zeros((2 * len(ways), len(best)))
        moves[np.arange(len(moves)), np.repeat(ways, 2)] = np.tile([step, -step], len(ways))
        candidates = np.clip(best + moves, -config.reach, config.reach)
        values = returns(candidates)
        better = np.maximum(values - value, 0.0)
        together = np.clip(best + (moves * (better > 0)[:, None]).sum(axis=0), -config.reach, config.reach)
        joint = returns(together[None])[0]
        top = int(np.argmax(values))
        if max(joint, values[top]) <= value:
            step /= 2
        elif joint >= values[top]:
            best, value = together, joint
        else:
            best, value = candidates[top], values[top]
    return best


def _mean_returns(env: SupplyChainEnv, safety: Floats) -> Floats:
    """Mean return over agents of each world's episode, `[B]`."""
    while True:
        mean, deviation = env.expected()
        step = env.step(env.actions_for(mean + safety * deviation))
        if step.final is not None:
            return step.final.mean_returns()


def _normal_quantile(share: Floats) -> Floats:
    """Quantiles of the standard normal, by bisection."""
    low, high = np.full(share.shape, -6.0), np.full(share.shape, 6.0)
    for _ in range(50):
        middle = (low + high) / 2
        below = 0.5 * (1 + np.vectorize(erf)(middle / sqrt(2))) < share
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


# -- serial systems ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SerialOptimum:
    """What is optimal in a serial system.

    Attributes:
        echelon: Echelon base-stock levels by node, upstream first [units].
        cost: Least mean cost, what lies on a way at the rate of where it comes from [currency a step].
    """

    echelon: dict[str, float]
    cost: float


def clark_scarf(network: Network, *, grid: float = 0.02) -> SerialOptimum:
    """Optimal echelon base-stock levels of a serial system with backlog and normal demand.

    Clark and Scarf (1960), "Optimal policies for a multi-echelon inventory problem", in the form of Chen and Zheng
    (1994) as given by Snyder and Shen (2019), section 6.2: with echelon holding costs `h_j`, `C_0(x) = (p + sum h) x^-`

        C_j(y) = E[h_j (y - D) + C_{j-1}(min(S_{j-1}, y - D))],  D the demand of `L_j` steps,  S_j = argmin C_j,

    on a grid, the shop first.

    Raises:
        ValueError: If the network is not such a system.
    """
    order = order_of(network)
    ways = list(network.ways())
    sales = [(name, sale) for name in order for sale in network.nodes[name].sells.values()]
    plain = len(network.products) == 1 and len(ways) == len(order) == len({way.target for way in ways})
    shop = [sale for name, sale in sales if name == order[-1] and not sale.lost and sale.demand.kind == "normal"]
    if not plain or len(sales) != 1 or not shop:
        raise ValueError(
            f"network: got {network.name!r}, allowed is a row of nodes, one product, normal demand, backlog"
        )
    (product,) = network.products
    (sale,) = shop
    demand = sale.demand
    local = [network.nodes[name].of("hold", product) for name in order]
    echelon = np.diff([0.0, *local])[::-1]  # the shop first
    leads = [way.terms.lead_time.mean for way in ways][::-1]
    mean, deviation = demand.level, demand.cv * demand.level
    reach = sum(leads) * mean + 8 * deviation * sqrt(sum(leads)) + mean
    y = np.arange(-reach, 2 * reach, grid)
    below = (sale.shortage + local[-1]) * np.maximum(-y, 0.0)
    found: dict[str, float] = {}
    cost = 0.0
    for name, hold, lead in zip(order[::-1], echelon, leads, strict=True):
        spread = deviation * sqrt(lead)
        d = np.arange(mean * lead - 6 * spread, mean * lead + 6 * spread + grid, grid)
        weight = np.exp(-((d - mean * lead) ** 2) / (2 * spread**2))
        weight /= weight.sum()
        after = hold * y + below
        value = sum(w * np.interp(y - each, y, after, left=after[0]) for w, each in zip(weight, d, strict=True))
        value = np.where(y - d[-1] < y[0], np.inf, value)
        best = int(np.argmin(value))
        found[name], cost = float(y[best]), float(value[best])
        below = np.where(y < y[best], value, cost)
        finite = np.isfinite(below)
        slope = (below[finite][1] - below[finite][0]) / grid
        below = np.where(finite, below, below[finite][0] + slope * (y - y[finite][0]))
    return SerialOptimum({name: found[name] for name in order}, cost)


class ClarkScarf(_Levels):
    """Plays the optimum of a serial system: each node's level is its echelon's, less that of those below."""

    name = "clark_scarf"

    def bind(self, env: BatchedEnv) -> None:
        """Finds the levels."""
        super().bind(env)
        self._found: dict[str, Floats] = {}

    def levels(self) -> Floats:
        """Local base-stock levels: the differences of the echelons'."""
        return np.stack([self._of(self._env.network_of(task)) for task in self._env.tasks])

    def _of(self, network: Network) -> Floats:
        if network.name not in self._found:
            optimum = list(clark_scarf(network).echelon.values())
            local = np.array(optimum) - np.append(optimum[1:], 0.0)
            self._found[network.name] = np.pad(local, (0, self._env.size.ways - len(local)))
        return self._found[network.name]


BASELINES = Baselines(
    naive="as_sold",
    informed="tuned",
    policies={
        "as_sold": AsSold,
        "newsvendor": lambda: BaseStock(critical_ratio, "newsvendor"),
        "tuned": lambda: BaseStock(tuned, "tuned"),
    },
    attainable="tuned",  # it sees what the agents do, and plays by the same actions
)
