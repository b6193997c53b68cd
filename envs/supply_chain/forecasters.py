"""How a network's forecasts are made: by smoothing, by a moving average, or by what a regression learned."""

from __future__ import annotations

import numpy as np

from envs.supply_chain.forecasts import Forecasts, Method
from envs.supply_chain.future import Places
from envs.supply_chain.plan import Floats, Plan, Size
from envs.supply_chain.wiring import Wiring

EPISODES, STEPS, SEED = 64, 128, 7_000_001
"""What a forecast is learned from: fresh episodes of the network's own demand, of streams that no world draws from."""
ALPHAS = tuple(10.0**power for power in range(-2, 5))
"""Penalties that cross-validation chooses from."""


def filters(
    method: Method,
    plan: Plan,
    places: Places,
    size: Size,
    *,
    weight: float,
    window: int,
    span: tuple[float, float] = (0.0, 1.0),
    collaboration: bool = False,
) -> Floats:
    """The filter of each cell of a network, for `Forecasts`, `[2 + W, M]`; `[2, M]` where smoothing is all.

    What is learned is the mean of the steps until an order by the cell's slowest way is there, by ridge regression
    (Hoerl and Kennard 1970) with a penalty found by leaving one out. Cells learn from what customers ask for: those
    that sell, and with collaboration all upstream too. Others smooth the orders they get, which depend on the policy.

    Args:
        method: How.
        plan: The network.
        places: Who asks for something in it.
        size: How large networks are at most.
        weight: Weight of the newest step in what is smoothed.
        window: Steps that filters look at, `W`.
        span: The part of recorded demand that may be learned from.
        collaboration: Whether customers' demand is passed upstream.
    """
    found = np.zeros((2 + (0 if method == "smoothed" else window), size.cells))
    if method == "averaged":
        found[2:] = 1.0 / window
        return found
    found[1] = 1.0
    if method == "learned":
        _learn(found, _drawn(plan, places, size, span, collaboration), plan, weight)
    return found


def _drawn(plan: Plan, places: Places, size: Size, span: tuple[float, float], collaboration: bool) -> Floats:
    """Episodes of demand to learn from, `[T, E, M]`."""
    longest = places.customers.longest(span)
    steps = STEPS if longest is None else min(STEPS, longest)
    rngs = [np.random.default_rng((SEED, episode)) for episode in range(EPISODES)]
    sold = np.zeros((steps, EPISODES, size.cells))
    sold[:, :, places.sold] = places.customers.draw(steps, rngs, span=span).swapaxes(0, 1)
    if not collaboration:
        return sold
    wiring = Wiring(plan.worlds(EPISODES), size)
    return np.stack([wiring.passed_on(now) for now in sold])


def _learn(found: Floats, demand: Floats, plan: Plan, weight: float) -> None:
    """Replaces the filters of cells whose demand is known by what a regression makes of it."""
    from sklearn.linear_model import RidgeCV  # takes a second, which only this setting should cost

    window, rates = len(found) - 2, plan.rate
    history = Forecasts(demand.shape[1], demand.shape[2], weight, window)
    history.begin(np.arange(demand.shape[1]), rates)
    seen = []
    for now in demand:
        history.see(now)
        seen.append(np.concatenate([history.smoothed[None], history.recent]))
    features = np.stack(seen)  # [T, 1 + W, E, M]
    summed = np.concatenate([np.zeros_like(demand[:1]), demand.cumsum(axis=0)])
    for cell in np.flatnonzero((demand > 0).any(axis=(0, 1))):
        ways = plan.way & (plan.target == cell)
        ahead = max(1, round(float((plan.shortest + plan.longest)[ways].max(initial=2)) / 2))
        after = (summed[1 + ahead :, :, cell] - summed[1:-ahead, :, cell]) / ahead
        shares = features[: len(after), :, :, cell].swapaxes(1, 2).reshape(-1, 1 + window) / rates[cell]
        fitted = RidgeCV(alphas=ALPHAS).fit(shares - 1.0, after.ravel() / rates[cell] - 1.0)
        found[0, cell] = 1.0 + fitted.intercept_ - fitted.coef_.sum()
        found[1:, cell] = fitted.coef_
