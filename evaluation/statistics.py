"""Intervals and tests for scores: what may be claimed from a limited number of episodes or training runs.

General statistics are resampled by `scipy.stats.bootstrap`, means by a matrix product. The interquartile mean over
strata follows Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (NeurIPS 2021).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]
Statistic = Callable[..., Any]


class Interval(BaseModel):
    """An estimate and where the true value lies with the given confidence."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    estimate: float = Field(description="Point estimate.")
    low: float = Field(description="Lower end.")
    high: float = Field(description="Upper end.")

    def __str__(self) -> str:
        return f"{self.estimate:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Difference(BaseModel):
    """How much more one policy earns than another on the same worlds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: Interval = Field(description="Mean of the paired differences.")
    p_value: float = Field(ge=0, le=1, description="Two-sided p-value of no difference.")
    pairs: int = Field(ge=1, description="Number of pairs.")
    better: bool = Field(description="Significantly positive: interval above zero and p-value below alpha.")
    worse: bool = Field(description="Significantly negative.")


def iqm(values: ArrayLike, axis: int | None = None) -> Any:
    """Interquartile mean: the mean of the middle half, robust as a median and efficient as a mean.

    Args:
        values: Numbers.
        axis: Axis to reduce; all of them if None.
    """
    from scipy import stats  # takes a second that every training process would wait

    return stats.trim_mean(np.asarray(values, dtype=np.float64), 0.25, axis=axis)


def mean_interval(values: ArrayLike, *, confidence: float = 0.95, seed: int = 0, resamples: int = 2_000) -> Interval:
    """Mean of independent values with a bootstrap interval; see `mean_intervals`."""
    return mean_intervals(_finite(values)[None], confidence=confidence, seed=seed, resamples=resamples)[0]


def mean_intervals(rows: Floats, *, confidence: float = 0.95, seed: int = 0, resamples: int = 2_000) -> list[Interval]:
    """Means of several figures of the same samples, with bias-corrected and accelerated intervals (Efron 1987).

    `scipy.stats.bootstrap`'s BCa for means only, where a bootstrap sample is a weighting of the values and the
    jackknife has a closed form: one matrix product for all figures, many times faster for a table of them.

    Args:
        rows: Finite values, `[M, E]`.
        confidence: Two-sided confidence.
        seed: Seed of the resampling.
        resamples: Bootstrap samples.
    """
    means = rows.mean(axis=1)
    if rows.shape[1] == 1:  # one sample bounds nothing
        return [Interval(estimate=float(mean), low=-np.inf, high=np.inf) for mean in means]
    samples = rows @ resampling(rows.shape[1], resamples, seed)
    below = (samples < means[:, None]).mean(axis=1) + 0.5 * (samples == means[:, None]).mean(axis=1)
    bias = ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples))
    deviations = rows - means[:, None]
    squares = (deviations**2).sum(axis=1)
    skew = (deviations**3).sum(axis=1) / (6 * np.where(squares > 0, squares, 1.0) ** 1.5)
    found = []
    for row, mean in enumerate(means):
        if squares[row] <= 1e-24 * max(1.0, float(mean) ** 2):  # nothing varies
            found.append(Interval(estimate=float(mean), low=float(mean), high=float(mean)))
            continue
        normal = bias[row] + ndtri([0.5 - confidence / 2, 0.5 + confidence / 2])
        low, high = np.quantile(samples[row], ndtr(bias[row] + normal / (1 - skew[row] * normal)))
        found.append(Interval(estimate=float(mean), low=float(low), high=float(high)))
    return found


@lru_cache(maxsize=8)
def resampling(size: int, resamples: int, seed: int) -> Floats:
    """Weights that turn values into means of their bootstrap samples, `[E, resamples]`; columns sum to 1."""
    drawn = np.random.default_rng(seed).integers(size, size=(resamples, size))
    drawn += size * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * size).reshape(resamples, size)
    return np.ascontiguousarray(counts.T / size)


def seeds_interval(values: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Mean over a few training seeds with Student's t interval: with three to ten runs a bootstrap is too narrow.

    Raises:
        ValueError: If there are no values.
    """
    array = _finite(values)
    mean = float(array.mean())
    if array.size == 1:
        return Interval(estimate=mean, low=-np.inf, high=np.inf)
    from scipy import stats

    margin = float(stats.t.ppf(0.5 + confidence / 2, array.size - 1) * stats.sem(array))
    return Interval(estimate=mean, low=mean - margin, high=mean + margin)


