"""Tests of forecasts: closed forms, and that whoever learned one is honest about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from envs.contract import check_env
from envs.supply_chain.config import SupplyConfig, SupplyTask
from envs.supply_chain.env import SupplyChainEnv
from envs.supply_chain.files import FOLDER

RHO, LEVEL, CV = 0.8, 50.0, 0.2


@pytest.fixture
def going_on(tmp_path: Path) -> str:
    """The beer game, where demand goes on from step to step as a normal AR(1)."""
    data = yaml.safe_load((FOLDER / "beer_game.yaml").read_text())
    data["name"] = "going_on"
    demand = {"level": LEVEL, "kind": "normal", "cv": CV, "rho": RHO}
    data["nodes"]["retailer"]["sells"]["beer"]["demand"] = demand
    file = tmp_path / "going_on.yaml"
    file.write_text(yaml.safe_dump(data))
    return str(file)


def forecast(file: str, worlds: int, steps: int, **config: Any) -> tuple[SupplyChainEnv, Any, Any]:
    """Plays; returns the env, what was asked for, and what was expected after it, `[T, B]` each, at the retailer."""
    env = SupplyChainEnv(SupplyConfig(networks=(file,), **config), worlds, task=SupplyTask(max_steps=steps + 1))
    env.reset(5)
    cell = int(np.flatnonzero(env.flows.plan.sold[0])[0])
    asked, expected = [], []
    for _ in range(steps):
        env.step(env.actions_for(env.expected()[0]))
        asked.append(env.wanted[:, cell].copy())
        expected.append(env.forecasts.mean[:, cell].copy())
    return env, np.stack(asked), np.stack(expected)


def test_a_moving_average_is_one(going_on: str) -> None:
    """Of the latest steps, and of the rate before there were so many."""
    _, asked, expected = forecast(going_on, 3, 20, forecast="averaged", window=6)
    padded = np.concatenate([np.full((6, 3), LEVEL), asked])
    wanted = [padded[step + 1 : step + 7].mean(axis=0) for step in range(20)]
    np.testing.assert_allclose(expected, wanted, rtol=1e-9)


def test_what_is_learned_of_demand_that_goes_on_is_its_expectation(going_on: str) -> None:
    """Of an AR(1) it is `m + (d - m) (rho + … + rho^h) / h` over `h` steps; smoothing is far from it."""
    env, asked, learned = forecast(going_on, 256, 30, forecast="learned")
    _, again, smoothed = forecast(going_on, 256, 30)
    np.testing.assert_array_equal(asked, again)
    plan = env.flows.plan
    cell = int(np.flatnonzero(plan.sold[0])[0])
    ahead = int(((plan.shortest + plan.longest)[0][plan.target[0] == cell] / 2).max())
    closed = LEVEL + (asked - LEVEL) * sum(RHO**step for step in range(1, ahead + 1)) / ahead
    deviation = CV * LEVEL
    assert np.sqrt(np.mean((learned - closed)[1:] ** 2)) < 0.05 * deviation
    assert np.sqrt(np.mean((smoothed - closed)[1:] ** 2)) > 0.3 * deviation


def test_errors_are_what_they_are_said_to_be(going_on: str) -> None:
    """The deviation beside a forecast is that of its errors one step ahead."""
    env, asked, expected = forecast(going_on, 512, 60, forecast="learned")
    cell = int(np.flatnonzero(env.flows.plan.sold[0])[0])
    errors = (asked[1:] - expected[:-1])[20:]
    assert np.sqrt(env.forecasts.variance[:, cell].mean()) == pytest.approx(np.sqrt(np.mean(errors**2)), rel=0.05)


def test_who_is_told_learns_upstream_too(going_on: str) -> None:
    """With collaboration all forecasts are learned; without, who gets orders smooths them."""
    told, _, _ = forecast(going_on, 2, 1, forecast="learned", collaboration=True)
    alone, _, _ = forecast(going_on, 2, 1, forecast="learned")
    upstream = told.flows.plan.cell[0] & ~told.flows.plan.sold[0]
    assert (told.forecasts.filters[2, 0, upstream] > 0.3).all()
    np.testing.assert_array_equal(alone.forecasts.filters[:2, 0, upstream], [[0.0] * 3, [1.0] * 3])


def test_held_out_records_are_not_learned_from(tmp_path: Path) -> None:
    """What comes after the part that may be learned from changes nothing."""
    data = yaml.safe_load((FOLDER / "beer_game.yaml").read_text())
    rng, filters = np.random.default_rng(0), []
    first = rng.poisson(8, 140)
    for later in (rng.permutation(np.arange(60)), np.full(60, 29.5)):
        file = tmp_path / "record.csv"
        days = np.datetime64("2020-01-01") + np.arange(200)
        rows = [f"{day},beer,{value}" for day, value in zip(days, np.concatenate([first, later]), strict=True)]
        file.write_text("\n".join(["date,series,quantity", *rows]))
        record = {"recorded": {"file": str(file), "series": "beer"}}
        data["nodes"]["retailer"]["sells"]["beer"]["demand"] = record
        network = tmp_path / "recorded.yaml"
        network.write_text(yaml.safe_dump(data))
        env = SupplyChainEnv(SupplyConfig(networks=(str(network),), forecast="learned"), 1)
        filters.append(env.forecasts.filters)
    np.testing.assert_array_equal(*filters)


@pytest.mark.parametrize("method", ["averaged", "learned"])
def test_the_contract_is_kept(going_on: str, method: Any) -> None:
    """States restore, worlds are themselves, whatever the forecast."""
    task = SupplyTask(max_steps=12)
    config = SupplyConfig(networks=(going_on, "serial"), forecast=method, window=5, collaboration=True)
    check_env(lambda worlds, first: SupplyChainEnv(config, worlds, task=task, first_world=first), worlds=3, steps=30)


def test_a_part_that_is_none_is_named() -> None:
    """Nothing can be learned from a part that ends where it begins."""
    with pytest.raises(ValueError, match=r"learned_from: got \[0.5, 0.5\]"):
        SupplyConfig(learned_from=(0.5, 0.5))
