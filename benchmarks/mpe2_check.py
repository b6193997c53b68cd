"""Policies of the domain `spread` in mpe2's own `simple_spread_v3`: whether they score the same there, and the pace.

Both begin their episodes in the same places and are asked the same; what mpe2 says is seen goes to the policy, and what
the policy does goes to mpe2. A trained policy is named by the folder of its bundle:
`entrepot bench mpe2 --set policy=results/mine/bundle`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Bar, BenchmarkResult, interleave, median_bar, ratio_bar
from envs.base import Observation
from envs.particles import DOMAIN, SpreadConfig, SpreadEnv, SpreadTask
from envs.sampling import random_actions
from policies.base import Policy
from policies.bundle import load_bundle
from policies.heuristics import baselines
from policies.rollout import play

Array = NDArray[np.float64]

LEAST, FROM_WORLDS = 50.0, 128
"""How many times as fast as mpe2 the env must be, with so many worlds or more."""


class Mpe2Worlds:
    """Worlds of mpe2, one object each, looked at and acted on as one batch.

    Args:
        config: How many agents, and their actions; `team_weight` is nothing that mpe2 knows.
        task: Length and weights.
        num_worlds: Worlds `B`.

    Raises:
        ValueError: If mpe2 is not there: it is a tool of development.
    """

    def __init__(self, config: SpreadConfig, task: SpreadTask, num_worlds: int) -> None:
        try:
            from mpe2 import simple_spread_v3
        except ImportError as error:
            raise ValueError("mpe2: got none, required is pip install -r requirements-dev.txt") from error
        self.continuous = config.action_mode == "continuous"
        self.envs = [
            simple_spread_v3.parallel_env(
                N=config.num_agents,
                local_ratio=task.local_ratio,
                max_cycles=task.max_steps,
                continuous_actions=self.continuous,
            )
            for _ in range(num_worlds)
        ]
        for env in self.envs:
            env.unwrapped.screen = None  # two megabytes to draw on

    def place(self, positions: Array, landmarks: Array) -> None:
        """Puts agents, at rest, and landmarks where they are to begin, `[B, N, 2]` each."""
        for env, bodies, marks in zip(self.envs, positions, landmarks, strict=True):
            env.reset()
            for entity, place in zip(env.unwrapped.world.entities, (*bodies, *marks), strict=True):
                entity.state.p_pos = place.copy()

    def observe(self) -> Observation:
        """What mpe2 says its agents see, and the state as `SpreadEnv` puts it together."""
        raws = [env.unwrapped for env in self.envs]
        seen = np.stack([[raw.observe(agent) for agent in raw.possible_agents] for raw in raws])
        state = [
            np.concatenate(
                [agent.state.p_pos for agent in raw.world.agents]
                + [agent.state.p_vel for agent in raw.world.agents]
                + [landmark.state.p_pos for landmark in raw.world.landmarks]
            )
            for raw in raws
        ]
        there = {SpreadEnv.GROUP: np.ones(seen.shape[:2], np.bool_)}
        return Observation({SpreadEnv.GROUP: seen}, {}, there, np.array(state, np.float32), dict(there))

    def step(self, actions: NDArray[Any]) -> Array:
        """Takes actions as `SpreadEnv` does, `[B, N, K]`; returns mpe2's rewards `[B, N]`."""
        rewards = []
        for env, taken in zip(self.envs, five(actions) if self.continuous else actions[:, :, 0], strict=True):
            agents = env.unwrapped.possible_agents
            given = env.step(dict(zip(agents, taken if self.continuous else taken.tolist(), strict=True)))[1]
            rewards.append([given[agent] for agent in agents])
        return np.array(rewards)


def five(forces: NDArray[Any]) -> NDArray[np.float32]:
    """The numbers in [0, 1] that mean to mpe2 what forces `[…, 2]` in [-1, 1] mean here, `[…, 5]`.

    They are nothing, left, right, down, up, of which the differences count: one of each two is left at 0.
    """
    x, y = forces[..., 0], forces[..., 1]
    parts = (np.zeros_like(x), np.maximum(-x, 0), np.maximum(x, 0), np.maximum(-y, 0), np.maximum(y, 0))
    return np.stack(parts, axis=-1).astype(np.float32)


def team_returns(
    policy: Policy,
    config: SpreadConfig,
    task: SpreadTask,
    *,
    episodes: int,
    seed: int = 0,
    deterministic: bool = True,
) -> Array:
    """Plays a policy in mpe2.

    Args:
        policy: Who acts.
        config: What it is played with.
        task: What is played.
        episodes: Episodes `E`, in the places in which the worlds 0 to `E - 1` of `SpreadEnv` begin.
        seed: Of these worlds, and of the policy's randomness: as `policies.rollout.play` has it.
        deterministic: Whether the policy takes its most likely action.

    Returns:
        The team's returns, sums over agents and steps, `[E]`.
    """
    ours = SpreadEnv(config, episodes, task=task)
    ours.reset(seed)
    policy.bind(ours)
    worlds = Mpe2Worlds(config, task, episodes)
    worlds.place(ours.particles.positions, ours.landmarks)
    rng, state, total = np.random.default_rng((seed, 0xAC7)), None, np.zeros(episodes)
    for _ in range(task.max_steps):
        actions, state = policy.act(worlds.observe(), state, deterministic=deterministic, rng=rng)
        total += worlds.step(actions[SpreadEnv.GROUP]).sum(axis=1)
    return total


