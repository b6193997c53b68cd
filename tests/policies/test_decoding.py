"""Decoding in NumPy against torch's distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete

from algorithms.networks import distributions
from policies.decoding import MASKED_LOGIT, env_actions, greedy, inputs_size, log_prob, sample

BOX = Box(-1, 1, (3,), np.float32)
EQUAL = MultiDiscrete([4, 4])
UNEQUAL = MultiDiscrete([2, 5, 3])
SPACES = [BOX, EQUAL, UNEQUAL]


def inputs(space: Box | MultiDiscrete, rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, inputs_size(space))).astype(np.float32)


@pytest.mark.parametrize("space", SPACES)
def test_it_is_what_the_learners_use(space: Box | MultiDiscrete) -> None:
    """Most likely actions and likelihoods are those of the distributions the learners use."""
    given = inputs(space, 200)
    drawn = sample(given, space, np.random.default_rng(1))
    wanted = torch.from_numpy(given)
    np.testing.assert_array_equal(greedy(given, space), distributions.deterministic(wanted, space).numpy())
    expected = distributions.log_prob(wanted, torch.from_numpy(drawn), space).numpy()
    found = log_prob(given, drawn, space)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32
    assert inputs_size(space) == distributions.distribution_class(space).required_input_dim(space)


def test_the_mask_is_the_same_in_both() -> None:
    """Networks and decoding mean the same logit by masked."""
    assert MASKED_LOGIT == distributions.MASKED_LOGIT


@pytest.mark.parametrize("space", SPACES)
def test_any_leading_axes(space: Box | MultiDiscrete) -> None:
    """Worlds and agents may stay apart; no rows at all are fine."""
    given = inputs(space, 6)
    flat, folded = greedy(given, space), greedy(given.reshape(2, 3, -1), space)
    np.testing.assert_array_equal(folded, flat.reshape(2, 3, -1))
    np.testing.assert_array_equal(
        log_prob(given.reshape(2, 3, -1), folded, space).ravel(), log_prob(given, flat, space)
    )
    assert sample(given[:0], space, np.random.default_rng(0)).shape == (0, space.shape[0])


def test_gaussian_samples_have_its_moments() -> None:
    """Continuous samples have the mean and the deviation that were asked for, in float32."""
    given = np.tile(np.float32([0.5, -1.0, 2.0, 0.0, -1.0, 0.5]), (40_000, 1))
    drawn = sample(given, BOX, np.random.default_rng(0))
    np.testing.assert_allclose(drawn.mean(0), [0.5, -1.0, 2.0], atol=0.03)
    np.testing.assert_allclose(drawn.std(0), np.exp([0.0, -1.0, 0.5]), atol=0.03)
    assert drawn.dtype == np.float32


@pytest.mark.parametrize("space", [EQUAL, UNEQUAL])
def test_choices_come_as_often_as_they_should(space: MultiDiscrete) -> None:
    """Discrete samples follow the softmax of their branch, and a masked choice is never drawn."""
    given = inputs(space, 1)
    given[0, 1] = MASKED_LOGIT
    drawn = sample(np.tile(given, (40_000, 1)), space, np.random.default_rng(0))
    for k, logits in enumerate(np.split(given[0].astype(np.float64), np.cumsum(space.nvec)[:-1])):
        expected = np.exp(logits - logits.max())
        expected /= expected.sum()
        found = np.bincount(drawn[:, k], minlength=len(logits)) / len(drawn)
        np.testing.assert_allclose(found, expected, atol=0.012)
    assert not (drawn[:, 0] == 1).any()


def test_what_the_env_takes() -> None:
    """Continuous actions are clipped and masked, discrete ones are int64; nothing given is changed."""
    raw = np.float32([[2.0, -3.0, 0.5]])
    taken = env_actions(raw, BOX, np.array([[True, False, True]]))
    np.testing.assert_array_equal(taken, np.float32([[1.0, 0.0, 0.5]]))
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(raw, np.float32([[2.0, -3.0, 0.5]]))
    assert env_actions(np.array([[1, 2]], np.int32), EQUAL).dtype == np.int64