def iqm_interval(
    strata: Sequence[ArrayLike], *, confidence: float = 0.95, seed: int = 0, resamples: int = 2_000
) -> Interval:
    """Interquartile mean over all strata (tasks), resampled within each of them."""
    return stratified_interval(strata, iqm, confidence=confidence, seed=seed, resamples=resamples)


def stratified_interval(
    strata: Sequence[ArrayLike],
    statistic: Statistic = np.mean,
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2_000,
    method: Literal["percentile", "basic", "BCa"] = "percentile",
) -> Interval:
    """A statistic of pooled values with a bootstrap interval that resamples within each stratum.

    Args:
        strata: Independent values of each stratum.
        statistic: Reduces an `axis` of an array.
        confidence: Two-sided confidence.
        seed: Seed of the resampling.
        resamples: Bootstrap samples.
        method: "percentile", "basic" or "BCa".

    Raises:
        ValueError: If a stratum is empty or holds values that are not finite.
    """
    samples = [_finite(values) for values in strata]
    estimate = float(statistic(np.concatenate(samples), axis=0))
    if all(np.ptp(sample) == 0 for sample in samples):  # nothing varies
        return Interval(estimate=estimate, low=estimate, high=estimate)
    if min(sample.size for sample in samples) < 2:
        raise ValueError("values: got a single value in a stratum, allowed are two or more")

    def pooled(*parts: Floats, axis: int = -1) -> Floats:
        return np.asarray(statistic(np.concatenate(parts, axis=axis), axis=axis))

    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            samples,
            pooled,
            n_resamples=resamples,
            confidence_level=confidence,
            method=method,
            vectorized=True,
            rng=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in found.confidence_interval)
    if not np.isfinite([low, high]).all():  # BCa has no answer where leaving one value out changes nothing
        return stratified_interval(strata, statistic, confidence=confidence, seed=seed, resamples=resamples)
    return Interval(estimate=estimate, low=low, high=high)


def score_interval(
    returns: Sequence[ArrayLike],
    naive: Sequence[ArrayLike],
    informed: Sequence[ArrayLike],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = 2_000,
) -> Interval:
    """Mean score over tasks, `(return - naive) / (informed - naive)` of mean returns, on the same worlds.

    Worlds are resampled within each task, all three policies together: what the interval shows includes the
    uncertainty of the yardsticks themselves, and what a world does to all three alike cancels.

    Args:
        returns: The policy's returns by task, `[E]` each, in the order of the worlds.
        naive: The naive policy's on the same worlds.
        informed: The informed policy's on the same worlds.
        confidence: Two-sided confidence.
        seed: Seed of the resampling.
        resamples: Bootstrap samples.

    Raises:
        ValueError: If the informed policy does not beat the naive one on a task.
    """
    total, estimate = np.zeros(resamples), 0.0
    for task in range(len(returns)):
        rows = np.stack([_finite(returns[task]), _finite(naive[task]), _finite(informed[task])])
        if not rows[2].mean() > rows[1].mean():
            raise ValueError(f"score: informed {rows[2].mean():.6g} does not beat naive {rows[1].mean():.6g}")
        means = rows.mean(axis=1)
        estimate += float(_score(means))
        # Where the yardsticks lie close together a sample's gap can vanish: a tenth of the measured one keeps the
        # interval finite, and wide.
        total += _score(rows @ resampling(rows.shape[1], resamples, seed + task), 0.1 * float(means[2] - means[1]))
    total /= len(returns)
    low, high = np.quantile(total, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(estimate=estimate / len(returns), low=float(low), high=float(high))


def paired_difference(
    first: Sequence[ArrayLike] | ArrayLike,
    second: Sequence[ArrayLike] | ArrayLike,
    *,
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 2_000,
) -> Difference:
    """Mean of `first - second` over the same worlds, with a bootstrap interval and a sign-flip permutation test.

    Args:
        first: One policy's values, `[E]`.
        second: The other's on the same worlds, in the same order.
        alpha: Level of the test and of the interval, `1 - alpha`.
        seed: Seed of the resampling.
        resamples: Bootstrap samples and sign flips.
    """
    gap = _finite(first) - _finite(second)
    if gap.size < 2 or np.ptp(gap) == 0:  # one world says nothing about others; equal gaps need no resampling
        mean = float(gap.mean())
        certain = gap.size >= 2
        interval = Interval(estimate=mean, low=mean if certain else -np.inf, high=mean if certain else np.inf)
        p_value = 1.0 if mean == 0 or not certain else float(2.0 ** (1 - gap.size))
    else:
        interval = mean_interval(gap, confidence=1 - alpha, seed=seed, resamples=resamples)
        p_value = _sign_flip_test(gap, seed, resamples)
    return _difference(interval, p_value, gap.size, alpha)


def strata_interval(
    strata: Sequence[ArrayLike], *, confidence: float = 0.95, seed: int = 0, resamples: int = 2_000
) -> Interval:
    """Mean of the strata's means, each counting the same however many values it has, resampled within each.

    Args:
        strata: Independent values of each stratum.
        confidence: Two-sided confidence.
        seed: Seed of the resampling.
        resamples: Bootstrap samples.
    """
    rows = [_finite(values) for values in strata]
    estimate = float(np.mean([row.mean() for row in rows]))
    if min(row.size for row in rows) < 2:  # one value bounds nothing
        return Interval(estimate=estimate, low=-np.inf, high=np.inf)
    means = np.mean([row @ resampling(row.size, resamples, seed + place) for place, row in enumerate(rows)], axis=0)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high))


