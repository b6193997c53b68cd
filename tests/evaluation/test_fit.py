"""A policy of a larger env in a smaller one."""

from __future__ import annotations

from typing import Any

import numpy as np

from envs.registry import get_domain
from evaluation.fit import FittedPolicy
from policies.base import RandomPolicy


class Forgetful(RandomPolicy):
    """Says what it was told to forget."""

    def forget(self, state: object, worlds: np.ndarray) -> object:
        """The worlds."""
        return worlds.tolist()


def test_what_is_wrapped_forgets() -> None:
    """Worlds that begin anew are forgotten by the policy inside."""
    home = get_domain("cue").env({}, 1)
    assert FittedPolicy(Forgetful(), home).forget("state", np.array([2])) == [2]


class Looking(RandomPolicy):
    """Keeps what it was shown."""

    def act(self, observation: Any, state: Any, *, deterministic: bool, rng: np.random.Generator) -> Any:
        """Acts at random."""
        self.shown = observation.observations
        return super().act(observation, state, deterministic=deterministic, rng=rng)


def test_the_step_before_fits_with_the_entities_it_was_about() -> None:
    """With `recall`, a policy of five assets sees what it did with two in the first two places, and what it earned."""
    symbols = ["A", "B", "C", "D", "E"]
    home = get_domain("trading").env({"symbols": symbols, "num_agents": 1, "recall": True}, 1)
    env = get_domain("trading").env({"symbols": symbols[:2], "num_agents": 1, "recall": True}, 1)
    inner = Looking()
    policy, rng = FittedPolicy(inner, home), np.random.default_rng(0)
    seen = env.reset(0)
    policy.bind(env)
    for _ in range(2):
        actions, _ = policy.act(seen, None, deterministic=True, rng=rng)
        step = env.step(actions)
        seen = step.observation
    policy.act(seen, None, deterministic=True, rng=rng)
    ((name, group),) = home.groups.items()
    shown = dict(zip(group.layout.names, inner.shown[name][0, 0], strict=True))
    assert shown["previous.reward"] == np.float32(step.rewards[name][0, 0])
    assert [shown[f"previous.action_{place}"] for place in range(5)] == [*actions[name][0, 0], 0.0, 0.0, 0.0]
    assert shown["previous.exists"] == 1.0
