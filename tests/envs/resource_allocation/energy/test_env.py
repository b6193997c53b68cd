"""Tests of the energy env: the contract, where energy and money go, whom rewards credit, and markets' closed forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.contract import check_env
from envs.resource_allocation.energy import EnergyConfig, EnergyEnv, EnergyTask, GridError, load_grid
from envs.resource_allocation.energy.env import GROUP
from envs.resource_allocation.energy.merit import Curve

WRONG: dict[str, Any] = {"outages": 3.0, "renewables": 3.0, "uncertainty": 1.5, "carbon_price": 0.03}


def make(worlds: int = 1, first: int = 0, task: Any = None, **config: Any) -> EnergyEnv:
    """Worlds."""
    return EnergyEnv(EnergyConfig(**config), worlds, task=task, first_world=first)


def acting(env: EnergyEnv, rng: np.random.Generator) -> Any:
    """Anything, the extremes above all."""
    shape = (env.num_worlds, env.size.batteries, 1)
    return {GROUP: rng.choice([-1.0, 1.0, 0.4, -0.2], shape).astype(np.float32)}


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_it_keeps_the_contract(mode: str) -> None:
    """Whatever fails, on two grids, with fewer batteries than there is room for."""
    task = EnergyTask(max_steps=11, batteries=4, **WRONG)
    grids = ("island", "three_units")
    check_env(lambda worlds, first: make(worlds, first, task, batteries=5, action_mode=mode, grids=grids, horizon=6),
              worlds=3, steps=25)  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.7, 1.6), st.floats(0.5, 4.0))
def test_batteries_cause_no_lost_load_and_credits_add_up(seed: int, demand: float, size: float) -> None:
    """All that is saved is credited, what is stored stays within limits, and no more load is lost than without."""
    env = make(4, task=EnergyTask(max_steps=16, demand=demand, size=size, **WRONG), batteries=6)
    env.reset(seed)
    rng, credited, earned = np.random.default_rng(seed), np.zeros(4), np.zeros((4, 6))
    for step in range(15):
        future, before = env.future, env.accounts.shed.copy()
        curve = Curve.of(env.plan, future.running[:, step + 1])
        without = curve.at((future.demand - future.given)[:, step, None])
        paid = env.step(acting(env, rng))
        assert (env.accounts.shed - before <= without.shed[:, 0] + 1e-9).all()
        assert (env.batteries.stored >= 0).all()
        assert (env.batteries.stored <= env.batteries.energy).all()
        credited += paid.objectives[GROUP][..., 0].sum(axis=1) * env.money
        earned += paid.objectives[GROUP][..., 1] * env.money[:, None]
    np.testing.assert_allclose(credited, env.accounts.saved, rtol=1e-5, atol=1e-4 * env.money.max())
    np.testing.assert_allclose(earned, env.accounts.earned, rtol=1e-4, atol=1e-3 * env.money.max())


def with_grid(folder: Path, grid: dict[str, Any], batteries: int) -> EnergyConfig:
    """A run on a grid of one's own."""
    path = folder / "own.yaml"
    path.write_text(json.dumps({"name": "own", **grid}))
    return EnergyConfig(grids=(str(path),), batteries=batteries)


def test_what_is_stored_counts_what_it_costs_to_hold(tmp_path: Path) -> None:
    """To buy and sell at the mean price earns the losses and nothing else: the end of an episode is worth no sale."""
    flat = {"load": {"level": 50}, "generators": {"u": {"capacity": 100, "linear": 40}},
            "batteries": {"b": {"power": 1, "energy": 8, "charging": 0.8, "discharging": 0.9, "wear": 3}}}  # fmt: skip
    env = EnergyEnv(with_grid(tmp_path, flat, 1), 1, task=EnergyTask(max_steps=8))
    env.reset(0)
    assert env.batteries.worth[0, 0] == pytest.approx(0.9 * (40 - 3))
    sold = env.step({GROUP: -np.ones((1, 1, 1), np.float32)})
    assert sold.rewards[GROUP][0, 0] == pytest.approx(0.0, abs=1e-6)
    bought = env.step({GROUP: np.ones((1, 1, 1), np.float32)})
    assert bought.rewards[GROUP][0, 0] * env.money[0] == pytest.approx(0.8 * 0.9 * 37 - 40, rel=1e-6)


