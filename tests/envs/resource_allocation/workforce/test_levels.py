"""Tests of how a day's level is learned: conjugate cases in closed form, and the general one by brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma, poisson

from envs.resource_allocation.workforce.levels import posterior, quantile

ALL = np.ones((1, 3), np.bool_)


def test_skills_alone_are_conjugate() -> None:
    """Without anything in common each is gamma with shape `k + n` and rate `k + e`."""
    counts, exposure = np.array([[30, 0, 80]]), np.array([[20.0, 5.0, 100.0]])
    mean, deviation = posterior(counts, exposure, np.zeros(1), np.array([0.25]), ALL)
    np.testing.assert_allclose(mean, (16 + counts) / (16 + exposure), rtol=1e-3)
    np.testing.assert_allclose(deviation, np.sqrt(16 + counts) / (16 + exposure), rtol=1e-2)


def test_what_is_common_is_learned_from_all() -> None:
    """Without anything of their own all skills have one level, learned from the sum of their calls."""
    counts, exposure = np.array([[30, 12, 80]]), np.array([[20.0, 10.0, 60.0]])
    mean, deviation = posterior(counts, exposure, np.array([0.25]), np.zeros(1), ALL)
    np.testing.assert_allclose(mean, np.full((1, 3), (16 + 122) / (16 + 90)), rtol=1e-3)
    np.testing.assert_allclose(deviation, np.full((1, 3), np.sqrt(16 + 122) / (16 + 90)), rtol=1e-2)


def test_both_together_are_what_brute_force_finds() -> None:
    """A grid over the common level and each skill's own, of the model as stated; a skill that is not is left out."""
    counts, exposure = np.array([[30, 4, 99]]), np.array([[20.0, 6.0, 1.0]])
    who = np.array([[True, True, False]])
    mean, deviation = posterior(counts, exposure, np.array([0.3]), np.array([0.2]), who)
    g, x, y = np.meshgrid(
        np.linspace(0.2, 2.8, 100), np.linspace(0.2, 2.4, 70), np.linspace(0.2, 2.4, 70), indexing="ij"
    )
    common, own = gamma(1 / 0.09, scale=0.09), gamma(25, scale=1 / 25)
    chance = common.pdf(g) * own.pdf(x) * own.pdf(y) * poisson.pmf(30, 20 * g * x) * poisson.pmf(4, 6 * g * y)
    chance /= chance.sum()
    for skill, level in ((0, g * x), (1, g * y)):
        middle = (chance * level).sum()
        assert mean[0, skill] == pytest.approx(middle, rel=2e-3)
        assert deviation[0, skill] == pytest.approx(np.sqrt((chance * (level - middle) ** 2).sum()), rel=2e-2)


def test_before_the_first_call_it_is_the_prior() -> None:
    """Mean 1, and the product's coefficient of variation."""
    none = np.zeros((1, 3))
    mean, deviation = posterior(none, none, np.array([0.3]), np.array([0.2]), ALL)
    np.testing.assert_allclose(mean, 1.0, rtol=2e-3)
    np.testing.assert_allclose(deviation, np.sqrt(1.09 * 1.04 - 1), rtol=2e-2)


def test_levels_are_drawn_with_mean_one() -> None:
    """From evenly spread numbers, gamma quantiles of the coefficient of variation asked for."""
    luck = (np.arange(20_000) + 0.5) / 20_000
    drawn = quantile(0.25, luck)
    assert (drawn.mean(), drawn.std()) == (pytest.approx(1.0, rel=1e-3), pytest.approx(0.25, rel=1e-2))
    np.testing.assert_allclose(drawn[::1000], gamma(16, scale=1 / 16).ppf(luck[::1000]), rtol=1e-8)
    assert (quantile(0.0, luck) == 1).all()
