"""Tests of generalised advantage estimation against closed forms and a naive implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.gae import advantages, advantages_of_turns, explained_variance, standardised, successor_values

GAMMA = 0.9


def one_agent(rewards, values, following, terminated=None, ended=None, gamma=GAMMA, lambda_=1.0):
    """Estimates for one agent in one world, as plain lists of the steps."""
    column = [np.asarray(array, np.float32)[:, None, None] for array in (rewards, values, following)]
    steps = len(rewards)
    terminated = np.zeros((steps, 1, 1), bool) if terminated is None else np.asarray(terminated)[:, None, None]
    ended = np.zeros((steps, 1), bool) if ended is None else np.asarray(ended)[:, None]
    estimates, targets = advantages(*column, terminated, ended, gamma=gamma, lambda_=lambda_)
    return estimates[:, 0, 0], targets[:, 0, 0]


def test_a_terminated_agent_is_worth_its_remaining_rewards():
    """With lambda 1 and n steps of reward 1 to live, the value target is (1 - gamma^n) / (1 - gamma)."""
    steps = 7
    terminated = np.arange(steps) == steps - 1
    _, targets = one_agent(np.ones(steps), np.full(steps, 3.0), np.full(steps, 3.0), terminated, terminated)
    left = steps - np.arange(steps)
    np.testing.assert_allclose(targets, (1 - GAMMA**left) / (1 - GAMMA), rtol=1e-6)


def test_a_truncated_agent_is_bootstrapped():
    """Cut off where its value is 1 / (1 - gamma), an agent that earns 1 a step is worth that all along."""
    steps, forever = 7, 1 / (1 - GAMMA)
    ended = np.arange(steps) == steps - 1
    _, targets = one_agent(np.ones(steps), np.zeros(steps), np.full(steps, forever), ended=ended)
    np.testing.assert_allclose(targets[-1], forever, rtol=1e-6)
    estimates, _ = one_agent(np.ones(steps), np.full(steps, forever), np.full(steps, forever), ended=ended)
    np.testing.assert_allclose(estimates, 0, atol=1e-5)


def naive(rewards, values, following, terminated, ended, gamma, lambda_):
    """The estimator as its definition reads: for each step the discounted sum of what follows in its episode."""
    steps, worlds, agents = rewards.shape
    result = np.zeros(rewards.shape)
    for world in range(worlds):
        for agent in range(agents):
            for start in range(steps):
                weight = 1.0
                for step in range(start, steps):
                    future = 0.0 if terminated[step, world, agent] else following[step, world, agent]
                    delta = rewards[step, world, agent] + gamma * future - values[step, world, agent]
                    result[start, world, agent] += weight * delta
                    weight *= gamma * lambda_
                    if terminated[step, world, agent] or ended[step, world]:
                        break
    return result


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 12),
    worlds=st.integers(1, 3),
    agents=st.integers(1, 3),
    gamma=st.floats(0, 1),
    lambda_=st.floats(0, 1),
)
def test_it_agrees_with_the_definition(seed, steps, worlds, agents, gamma, lambda_):
    """Vectorised estimates equal those of a loop over worlds, agents, steps and their futures."""
    rng = np.random.default_rng(seed)
    rewards, following = (rng.normal(size=(steps, worlds, agents)).astype(np.float32) for _ in range(2))
    values = rng.normal(size=(steps, worlds, agents)).astype(np.float32)
    terminated, ended = rng.random((steps, worlds, agents)) < 0.2, rng.random((steps, worlds)) < 0.2
    estimates, targets = advantages(rewards, values, following, terminated, ended, gamma=gamma, lambda_=lambda_)
    np.testing.assert_allclose(
        estimates, naive(rewards, values, following, terminated, ended, gamma, lambda_), atol=1e-4, rtol=1e-4
    )
    np.testing.assert_allclose(targets, estimates + values, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 14),
    share=st.sampled_from([0.2, 0.6, 1.0]),
    gamma=st.floats(0, 1),
    lambda_=st.floats(0, 1),
)
def test_turns_are_steps_of_an_agents_own_time(seed, steps, share, gamma, lambda_):
    """Each agent's turns, told as an episode in which it acts in every step, have the same estimates."""
    rng = np.random.default_rng(seed)
    shape = (steps, 2, 2)
    rewards = rng.normal(size=shape).astype(np.float32)
    values = rng.normal(size=(steps + 1, 2, 2)).astype(np.float32)
    ended = rng.random(shape[:2]) < 0.15
    terminated = (rng.random(shape) < 0.1) | (ended[:, :, None] & (rng.random(shape) < 0.5))
    acts = rng.random((steps + 1, 2, 2)) < share
    final = rng.normal(size=shape).astype(np.float32)
    following = np.where(ended[:, :, None], final, values[1:])
    estimates, targets, known = advantages_of_turns(
        rewards, values, following, terminated, ended, acts, gamma=gamma, lambda_=lambda_
    )
    assert not (known & ~acts[:-1]).any()
    for world, agent in np.ndindex(2, 2):
        turns = np.flatnonzero(acts[:-1, world, agent])
        told = {name: [] for name in ("rewards", "values", "following", "terminated", "ended")}
        closed = []
        for turn in turns:
            earned, step = 0.0, turn
            while True:
                earned += rewards[step, world, agent]
                over = terminated[step, world, agent] or ended[step, world]
                if over or step + 1 == steps or acts[step + 1, world, agent]:
                    break
                step += 1
            closed.append(over or acts[step + 1, world, agent])
            told["rewards"].append(earned)
            told["values"].append(values[turn, world, agent])
            told["following"].append(following[step, world, agent] if over else values[step + 1, world, agent])
            told["terminated"].append(terminated[step, world, agent])
            told["ended"].append(ended[step, world])
        assert known[turns, world, agent].tolist() == [bool(each) for each in closed]
        kept = len(turns) - (bool(closed) and not closed[-1])
        column = {name: np.array(part[:kept], np.float32).reshape(-1, 1, 1) for name, part in told.items()}
        column["terminated"], column["ended"] = column["terminated"] > 0, column["ended"][:, :, 0] > 0
        expected = naive(*column.values(), gamma, lambda_)[:, 0, 0]
        found = estimates[turns[:kept], world, agent]
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(
            targets[turns[:kept], world, agent], found + values[turns[:kept], world, agent], atol=1e-6
        )