def market(folder: Path, count: int) -> EnergyEnv:
    """Sellers in one dear hour, where the price falls in proportion to what they sell: a Cournot market."""
    line = {"load": {"level": 100, "profile": [0.5, 1.5]},
            "generators": {"u": {"capacity": 1000, "linear": 5, "quadratic": 0.25}},
            "batteries": {"b": {"power": 100, "energy": 1000, "discharging": 0.9, "wear": 2}}}  # fmt: skip
    task = EnergyTask(max_steps=2, charged=1.0, system=0.0, profit=1.0)
    env = EnergyEnv(with_grid(folder, line, count), 24, task=task)
    env.reset(0)
    return env


@pytest.mark.parametrize("count", [1, 3, 20])
def test_rivals_meet_at_cournot(count: int, tmp_path: Path) -> None:
    """No one gains from another quantity than `(p - v) / (s (n + 1))` each, which for many comes near the optimum."""
    env = market(tmp_path, count)
    worlds = np.flatnonzero(env.future.demand[:, 0] > 130)
    dear, slope = 5 + 0.5 * env.future.demand[:, 0], 0.5
    each = np.maximum(dear - env.plan.mean_price, 0.0) / (slope * (count + 1))
    profits = []
    for change in (0.9, 1.0, 1.1):
        env = market(tmp_path, count)
        asked = -np.repeat(each[:, None], count, axis=1)
        asked[:, 0] *= change
        profits.append(env.step(env.actions_for(asked)).rewards[GROUP][worlds, 0])
    assert len(worlds) > 3
    assert (profits[1] > profits[0]).all()
    assert (profits[1] > profits[2]).all()
    optimum = (dear - env.plan.mean_price) / slope
    np.testing.assert_allclose((count * each / optimum)[worlds], count / (count + 1))
    price = env.price[worlds]
    assert (price > env.plan.mean_price[worlds]).all()


def test_a_battery_is_credited_with_what_it_changes() -> None:
    """From one quantity to the next its reward changes by what the system saves, but for the part in `1 / n`."""
    rewards, saved = [], []
    for change in (0.5, 0.6):
        env = make(8, task=EnergyTask(uncertainty=0.0))
        env.reset(1)
        actions = np.full((8, 20, 1), 0.5, np.float32)
        actions[:, 0] = change
        rewards.append(env.step({GROUP: actions}).rewards[GROUP][:, 0] * env.money)
        saved.append(env.accounts.saved.copy())
    own, all_of = rewards[1] - rewards[0], saved[1] - saved[0]
    np.testing.assert_allclose(own, all_of, rtol=0.1, atol=0.02 * np.abs(all_of).max())


