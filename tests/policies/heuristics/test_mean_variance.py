"""The solver behind the regime oracle, against closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import minimize

from policies.heuristics.mean_variance import FactorCovariance, best_portfolio, project_to_ball

FREE = np.zeros((1, 1))


def random_covariance(rng: np.random.Generator, worlds: int, assets: int) -> FactorCovariance:
    """Daily covariances like those of stocks."""
    factor = 0.01 * (1 + 0.3 * rng.standard_normal((worlds, assets)))
    return FactorCovariance((factor, 0.3 * factor[::-1]), 2e-4 * rng.uniform(0.5, 2, (worlds, assets)))


def dense(covariance: FactorCovariance, world: int) -> NDArray[np.float64]:
    """One world's covariance as a matrix."""
    matrix = np.diag(covariance.own[world])
    for factor in covariance.factors:
        matrix = matrix + np.outer(factor[world], factor[world])
    return matrix


def test_factor_covariance_is_the_matrix_it_stands_for() -> None:
    """Products, variances and the eigenvalue bound agree with the dense matrix."""
    rng = np.random.default_rng(1)
    covariance, weights = random_covariance(rng, 5, 6), rng.standard_normal((5, 6))
    for world in range(5):
        matrix = dense(covariance, world)
        np.testing.assert_allclose(covariance.times(weights)[world], matrix @ weights[world])
        np.testing.assert_allclose(covariance.variance(weights)[world], weights[world] @ matrix @ weights[world])
        assert covariance.bound()[world, 0] >= np.linalg.eigvalsh(matrix)[-1]


@settings(max_examples=100, deadline=None)
@given(point=arrays(np.float64, (3, 5), elements=st.floats(-5, 5)), radius=st.floats(0.1, 4))
def test_projection_is_the_nearest_point_of_the_ball(point: NDArray[np.float64], radius: float) -> None:
    """The result lies in the ball, is the point itself if that does, and no direction in the ball is nearer."""
    found = project_to_ball(point, radius)
    assert (np.abs(found).sum(axis=1) <= radius + 1e-9).all()
    inside = np.abs(point).sum(axis=1) <= radius
    np.testing.assert_allclose(found[inside], point[inside], atol=1e-12)
    # Optimality over a convex set: (point - found) · (corner - found) <= 0 for every corner of the ball.
    for corner in (*(radius * np.eye(5)), *(-radius * np.eye(5))):
        assert (((point - found) * (corner - found)).sum(axis=1) <= 1e-8).all()


def test_without_a_binding_limit_it_is_the_kelly_portfolio() -> None:
    """Where the limit does not bind, the weights are the inverse covariance times the drift."""
    rng = np.random.default_rng(2)
    covariance = random_covariance(rng, 4, 3)
    drift = 1e-4 * rng.standard_normal((4, 3))
    weights = best_portfolio(drift, covariance, 100.0, short_fee=FREE)
    for world in range(4):
        np.testing.assert_allclose(weights[world], np.linalg.solve(dense(covariance, world), drift[world]), atol=2e-3)


@pytest.mark.parametrize("allow_short", [True, False])
def test_under_a_limit_it_agrees_with_scipy(allow_short: bool) -> None:
    """Utility matches that of a general solver, with a gross limit, a short fee, and with or without shorts."""
    rng = np.random.default_rng(3)
    assets, fee, limit = 6, 2e-5, 1.0
    covariance = random_covariance(rng, 5, assets)
    drift = 1e-3 * rng.standard_normal((5, assets))
    weights = best_portfolio(drift, covariance, limit, short_fee=np.full((1, 1), fee), allow_short=allow_short)
    assert (np.abs(weights).sum(axis=1) <= limit + 1e-9).all()
    assert allow_short or (weights >= 0).all()
    for world in range(5):
        matrix = dense(covariance, world)

        def loss(parts: NDArray[np.float64], world: int = world, matrix: NDArray[np.float64] = matrix) -> float:
            long, short = parts[:assets], parts[assets:]
            held = long - short
            return float(-(drift[world] @ held) + fee * short.sum() + 0.5 * held @ matrix @ held) * 1e4

        solved = minimize(  # type: ignore[call-overload]
            loss,
            np.full(2 * assets, 0.01),
            method="SLSQP",
            bounds=[(0, None)] * assets + [(0, None if allow_short else 0)] * assets,
            constraints={"type": "ineq", "fun": lambda parts: limit - parts.sum()},
            options={"ftol": 1e-12, "maxiter": 500},
        )
        mine = loss(np.concatenate([np.maximum(weights[world], 0), np.maximum(-weights[world], 0)]))
        assert mine <= solved.fun + 1e-3 * abs(solved.fun)
