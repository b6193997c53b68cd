"""Books of single accounts against sums done by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs.trading.accounts import BORROW, FEE, IMPACT, LOAN, SPREAD, Accounts, sum_assets
from envs.trading.config import Terms, TradingTask
from envs.trading.exchange import Fills

ALIVE = np.ones((1, 1), np.bool_)


def make(assets: int = 2, balance: float = 1000.0, **task: Any) -> tuple[Accounts, Terms]:
    """One account in one world, and its terms."""
    terms = Terms(1, assets)
    terms.set([0], [TradingTask(**task)])
    return Accounts(1, assets, np.array([balance]), maintenance_margin=0.25, bankruptcy_level=0.05), terms


def column(*values: float) -> np.ndarray:
    """Values by asset, `[N, 1]`."""
    return np.array(values, np.float64)[:, None]


def fill(shares: tuple[float, ...], reference: tuple[float, ...], price: tuple[float, ...], spread: float) -> Fills:
    """Fills of one agent."""
    bought = column(*shares)[:, :, None]
    one = np.ones((len(shares), 1))
    return Fills(bought, np.abs(bought), column(*reference), column(*price), spread * one, one, bought.sum(axis=2))


def test_a_purchase_and_a_sale_are_booked_by_kind() -> None:
    """Fee on the value at the price got, spread on the size, impact against the reference; cash pays it all."""
    accounts, terms = make(transaction_cost=0.001)
    accounts.settle(fill((5.0, -2.0), (10.0, 100.0), (10.2, 99.0), 0.05), terms)
    traded = 5 * (10.2 + 0.05) + 2 * (99.0 - 0.05)
    np.testing.assert_allclose(accounts.traded, traded, rtol=1e-14)
    np.testing.assert_allclose(accounts.costs[FEE], 0.001 * traded, rtol=1e-14)
    np.testing.assert_allclose(accounts.costs[SPREAD], 7 * 0.05, rtol=1e-14)
    np.testing.assert_allclose(accounts.costs[IMPACT], 5 * 0.2 + 2 * 1.0, rtol=1e-12)
    np.testing.assert_allclose(
        accounts.cash, 1000 - 5 * 10.25 + 2 * 98.95 - 0.001 * traded, rtol=1e-14
    )  # what a bank statement would say
    np.testing.assert_array_equal(accounts.shares[:, 0, 0], [5.0, -2.0])


def test_a_short_position_pays_the_borrow_fee() -> None:
    """A day's fee on the value borrowed at the close; long positions and positive cash pay and earn nothing."""
    accounts, terms = make(borrow_fee=0.10, loan_rate=0.05)
    accounts.settle(fill((5.0, -2.0), (10.0, 100.0), (10.0, 100.0), 0.0), terms)
    accounts.mark(column(12.0, 90.0), ALIVE, terms)
    np.testing.assert_allclose(accounts.costs[BORROW], 180.0 * 0.10 / 252, rtol=1e-12)
    np.testing.assert_array_equal(accounts.costs[LOAN], 0.0)
    np.testing.assert_allclose(accounts.net, 60 - 180)
    np.testing.assert_allclose(accounts.gross, 60 + 180)
    np.testing.assert_allclose(accounts.equity, accounts.cash + 60 - 180)


def test_negative_cash_pays_the_loan_rate() -> None:
    """Bought on credit: a day's interest on what cash is short of; nobody is charged once its account is closed."""
    accounts, terms = make(borrow_fee=0.10, loan_rate=0.05, transaction_cost=0.0)
    accounts.settle(fill((15.0, 0.0), (100.0, 1.0), (100.0, 1.0), 0.0), terms)
    accounts.mark(column(100.0, 1.0), ALIVE, terms)
    np.testing.assert_allclose(accounts.costs[LOAN], 500 * 0.05 / 252, rtol=1e-12)
    np.testing.assert_array_equal(accounts.costs[BORROW], 0.0)
    accounts.mark(column(100.0, 1.0), ~ALIVE, terms)
    np.testing.assert_array_equal(accounts.costs[LOAN], 0.0)


@pytest.mark.parametrize(("close", "called"), [(45.0, False), (44.0, True)])
def test_a_margin_is_called_below_the_maintenance_level(close: float, called: bool) -> None:
    """15 shares bought at 100 with 1000 of equity: equity is a quarter of the position at 44.44."""
    accounts, terms = make(loan_rate=0.0, transaction_cost=0.0)
    accounts.settle(fill((15.0, 0.0), (100.0, 1.0), (100.0, 1.0), 0.0), terms)
    accounts.mark(column(close, 1.0), ALIVE, terms)
    assert not accounts.supervise(ALIVE, column(0.0, 0.0), terms).any()
    assert accounts.called[0, 0] == called


def test_a_bankrupt_account_is_closed_at_a_cost() -> None:
    """Shares go at the close less half-spread and fee; what is missing stays as negative cash and earns no more."""
    accounts, terms = make(loan_rate=0.0, transaction_cost=0.01)
    accounts.cash[:] = -500.0
    accounts.shares[:, 0, 0] = 15.0, 0.0
    accounts.mark(column(30.0, 1.0), ALIVE, terms)
    assert accounts.supervise(ALIVE, column(0.002, 0.002), terms).all()
    np.testing.assert_allclose(accounts.equity, -500 + 450 * (1 - 0.002 - 0.01))
    np.testing.assert_allclose(accounts.costs[SPREAD], 0.9)
    np.testing.assert_allclose(accounts.costs[FEE], 4.5)
    assert not accounts.shares.any()
    assert not accounts.called.any()
    accounts.mark(column(1000.0, 1.0), ~ALIVE, terms)
    np.testing.assert_allclose(accounts.equity, -50 - 5.4)


def test_sums_over_assets_do_not_depend_on_the_shape() -> None:
    """Fifteen assets of one agent in one world add up to the same bits as within a larger array."""
    values = np.random.default_rng(0).normal(size=(15, 5, 3))
    whole = sum_assets(values, np.empty((5, 3)))
    part = sum_assets(np.ascontiguousarray(values[:, 2:3, 1:2]), np.empty((1, 1)))
    np.testing.assert_array_equal(part[0, 0], whole[2, 1])
    np.testing.assert_allclose(whole, values.sum(axis=0), rtol=1e-12)