def test_nobody_sees_what_is_to_come() -> None:
    """Whatever the rest of the episode holds, this step included, agents see the same, and the outlook is the same."""
    env = make(3, task=EnergyTask(**WRONG), batteries=4)
    env.reset(0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        env.step(acting(env, rng))
    before = env.observe().observations[GROUP].copy()
    future = env.future
    future.demand[:, 5:] *= 2
    future.given[:, 5:] = 0.0
    future.moods[:, 6:] += 1.0
    future.running[:, 6:] = 0.0
    env._outlook = None
    np.testing.assert_array_equal(env.observe().observations[GROUP], before)


def test_observations_count_no_batteries() -> None:
    """Twice as many batteries of half the size see the same."""
    tables = []
    for count, size in ((6, 1.0), (12, 0.5)):
        task = EnergyTask(batteries=count, size=size)
        env = EnergyEnv(EnergyConfig(grids=("three_units",), batteries=12), 3, task=task)
        env.reset(0)
        env.future.start[:] = [0, 7, 15]
        seen = env.step({GROUP: np.full((3, 12, 1), 0.3, np.float32)}).observation.observations[GROUP]
        tables.append(seen[:, :6].copy())
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-5)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"grid": "none"}, r"grid: got 'none', allowed are island"),
        ({"batteries": 21}, r"batteries: got 21, allowed is at most the run's, 20"),
        ({"carbon_price": 3.0}, r"carbon_price: got 3, allowed is below .*, where coal costs more than lost load"),
    ],
)
def test_what_is_not_possible_is_named(task: dict[str, Any], said: str) -> None:
    """One line with the key."""
    with pytest.raises(ValueError, match=said):
        make(task=EnergyTask(**task))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hours": 5}, r"hours: got 5, allowed are lengths that a day is a whole number of"),
        (
            {"lost_load": 9},
            r"generators.unit_1: got a marginal cost of 9.7\d* when full, allowed is below 9, lost_load",
        ),
        ({"generators": {"u": {"capacity": 5, "minimum": 6, "linear": 1}}}, r"minimum: got 6, allowed is at most 5"),
        (
            {"renewables": {"sun": {"capacity": 5, "mean": 0.5, "daylight": [9, 8]}}},
            r"daylight: got \[9.0, 8.0\], allowed is from 0 to 24",
        ),
    ],
)
def test_grids_that_do_not_hang_together_are_refused(change: dict[str, Any], said: str) -> None:
    """One line with the key."""
    with pytest.raises(GridError, match=said):
        load_grid(load_grid("three_units").model_dump() | change)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"grids": ("nowhere",)}, r"grid: got 'nowhere', allowed are island, three_units"),
        ({"grids": ("island", "island")}, r"allowed are grids of different names"),
        ({"levels": 4}, r"levels: got 4, allowed are odd numbers"),
    ],
)
def test_runs_that_cannot_be_are_refused(config: dict[str, Any], said: str) -> None:
    """One line with the key."""
    with pytest.raises(ValueError, match=said):
        EnergyConfig(**config)


def test_a_grid_of_ones_own_is_found_from_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is made absolute for who makes worlds elsewhere; names stay what they are."""
    (tmp_path / "mine.yaml").write_text(json.dumps(load_grid("three_units").model_dump() | {"name": "mine"}))
    monkeypatch.chdir(tmp_path)
    assert EnergyConfig(grids=("island", "mine.yaml")).located() == {"grids": ("island", str(tmp_path / "mine.yaml"))}
    assert EnergyConfig().located() == {}


def test_around_a_plan_nothing_asked_is_the_plan() -> None:
    """An action of 0 is each battery's part of what the fleet would do as one; all powers can still be asked for."""
    env = EnergyEnv(EnergyConfig(around="plan", batteries=6), 4)
    env.reset(3)
    power = env.batteries.power
    for step in range(12):
        zero = {GROUP: np.zeros((4, 6, 1), np.float32)}
        whole = env.fleet().share * power.sum(axis=1)
        own, hours = env.batteries, env.plan.hours
        can = np.where(whole > 0, own.room(hours).sum(axis=1), -own.supply(hours).sum(axis=1))
        possible = np.sign(whole) * np.minimum(np.abs(whole), np.abs(can))
        np.testing.assert_allclose(env.asked(zero).sum(axis=1), possible, atol=1e-9)
        for end in (-1.0, 1.0):
            np.testing.assert_allclose(env.asked({GROUP: np.full((4, 6, 1), end, np.float32)}), end * power, atol=1e-9)
        wanted = np.random.default_rng(step).uniform(-1, 1, (4, 6)) * power
        np.testing.assert_allclose(env.asked(env.actions_for(wanted)), wanted, atol=1e-5)
        env.step(zero)