def test_turns_of_everyone_are_plain_steps():
    """Where all act in every step the two estimators agree."""
    rng = np.random.default_rng(3)
    rewards, following = (rng.normal(size=(9, 2, 3)).astype(np.float32) for _ in range(2))
    values = rng.normal(size=(10, 2, 3)).astype(np.float32)
    terminated, ended = rng.random((9, 2, 3)) < 0.2, rng.random((9, 2)) < 0.2
    following = np.where(ended[:, :, None], following, values[1:])
    settings_ = {"gamma": 0.9, "lambda_": 0.8}
    plain, _ = advantages(rewards, values[:-1], following, terminated, ended, **settings_)
    acts = np.ones((10, 2, 3), bool)
    turns, _, known = advantages_of_turns(rewards, values, following, terminated, ended, acts, **settings_)
    np.testing.assert_allclose(turns, plain, atol=1e-6)
    assert known.all()


def test_nothing_of_the_dead_reaches_the_living():
    """Whatever is written down after an agent terminated changes none of its earlier estimates."""
    terminated = np.array([False, True, False, False])
    ended = np.array([False, False, False, True])
    first, _ = one_agent([1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0], terminated, ended)
    second, _ = one_agent([1, 1, 99, 99], [1, 1, 99, -99], [1, 77, 99, 99], terminated, ended)
    np.testing.assert_array_equal(first[:2], second[:2])


def test_the_successor_of_an_ended_episode_is_its_own_end():
    """Where a world restarted, the next row belongs to another episode: the final observation's value stands in."""
    values = np.arange(8, dtype=np.float32).reshape(4, 2, 1)
    following = successor_values(values, np.array([1]), np.array([0]), np.array([[50.0]], np.float32))
    np.testing.assert_array_equal(following[:, :, 0], [[2, 3], [50, 5], [6, 7]])


def test_standardised_advantages_have_mean_0_and_deviation_1():
    """Whatever the scale; and equal advantages become zero rather than noise."""
    estimates = np.random.default_rng(0).normal(5, 30, 1000).astype(np.float32)
    result = standardised(estimates)
    assert result.mean() == pytest.approx(0, abs=1e-5)
    assert result.std() == pytest.approx(1, rel=1e-5)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(standardised(np.full(5, 3.0, np.float32)), np.zeros(5))


def test_explained_variance_of_perfect_and_constant_critics():
    """A critic that is right explains all, one that says the mean nothing."""
    targets = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    assert explained_variance(np.zeros(1000, np.float32), targets) == 1
    assert explained_variance(targets - targets.mean(), targets) == pytest.approx(0, abs=1e-6)
    assert explained_variance(np.zeros(3, np.float32), np.ones(3, np.float32)) == 0
