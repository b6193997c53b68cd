"""Tests of branches as one choice."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Discrete

from envs.adapters.rllib import make_environment
from envs.adapters.trading import TradingEnvironment


def test_branches_can_be_one_choice() -> None:
    """Every combination of branches is a number, the last branch counting fastest; masks are those of combinations."""
    plain = make_environment("cue", {"action_mode": "discrete", "task": {"max_steps": 4}})
    flat = make_environment("cue", {"action_mode": "discrete", "flat_actions": True, "task": {"max_steps": 4}})
    sizes = plain.action_space.nvec.tolist()
    assert flat.action_space == Discrete(int(np.prod(sizes)))
    (_, seen), (_, masked) = plain.reset(seed=1), flat.reset(seed=1)
    rng = np.random.default_rng(0)
    while flat.agents:
        choices = {}
        for agent in flat.agents:
            branches = np.split(seen[agent]["action_mask"], np.cumsum(sizes)[:-1])
            allowed = [all(b[c] for b, c in zip(branches, where, strict=True)) for where in np.ndindex(*sizes)]
            np.testing.assert_array_equal(masked[agent]["action_mask"], allowed)
            choices[agent] = int(rng.choice(np.flatnonzero(allowed)))
        split = {agent: np.array(np.unravel_index(choice, sizes)) for agent, choice in choices.items()}
        (_, one, _, _, seen), (_, other, _, _, masked) = plain.step(split), flat.step(choices)
        assert one == other
    flat.reset()
    with pytest.raises(
        ValueError, match=r"^actions\['repeater_0'\]: got 99999, allowed is one whole number, 0 to below"
    ):
        flat.step(dict.fromkeys(flat.agents, 99999))


def test_what_cannot_be_one_choice_is_refused() -> None:
    """Continuous actions have no combinations, and many branches too many: one line says what to change."""
    with pytest.raises(ValueError, match=r"^flat_actions: got True, but 'repeater_0' has continuous actions"):
        make_environment("cue", {"flat_actions": True})
    many = {"action_mode": "discrete", "flat_actions": True, "symbols": [f"S{i}" for i in range(15)]}
    with pytest.raises(ValueError, match=r"^flat_actions: got True, but the 15 branches of 'trader_0' have 3\.05e\+10"):
        make_environment("trading", many)


def test_the_briefs_class_takes_it_too() -> None:
    """`flat_actions` beside the other arguments."""
    env = TradingEnvironment(symbols=["A", "B"], action_mode="discrete", levels=3, flat_actions=True)
    assert env.action_space == Discrete(9)