def run(
    *,
    policy: str = "",
    episodes: int = 400,
    seed: int = 0,
    sizes: Sequence[int] = (1, 16, 128, 1024, 4096),
    repeats: int = 5,
    seconds: float = 1.0,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Compares returns, episode by episode, and speed.

    Args:
        policy: The folder of a bundle; empty: all yardsticks, in both action modes.
        episodes: Episodes of each.
        seed: Of the worlds.
        sizes: Worlds stepped together.
        repeats: Rounds in which all sizes, and mpe2, take turns.
        seconds: Least CPU time of a measurement.
        progress: Called with a line after each.

    Returns:
        For each policy its mean team return in both, with the largest difference of an episode; and CPU time.
    """
    bars: list[Bar] = []
    returns: dict[str, Any] = {}
    for name, contestant, config in contestants(policy):
        ours = play(SpreadEnv(config, episodes), contestant, SpreadTask(), seed=seed).metrics["team_return"]
        theirs = team_returns(contestant, config, SpreadTask(), episodes=episodes, seed=seed)
        returns[name] = {"ours": np.round(ours, 3).tolist(), "mpe2": np.round(theirs, 3).tolist()}
        margin = 1.96 * float(ours.std(ddof=1) / np.sqrt(episodes))
        mean, apart = float(ours.mean()), float(np.abs(ours - theirs).max())
        progress(f"{name}: {mean:.2f} +- {margin:.2f}, in mpe2 {theirs.mean():.2f}, at most {apart:.1g} apart")
        bars.append(Bar(f"{name}: team return, mean", mean, low=mean - margin, high=mean + margin))
        bars.append(Bar(f"{name}: the same in mpe2", float(theirs.mean())))
        bars.append(Bar(f"{name}: largest difference of an episode", apart, 1e-3, at_most=True))
    paces: dict[str, Callable[[], float]] = {f"{worlds} worlds": pace_of(worlds, seconds) for worlds in sizes}
    figures = interleave({"mpe2": pace_of_mpe2(seconds), **paces}, repeats, progress=progress)
    bars += [median_bar(f"{name} [env-steps/s of CPU time]", values) for name, values in figures.items()]
    for worlds in sizes:
        name = f"{worlds} worlds"
        goal = LEAST if worlds >= FROM_WORLDS else None
        bars.append(ratio_bar(f"{name}: times mpe2", figures[name], figures["mpe2"], goal))
    return BenchmarkResult(bars, {"team returns": returns, "env-steps/s": figures})


def contestants(folder: str) -> list[tuple[str, Policy, SpreadConfig]]:
    """The policy in a bundle, as it was trained; or every yardstick in both action modes.

    Raises:
        ValueError: If the bundle is of another domain.
    """
    if folder:
        bundle = load_bundle(folder, verify=True)
        if bundle.manifest.domain != DOMAIN.name:
            raise ValueError(f"policy: got one of {bundle.manifest.domain!r}, allowed is one of {DOMAIN.name!r}")
        return [(bundle.name, bundle, SpreadConfig.model_validate(bundle.manifest.env_config))]
    return [
        (f"{name}, {mode}", make(), SpreadConfig.model_validate({"action_mode": mode}))
        for mode in ("discrete", "continuous")
        for name, make in baselines(DOMAIN.name).policies.items()
    ]


def pace_of(worlds: int, seconds: float) -> Callable[[], float]:
    """Measures env-steps a second of CPU time of so many worlds, with random choices that were drawn beforehand."""
    env = SpreadEnv(SpreadConfig(action_mode="discrete"), worlds)
    seen, rng = env.reset(0), np.random.default_rng(0)
    drawn = [random_actions(env.groups, seen, rng) for _ in range(env.tasks[0].max_steps)]

    def episode() -> int:
        for actions in drawn:
            env.step(actions)
        return len(drawn) * worlds

    return partial(_pace, episode, seconds)


def pace_of_mpe2(seconds: float) -> Callable[[], float]:
    """The same of one world of mpe2."""
    env, task = Mpe2Worlds(SpreadConfig(action_mode="discrete"), SpreadTask(), 1).envs[0], SpreadTask()
    rng = np.random.default_rng(0)
    drawn = [{agent: int(rng.integers(5)) for agent in env.possible_agents} for _ in range(task.max_steps)]

    def episode() -> int:
        env.reset()
        for actions in drawn:
            env.step(actions)
        return len(drawn)

    return partial(_pace, episode, seconds)


def _pace(episode: Callable[[], int], seconds: float) -> float:
    """Steps a second of CPU time, over as many episodes as fill so many seconds."""
    episode()
    steps, began = 0, time.process_time()
    while (passed := time.process_time() - began) < seconds:
        steps += episode()
    return steps / passed
