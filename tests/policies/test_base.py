"""Tests of the random policy, which every policy is measured with."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from envs.base import Observation, check_actions
from envs.cue import CueConfig, CueEnv, CueTask
from policies.base import RandomPolicy

GROUP = CueEnv.GROUP


def _bound(mode: str, worlds: int = 400, entities: int = 2) -> tuple[CueEnv, RandomPolicy, Observation]:
    env = CueEnv(CueConfig.model_validate({"action_mode": mode}), worlds, task=CueTask(entities=entities))
    policy = RandomPolicy()
    policy.bind(env)
    return env, policy, env.reset(0)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_random_actions_are_valid(mode: str) -> None:
    """What is drawn is what `step` takes."""
    env, policy, seen = _bound(mode)
    actions, state = policy.act(seen, None, deterministic=False, rng=np.random.default_rng(0))
    check_actions(env.groups[GROUP], actions[GROUP], env.num_worlds)
    assert state is None


def test_choices_are_uniform_over_what_is_allowed() -> None:
    """A chi-square test finds every choice equally likely; where one choice is left, it is taken."""
    _, policy, seen = _bound("discrete")
    drawn = policy.act(seen, None, deterministic=False, rng=np.random.default_rng(1))[0][GROUP]
    counts = np.bincount(drawn[:, :, :2].ravel(), minlength=4)
    assert stats.chisquare(counts).pvalue > 1e-4
    assert not drawn[:, :, 2].any()


def test_a_mask_rules_out_single_choices() -> None:
    """A choice that is masked is never drawn, and the others stay equally likely."""
    _, policy, seen = _bound("discrete")
    seen.action_masks[GROUP][:, :, 1] = False
    drawn = policy.act(seen, None, deterministic=False, rng=np.random.default_rng(2))[0][GROUP]
    counts = np.bincount(drawn[:, :, 0].ravel(), minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]]).pvalue > 1e-4


def test_dimensions_are_uniform_and_zero_where_masked() -> None:
    """A Kolmogorov-Smirnov test finds allowed dimensions uniform on [-1, 1]; masked ones are exactly zero."""
    _, policy, seen = _bound("continuous")
    drawn = policy.act(seen, None, deterministic=False, rng=np.random.default_rng(3))[0][GROUP]
    assert stats.kstest(drawn[:, :, :2].ravel(), stats.uniform(-1, 2).cdf).pvalue > 1e-4
    assert not drawn[:, :, 2].any()


def test_the_generator_decides() -> None:
    """Equal generators give equal actions, others do not."""
    _, policy, seen = _bound("continuous")
    draws = [
        policy.act(seen, None, deterministic=False, rng=np.random.default_rng(seed))[0][GROUP] for seed in (4, 4, 5)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
