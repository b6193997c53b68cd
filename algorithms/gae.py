"""Generalised advantage estimation over whole rollouts of all agents in all worlds at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from envs.base import BoolArray, FloatArray, IntArray


def successor_values(
    values: FloatArray, ended_steps: IntArray, ended_worlds: IntArray, final_values: FloatArray
) -> FloatArray:
    """The value of what each step led to.

    Args:
        values: Values of what was seen at each step, and after the last, `[T + 1, B, A]`.
        ended_steps: Steps in which a world's episode ended, `[E]`.
        ended_worlds: The worlds, `[E]`.
        final_values: Values of what was seen at those ends, before the worlds restarted, `[E, A]`; zero for agents that
            were no longer alive.

    Returns:
        `[T, B, A]`.
    """
    following = values[1:].copy()
    following[ended_steps, ended_worlds] = final_values
    return following


def advantages(
    rewards: FloatArray,
    values: FloatArray,
    following: FloatArray,
    terminated: BoolArray,
    ended: BoolArray,
    *,
    gamma: float,
    lambda_: float,
) -> tuple[FloatArray, FloatArray]:
    """Advantages and value targets (Schulman et al. 2016, equation 16).

    An agent that terminated has no future; one whose episode was cut off has the value of where it stood. Nothing is
    summed across the end of an episode. Steps at which an agent was not alive give numbers without meaning, and
    nothing of them reaches steps at which it was: leave them out.

    Args:
        rewards: `[T, B, A]`.
        values: Values of what was seen at each step, `[T, B, A]`.
        following: Values of what each step led to, `[T, B, A]` (`successor_values`).
        terminated: Whether the agent's future ended with the step, `[T, B, A]`.
        ended: Whether the world's episode ended with the step, for whatever reason, `[T, B]`.
        gamma: Discount of a step.
        lambda_: Decay of the estimator: 0 trusts the critic after one step, 1 the returns.

    Returns:
        Advantages and value targets, float32 `[T, B, A]` each.
    """
    lives = ~terminated
    deltas = rewards + np.float32(gamma) * following * lives - values
    decay = np.float32(gamma * lambda_) * (lives & ~ended[:, :, None])
    estimates: FloatArray = np.empty_like(deltas)
    running: NDArray[np.float32] = np.zeros_like(deltas[0])
    for step in range(len(deltas) - 1, -1, -1):
        running = deltas[step] + decay[step] * running
        estimates[step] = running
    return estimates, estimates + values


def advantages_of_turns(
    rewards: FloatArray,
    values: FloatArray,
    following: FloatArray,
    terminated: BoolArray,
    ended: BoolArray,
    acts: BoolArray,
    *,
    gamma: float,
    lambda_: float,
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """As `advantages`, where agents do not act in every step: a turn lasts until the agent acts again.

    What an agent earns while others act belongs to its last action, and what that led to is the agent's next turn, or
    the end of the episode: time is counted in turns (options, Sutton, Precup and Singh 1999, section 3, with a discount
    a decision). A turn that is still open after the last step has no outcome yet: it is not `known`, and turns before
    it are bootstrapped from its value.

    Args:
        rewards: `[T, B, A]`.
        values: Values of what was seen at each step, and after the last, `[T + 1, B, A]`.
        following: Values of what each step led to, `[T, B, A]` (`successor_values`); read where episodes end.
        terminated: Whether the agent's future ended with the step, `[T, B, A]`.
        ended: Whether the world's episode ended with the step, for whatever reason, `[T, B]`.
        acts: Whether the agent acted in the step, and whether it is to act after the last, `[T + 1, B, A]`.
        gamma: Discount of a turn.
        lambda_: Decay of the estimator.

    Returns:
        Advantages and value targets, float32 `[T, B, A]` each, and which of them are known, bool `[T, B, A]`.
    """
    estimates: FloatArray = np.zeros_like(rewards)
    known: BoolArray = np.zeros(rewards.shape, np.bool_)
    # Of each agent's next turn: its value, its advantage, what was earned on the way to it, and whether it comes.
    ahead: NDArray[np.float32] = values[-1].copy()
    running: NDArray[np.float32] = np.zeros_like(ahead)
    earned: NDArray[np.float32] = np.zeros_like(ahead)
    comes: BoolArray = acts[-1].copy()
    for step in range(len(rewards) - 1, -1, -1):
        over, last = terminated[step], terminated[step] | ended[step][:, None]
        ahead = np.where(last, np.where(over, np.float32(0), following[step]), ahead)
        running, earned = np.where(last, np.float32(0), running), np.where(last, np.float32(0), earned)
        comes = comes | last
        earned = earned + rewards[step]
        turn, closed = acts[step], acts[step] & comes
        delta = earned + np.float32(gamma) * ahead - values[step]
        estimate = np.where(closed, delta + np.float32(gamma * lambda_) * running, np.float32(0))
        estimates[step], known[step] = estimate, closed
        ahead, running = np.where(turn, values[step], ahead), np.where(turn, estimate, running)
        earned, comes = np.where(turn, np.float32(0), earned), comes | turn
    return estimates, estimates + values[:-1], known


def standardised(estimates: FloatArray) -> FloatArray:
    """Advantages `[N]` with mean 0 and deviation 1; all zero if they do not differ."""
    centred = estimates - estimates.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-4), np.float32)


def explained_variance(estimates: FloatArray, targets: FloatArray) -> float:
    """Share of the targets' variance that the critic foresaw: 1 is all, 0 no better than a constant, `[N]` each."""
    variance = float(targets.var())
    return 1.0 - float(estimates.var()) / variance if variance > 0 else 0.0
