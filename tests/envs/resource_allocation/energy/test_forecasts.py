"""Tests of forecasts: they are the means of what comes, given what was."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from envs.resource_allocation.energy import EnergyConfig, EnergyEnv, EnergyTask
from envs.resource_allocation.energy.forecasts import forecast
from envs.resource_allocation.energy.future import weather

WORLDS, STEPS = 2000, 8


def drawn(**task: Any) -> EnergyEnv:
    """Many worlds of an episode."""
    env = EnergyEnv(EnergyConfig(batteries=1), WORLDS, task=EnergyTask(max_steps=STEPS, batteries=1, **task))
    env.reset(0)
    return env


def net_of(env: EnergyEnv) -> Any:
    """What really came, `[B, T]`."""
    return env.future.demand - env.future.given


@pytest.mark.parametrize("clock", [0, 4])
def test_they_are_neither_too_high_nor_too_low_and_err_as_they_say(clock: int) -> None:
    """Errors have mean 0, are unrelated to the forecast, and as large as said, for each step ahead."""
    env = drawn(renewables=2.0)
    steps = STEPS - clock
    found = forecast(env.plan, env.future, np.full(WORLDS, clock), steps)
    error = net_of(env)[:, clock:STEPS] - found.net
    scale = error.std(axis=0) / np.sqrt(WORLDS)
    assert (np.abs(error.mean(axis=0)) < 4 * scale).all()
    deviation = found.net - found.net.mean(axis=0)
    slope = (error * deviation).mean(axis=0) / deviation.var(axis=0)
    assert (np.abs(slope) < 0.06).all()
    said = np.sqrt((found.error**2).mean(axis=0))
    np.testing.assert_allclose(error.std(axis=0), said, rtol=0.12)
    assert said[-1] > 1.5 * said[0]


def test_without_uncertainty_they_are_what_comes() -> None:
    """With nothing left to chance the forecast is exact, with no error."""
    env = drawn(uncertainty=0.0)
    found = forecast(env.plan, env.future, np.zeros(WORLDS, np.int64), STEPS)
    np.testing.assert_allclose(found.net, net_of(env)[:, :STEPS], rtol=1e-12)
    assert not found.error.any()
    np.testing.assert_array_equal(found.running, np.repeat(env.plan.units[:, None], STEPS, axis=1))


def test_units_fail_and_return_as_forecast() -> None:
    """The mean number of units that run, of worlds in which as many ran before, is that of the Markov chain."""
    env = drawn(outages=4.0)
    clock = 3
    found = forecast(env.plan, env.future, np.full(WORLDS, clock), STEPS - clock)
    came = env.future.running[:, clock + 1 : STEPS + 1]
    error = came - found.running
    assert (np.abs(error.mean(axis=0)) < 4.5 * error.std(axis=0) / np.sqrt(WORLDS) + 1e-12).all()
    failed = env.future.running[:, clock, 1] < env.plan.units[:, 1]
    assert failed.sum() > 100
    assert np.abs(error[failed][:, :, 1].mean(axis=0)).max() < 0.2


def test_weather_has_the_mean_that_the_grid_says() -> None:
    """Whatever its spread: sun and wind give their mean shares, and demand its level."""
    env = drawn(uncertainty=1.5)
    plan = env.plan_of(env.tasks[0])
    rng = np.random.default_rng(1)
    grid = env.grid_of(env.tasks[0])
    hour = np.tile(np.arange(grid.day), (4000, 1))
    demand, given = weather(plan, hour, rng.standard_normal((*hour.shape, 3)))
    expected = sum(plan.sun[r] * kind.mean for r, kind in enumerate(grid.renewables.values()))
    np.testing.assert_allclose(given.mean(axis=0), expected, rtol=0.04)
    np.testing.assert_allclose(demand.mean(axis=0), plan.load, rtol=0.02)
    assert cast(float, demand.mean()) == pytest.approx(grid.load.level, rel=0.01)
