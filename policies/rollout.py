"""Plays a policy for whole episodes and writes down how each ended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.base import BatchedEnv, Task
from policies.base import Policy


@dataclass(frozen=True)
class Episodes:
    """How episodes ended, one row an episode, in a fixed order (by world, then by episode).

    Attributes:
        returns: Mean return over the agents that took part, `[E]`.
        agent_returns: By group, each agent's return, `[E, A]`; NaN for agents that took no part.
        lengths: Steps, `[E]`.
        metrics: The domain's figures, `[E]` each.
    """

    returns: NDArray[np.float64]
    agent_returns: dict[str, NDArray[np.float64]]
    lengths: NDArray[np.int64]
    metrics: dict[str, NDArray[np.float64]]


def play(
    env: BatchedEnv,
    policy: Policy,
    task: Task,
    *,
    episodes_per_world: int = 1,
    seed: int = 0,
    deterministic: bool = True,
) -> Episodes:
    """Plays `task` in every world of `env`, from a fresh seed.

    Two policies played with the same seed meet the same worlds: their returns can be compared in pairs.

    Args:
        env: The worlds; reset by the call.
        policy: Who acts.
        task: What is played.
        episodes_per_world: Episodes each world plays.
        seed: Seed of the worlds, and of the policy's randomness.
        deterministic: Whether the policy takes its most likely action.

    Returns:
        `E = B * episodes_per_world` episodes.
    """
    env.set_tasks(task)
    policy.bind(env)
    rng = np.random.default_rng((seed, 0xAC7))
    observation = env.reset(seed)
    played = np.zeros(env.num_worlds, np.int64)
    shape = (env.num_worlds, episodes_per_world)
    returns, lengths = np.zeros(shape), np.zeros(shape, np.int64)
    agent_returns = {g.name: np.full((*shape, g.size), np.nan) for g in env.groups.values()}
    metrics: dict[str, NDArray[np.float64]] = {}
    state = None
    while (played < episodes_per_world).any():
        actions, state = policy.act(observation, state, deterministic=deterministic, rng=rng)
        step = env.step(actions)
        observation = step.observation
        if step.final is None:
            continue
        state = policy.forget(state, step.final.worlds)
        kept = np.flatnonzero(played[step.final.worlds] < episodes_per_world)
        worlds = step.final.worlds[kept]
        row = (worlds, played[worlds])
        returns[row] = step.final.mean_returns()[kept]
        lengths[row] = step.final.lengths[kept]
        for name, array in step.final.returns.items():
            agent_returns[name][row] = np.where(step.final.present[name], array, np.nan)[kept]
        for name, figures in step.final.metrics.items():
            metrics.setdefault(name, np.full(shape, np.nan))[row] = figures[kept]
        played[worlds] += 1
    return Episodes(
        returns.ravel(),
        {name: array.reshape(-1, array.shape[-1]) for name, array in agent_returns.items()},
        lengths.ravel(),
        {name: array.ravel() for name, array in metrics.items()},
    )
