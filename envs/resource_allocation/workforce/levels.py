"""How busy a day is, learned from the calls that have come: the exact posterior, and the rule that draws it.

Calls of skill `s` are Poisson with mean `g x_s e_s`, where `e_s` is what a day of level 1 brings, `g` what all skills
share and `x_s` the skill's own, both gamma distributed with mean 1. Given `g` the skills are independent and conjugate:
`x_s` is gamma with shape `k + n_s` and rate `k + g e_s` (`k = 1 / cv^2`), and `n_s` negative binomial; so `g`, a single
number, is integrated on a grid (Gelman et al. 2013, "Bayesian data analysis", section 2.6).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import gammainccinv

from envs.resource_allocation.workforce.plan import Bools, Floats

CERTAIN = 1e-3
"""Coefficients of variation below count as this much: as good as none."""
NODES = 41
"""Points of the grid."""
REACH = 4.0
"""How far beyond the middle of the prior the grid goes, in quantiles of a standard normal."""


def posterior(counts: Any, exposure: Floats, common: Floats, own: Floats, who: Bools) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each skill's level, `[B, S]` each.

    Args:
        counts: Calls that have come, `[B, S]`.
        exposure: Calls that a day of level 1 would have brought by now, `[B, S]`.
        common: Coefficient of variation of what all share, `[B]`.
        own: Of each skill's own, `[B]`.
        who: Which skills there are, `[B, S]`.
    """
    grid, weight = _grid(np.maximum(common, CERTAIN))
    shape = 1.0 / np.maximum(own, CERTAIN)[:, None, None] ** 2
    number = np.where(who, counts, 0)[..., None]
    mean = np.where(who, exposure, 0.0)[..., None] * grid[:, None]
    seen = number * np.log(grid)[:, None] - (number + shape) * np.log1p(mean / shape)
    logs = weight + seen.sum(axis=1)
    chance = np.exp(logs - logs.max(axis=1, keepdims=True))
    chance = (chance / chance.sum(axis=1, keepdims=True))[:, None]
    level = grid[:, None] * (shape + number) / (shape + mean)
    spread = level * level / (shape + number)
    middle = (chance * level).sum(axis=2)
    variance = (chance * (spread + (level - middle[..., None]) ** 2)).sum(axis=2)
    return middle, np.sqrt(variance)


def _grid(cv: Floats) -> tuple[Floats, Floats]:
    """Points between far quantiles of a gamma with mean 1, `[B, N]`, and the logarithm of its density there.

    Quantiles are those of Wilson and Hilferty (1931), which need no root finding.
    """
    ninth = (cv**2 / 9)[:, None]
    place = np.linspace(-REACH, REACH, NODES)
    root = np.asarray(np.maximum(1 - ninth + place * np.sqrt(ninth), 0.02), np.float64)
    points = np.asarray(root * root * root, np.float64)
    shape = 1.0 / (cv**2)[:, None]
    # Points are even in the quantile, so their density is that of the gamma times the quantile's slope.
    return points, (shape - 1) * np.log(points) - shape * (points - 1) + 2 * np.log(root)


def quantile(cv: float, luck: Floats) -> Floats:
    """Levels with mean 1 and a coefficient of variation, from numbers evenly spread between 0 and 1."""
    if cv <= 0:
        return np.ones_like(luck)
    shape = 1.0 / cv**2
    return np.asarray(gammainccinv(shape, 1.0 - luck) / shape, np.float64)
