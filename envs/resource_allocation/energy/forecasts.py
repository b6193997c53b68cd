"""What can be known of the hours to come: means given all that was, and how far off they may be.

Forecasts are honest: of the processes that rule demand, weather and outages, what is expected `k` steps after the last
one seen. With `x` the last deviation and `r = rho^k`, what is to come is normal with mean `r x` and variance `1 - r^2`:

- demand: the mean of a lognormal, `level * exp(s r x - s^2 r^2 / 2)`;
- weather: the mean of a probit of a normal, `Phi((a + s r x) / sqrt(1 + s^2 (1 - r^2)))`;
- units: a two-state Markov chain returns to its long-run share by `(lasts - fails)^k`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from envs.resource_allocation.energy.future import Future
from envs.resource_allocation.energy.plan import Floats, Ints, Plan


@dataclass
class Forecast:
    """The next `H` steps, the present one first, of which nothing is known yet either.

    Attributes:
        net: Demand less what renewables could give, the mean [MW], `[B, H]`.
        error: Its standard deviation [MW], `[B, H]`; for weather to first order.
        demand: [MW], `[B, H]`.
        running: Units of each kind that run, the mean, `[B, H, G]`.
    """

    net: Floats
    error: Floats
    demand: Floats
    running: Floats


def forecast(plan: Plan, future: Future, clock: Ints, horizon: int) -> Forecast:
    """What is expected of the next steps.

    Args:
        plan: The grids of `B` worlds.
        future: Of which only what was before `clock` is used.
        clock: Present step, `[B]`.
        horizon: Steps `H`.
    """
    worlds, ahead = np.arange(len(clock)), np.arange(horizon)
    last = future.moods[worlds, clock]
    row = worlds[:, None]
    hour = (future.start[:, None] + clock[:, None] + ahead) % plan.steps[:, None]
    power = ahead + 1.0
    fades = plan.load_rho[:, None] ** power
    spread = plan.load_spread[:, None]
    part = spread * fades
    demand = plan.load[row, hour] * np.exp(part * last[:, :1] - part**2 / 2)
    variance = demand**2 * np.expm1(spread**2 * (1 - fades**2))
    net = demand.copy()
    for place in range(plan.sun.shape[1]):
        sun = plan.sun[row, place, hour]
        fades = plan.weather_rho[:, place, None] ** power
        spread = plan.weather_spread[:, place, None]
        unknown = spread * np.sqrt(1 - fades**2)
        wide = np.sqrt(1 + unknown**2)
        at = (plan.weather_mean[:, place, None] + spread * fades * last[:, 1 + place, None]) / wide
        net -= sun * ndtr(at)
        density = np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi)
        variance += (sun * density * unknown / wide) ** 2
    usual = (1 - plan.lasts) / np.maximum(plan.fails + 1 - plan.lasts, 1e-12)
    usual = np.where(plan.fails > 0, usual, 1.0) * plan.units
    stays = (plan.lasts - plan.fails)[:, None] ** power[None, :, None].astype(np.int64)
    now = future.running[worlds, clock]
    running = usual[:, None] + (now - usual)[:, None] * stays
    return Forecast(net, np.sqrt(variance), demand, np.where(plan.fails[:, None] > 0, running, plan.units[:, None]))
