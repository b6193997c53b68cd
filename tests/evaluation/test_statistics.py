"""Intervals and tests, against closed forms and other implementations."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from arch.bootstrap import IIDBootstrap
from scipy import stats

from evaluation.statistics import (
    Interval,
    iqm,
    iqm_interval,
    mean_interval,
    mean_intervals,
    paired_difference,
    score_interval,
    seeds_interval,
    significantly_better,
    strata_difference,
    strata_interval,
    stratified_interval,
)

NORMAL = np.random.default_rng(1).normal(1.0, 2.0, 400)


def test_iqm_drops_the_outer_quarters() -> None:
    """Of 1 … 8 the middle half is 3 … 6; outliers do not move it; by axis it works row by row."""
    assert iqm([1, 2, 3, 4, 5, 6, 7, 8]) == 4.5
    assert iqm([-1e9, 2, 3, 4, 5, 6, 7, 1e9]) == 4.5
    assert iqm([[1, 2, 3, 4], [10, 20, 30, 40]], axis=1) == pytest.approx([2.5, 25])


def test_mean_interval_is_the_normal_one_for_normal_data() -> None:
    """For 400 normal values the bootstrap interval is mean +- 1.96 standard errors, within resampling noise."""
    found = mean_interval(NORMAL, resamples=9_999)
    margin = 1.96 * stats.sem(NORMAL)
    assert found.estimate == pytest.approx(NORMAL.mean())
    assert found.low == pytest.approx(NORMAL.mean() - margin, abs=0.1 * margin)
    assert found.high == pytest.approx(NORMAL.mean() + margin, abs=0.1 * margin)


def test_mean_interval_agrees_with_arch_on_skewed_data() -> None:
    """On lognormal values the interval is arch's own bias-corrected and accelerated one."""
    values = np.random.default_rng(2).lognormal(size=150)
    theirs = IIDBootstrap(values, seed=3).conf_int(np.mean, 5_000, method="bca", size=0.95).ravel()
    ours = mean_interval(values, resamples=5_000)
    width = theirs[1] - theirs[0]
    assert [ours.low, ours.high] == pytest.approx(theirs, abs=0.08 * width)


@pytest.mark.parametrize("values", [NORMAL, np.random.default_rng(9).lognormal(size=80), np.arange(6.0) ** 2])
def test_mean_interval_is_scipys(values: np.ndarray) -> None:
    """The fast path for means gives scipy's bias-corrected and accelerated interval, up to resampling noise."""
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="BCa", rng=1).confidence_interval
    ours = mean_interval(values, resamples=20_000)
    assert [ours.low, ours.high] == pytest.approx(list(theirs), abs=0.03 * (theirs.high - theirs.low))


def test_several_means_are_as_each_alone() -> None:
    """Figures computed together have the intervals they have alone; one that never varies has no width."""
    rows = np.stack([NORMAL, NORMAL**2, np.full(400, 0.1)])
    together = mean_intervals(rows)
    for row, found in zip(rows, together, strict=True):
        alone = mean_interval(row)
        assert (found.estimate, found.low, found.high) == pytest.approx((alone.estimate, alone.low, alone.high))
    assert together[2].low == together[2].high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """Of 200 samples of an exponential, the 90% interval of the mean holds the true mean 82% to 96% of the time."""
    rng = np.random.default_rng(4)
    found = [mean_interval(rng.exponential(size=60), confidence=0.9, seed=n, resamples=400) for n in range(200)]
    assert 0.82 <= np.mean([interval.low <= 1.0 <= interval.high for interval in found]) <= 0.96


def test_stratified_interval_ignores_differences_between_strata() -> None:
    """Strata far apart but each with little spread give a narrow interval, where pooling them gives a wide one."""
    rng = np.random.default_rng(5)
    strata = [rng.normal(centre, 0.1, 50) for centre in (0.0, 10.0)]
    within = stratified_interval(strata)
    pooled = mean_interval(np.concatenate(strata))
    error = np.sqrt(sum(np.var(s, ddof=1) / 50 for s in strata)) / 2
    assert within.high - within.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert pooled.high - pooled.low > 30 * (within.high - within.low)


def test_iqm_interval_holds_the_iqm_of_all_values() -> None:
    """The estimate pools all strata; one wild value in each hardly moves the interval."""
    rng = np.random.default_rng(6)
    strata = [rng.normal(size=40) for _ in range(3)]
    calm = iqm_interval(strata)
    assert calm.estimate == pytest.approx(stats.trim_mean(np.concatenate(strata), 0.25))
    wild = iqm_interval([np.append(values, 1e6) for values in strata])
    assert wild.high < calm.high + 0.2


def test_seeds_interval_is_students() -> None:
    """Three training seeds: mean +- 4.303 standard errors; one seed: anything is possible."""
    found = seeds_interval([1.0, 2.0, 3.0])
    assert (found.low, found.high) == pytest.approx((2 - 4.303 / np.sqrt(3), 2 + 4.303 / np.sqrt(3)), abs=1e-3)
    assert seeds_interval([1.0]) == Interval(estimate=1.0, low=-np.inf, high=np.inf)


def test_score_interval_is_the_delta_methods() -> None:
    """With constant yardsticks 0 and 2 the interval is half that of the mean return."""
    score = score_interval([NORMAL], [np.zeros(400)], [np.full(400, 2.0)], resamples=9_999)
    plain = mean_interval(NORMAL, resamples=9_999)
    assert score.estimate == pytest.approx(NORMAL.mean() / 2)
    assert (score.low, score.high) == pytest.approx((plain.low / 2, plain.high / 2), abs=0.01)