def strata_difference(
    first: Sequence[ArrayLike],
    second: Sequence[ArrayLike],
    *,
    alpha: float = 0.05,
    seed: int = 0,
    resamples: int = 2_000,
) -> Difference:
    """As `paired_difference`, over strata that count the same however many worlds each has.

    Args:
        first: One policy's values by stratum, `[E]` each.
        second: The other's on the same worlds, in the same order.
        alpha: Level of the test and of the interval, `1 - alpha`.
        seed: Seed of the resampling.
        resamples: Bootstrap samples and sign flips.
    """
    gaps = [_finite(one) - _finite(other) for one, other in zip(first, second, strict=True)]
    interval = strata_interval(gaps, confidence=1 - alpha, seed=seed, resamples=resamples)
    weighted = np.concatenate([gap / gap.size for gap in gaps])
    return _difference(interval, _sign_flip_test(weighted, seed, resamples), weighted.size, alpha)


def _sign_flip_test(gap: Floats, seed: int, resamples: int) -> float:
    """Two-sided p-value of a sum as large as that of the gaps `[E]`, were their signs a matter of chance."""
    signs = sign_flips(gap.size, resamples, seed)
    extreme = np.abs(gap @ signs) >= abs(gap.sum()) * (1 - 1e-12)
    exact = gap.size < 40 and signs.shape[1] == 2**gap.size
    # Sampled flips count the observed one too (Phipson & Smyth 2010), or p could be 0.
    return float(extreme.mean() if exact else (1 + extreme.sum()) / (1 + extreme.size))


def _difference(interval: Interval, p_value: float, pairs: int, alpha: float) -> Difference:
    """A difference, and what may be claimed of it at a level."""
    return Difference(
        mean=interval,
        p_value=p_value,
        pairs=pairs,
        better=interval.low > 0 and p_value < alpha,
        worse=interval.high < 0 and p_value < alpha,
    )


@lru_cache(maxsize=8)
def sign_flips(size: int, resamples: int, seed: int) -> Floats:
    """Signs of a permutation test of paired differences, `[E, P]`: all of them if they are few, else a sample."""
    if size < 40 and 2**size <= resamples:
        patterns = np.arange(2**size)
        return np.asarray(1.0 - 2.0 * ((patterns[None, :] >> np.arange(size)[:, None]) & 1), dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(0, 2, size=(size, resamples))
    return np.asarray(2.0 * drawn - 1.0, dtype=np.float64)


def significantly_better(first: ArrayLike, second: ArrayLike, *, alpha: float = 0.05, seed: int = 0) -> bool:
    """Whether `first` beats `second` on the same worlds by more than chance explains."""
    return paired_difference(first, second, alpha=alpha, seed=seed).better


def _score(means: Floats, smallest_gap: float = 0.0) -> Floats:
    """Score of mean returns, `[3, …]` (policy, naive, informed), the last two at least `smallest_gap` apart."""
    return np.asarray((means[0] - means[1]) / np.maximum(means[2] - means[1], smallest_gap))


def _finite(values: Any) -> Floats:
    """The values as a flat array; raises ValueError if there are none or some are not finite."""
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f"values: got {'none' if not array.size else 'NaN or infinity'}, allowed are finite numbers")
    return array