def test_score_interval_pairs_worlds() -> None:
    """A policy that earns exactly half of what the oracle does scores 0.5 with no doubt, however noisy the worlds."""
    informed = NORMAL + 3
    found = score_interval([0.5 * informed], [np.zeros(400)], [informed])
    assert (found.low, found.estimate, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_score_interval_weighs_tasks_alike() -> None:
    """Scores 1 and 0 on two tasks of very different scale make 0.5; informed must beat naive on each."""
    small, large = np.array([1.0, 1.1, 0.9]), np.array([1000.0, 1001.0, 999.0])
    found = score_interval([small, 0 * large], [0 * small, 0 * large], [small, large])
    assert found.estimate == pytest.approx(0.5)
    with pytest.raises(ValueError, match="informed 0 does not beat naive 1"):
        score_interval([small], [np.ones(3)], [np.zeros(3)])


def test_paired_difference_sees_what_an_unpaired_test_cannot() -> None:
    """A steady gain of 0.1 under noise of 2 is significant in pairs, and not between independent samples."""
    noise = np.random.default_rng(7).normal(0, 0.1, 400)
    better = NORMAL + 0.1 + noise
    found = paired_difference(better, NORMAL)
    assert found.better
    assert not found.worse
    assert found.p_value < 0.01
    margin = 1.96 * stats.sem(better - NORMAL)
    assert (found.mean.low, found.mean.high) == pytest.approx(
        (0.1 + noise.mean() - margin, 0.1 + noise.mean() + margin), abs=0.1 * margin
    )
    assert stats.ttest_ind(better, NORMAL).pvalue > 0.1
    assert paired_difference(NORMAL, better).worse
    assert significantly_better(better, NORMAL)
    assert not significantly_better(NORMAL, better)


def test_p_value_is_exact_for_few_pairs() -> None:
    """With six positive differences only two of the 64 sign patterns are as extreme: p = 2/64."""
    assert paired_difference([1, 2, 3, 4, 5, 6.5], np.zeros(6)).p_value == pytest.approx(2 / 64)


def test_p_value_is_scipys() -> None:
    """With many pairs the sampled sign-flip test agrees with scipy's permutation test."""
    gap = np.random.default_rng(10).normal(0.2, 1, 60)
    theirs = stats.permutation_test(
        (gap, np.zeros(60)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=9_999, rng=1
    )
    assert paired_difference(gap, np.zeros(60), resamples=9_999).p_value == pytest.approx(theirs.pvalue, abs=0.015)


def test_thousands_of_pairs_are_no_trouble() -> None:
    """A long record is tested by sampling, where counting all sign patterns would overflow."""
    gap = np.random.default_rng(11).normal(0.1, 1, 3_000)
    assert paired_difference(gap, np.zeros(3_000), resamples=500).better


def test_p_values_are_uniform_without_a_difference() -> None:
    """Between equal policies about one test in twenty is significant: the level holds."""
    rng = np.random.default_rng(8)
    found = [paired_difference(rng.normal(size=40), rng.normal(size=40), seed=n, resamples=400) for n in range(200)]
    assert 2 <= sum(test.p_value < 0.05 for test in found) <= 20


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_equal_differences_need_no_resampling(value: float) -> None:
    """Equal values in all pairs give an interval without width; one pair alone proves nothing."""
    found = paired_difference(np.full(10, value), np.zeros(10))
    assert (found.mean.low, found.mean.high) == (value, value)
    assert found.better == (value > 0)
    assert not paired_difference([5.0], [0.0]).better


def test_infinite_ends_survive_json() -> None:
    """An interval without bounds can be written as JSON and read again."""
    interval = seeds_interval([1.0])
    assert Interval.model_validate_json(interval.model_dump_json()) == interval


def test_values_that_are_no_evidence_are_refused() -> None:
    """No values, NaN, and a stratum of one value raise errors that say so."""
    with pytest.raises(ValueError, match="values: got none"):
        mean_interval([])
    with pytest.raises(ValueError, match="values: got NaN or infinity"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match="allowed are two or more"):
        stratified_interval([[1.0, 2.0], [3.0]])


def test_training_does_not_wait_for_statistics() -> None:
    """What a training process needs of this module is there without `scipy.stats`, which takes long to import."""
    script = "import sys, evaluation.statistics; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_strata_count_the_same_and_are_resampled_apart() -> None:
    """A long stratum does not outweigh a short one; what lies between strata widens nothing; one value bounds none."""
    rng = np.random.default_rng(0)
    strata = [rng.normal(0.0, 0.1, 400), rng.normal(10.0, 0.1, 20)]
    found = strata_interval(strata)
    assert found.estimate == pytest.approx(np.mean([stratum.mean() for stratum in strata]))
    assert found.high - found.low < 0.1
    assert np.isinf(strata_interval([[1.0], [2.0, 3.0]]).low)
    shifted = strata_difference([stratum + 0.1 for stratum in strata], [stratum[::-1] for stratum in strata])
    assert shifted.mean.estimate == pytest.approx(0.1)
    assert (shifted.better, shifted.pairs) == (True, 420)
    assert not strata_difference(strata, strata).better
