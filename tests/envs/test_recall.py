"""Tests of what agents see of the step before: it is what they did and earned, in any env, within its contract."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import MultiDiscrete

from envs.adapters.rllib import BaseMultiAgentEnvironment
from envs.base import AgentGroup, BatchedEnv, Observation
from envs.contract import check_env
from envs.layout import ObservationLayout
from envs.recall import Recall
from envs.registry import get_domain
from envs.sampling import random_actions

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))
GROUP = "repeaters"


def cue(worlds: int = 3, **config: Any) -> BatchedEnv:
    """The cue, with the step before beside it."""
    task = {"max_steps": 6, "lifetimes": (3,), "entities": 2}
    return get_domain("cue").env({"recall": True, **config}, worlds, task=task)


@pytest.mark.parametrize(
    ("domain", "config", "task"),
    [
        ("cue", {"action_mode": "continuous", "team_weight": 0.4}, {"lifetimes": (3, 0), "max_steps": 9}),
        ("cue", {"action_mode": "discrete"}, {"lifetimes": (3, 0), "max_steps": 9}),
        ("trading", {}, {"max_steps": 9}),
        ("resource_allocation", {"action_mode": "discrete"}, {"max_steps": 9}),
        ("parity:DOMAIN", {"roles": 2}, {"max_steps": 4}),
        ("pettingzoo.classic.tictactoe_v3:env", {}, {"max_steps": 9}),
    ],
    ids=["cue", "cue-discrete", "trading", "allocation", "parity", "tictactoe"],
)
def test_it_keeps_the_contract(domain: str, config: Any, task: Any) -> None:
    """With the step before, envs of all kinds keep their contract: with tables, without, by turns, and strangers'."""
    make = get_domain(domain).env
    check_env(lambda b, k: make({**config, "recall": True}, b, task=task, first_world=k), worlds=3, steps=27)


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_it_is_what_was_done_and_earned(mode: str) -> None:
    """Behind what the env shows stand last step's actions within masks, the reward, and whether there was a step."""
    env, plain = cue(action_mode=mode), get_domain("cue").env({"action_mode": mode}, 3, task=cue().tasks[0])
    (group,), (own,) = env.groups.values(), plain.groups.values()
    width, rng = own.layout.size, np.random.default_rng(0)
    seen, bare = env.reset(5), plain.reset(5)
    assert not seen.observations[GROUP][..., width:].any()
    for _ in range(14):
        actions = random_actions(plain.groups, bare, rng)
        alive, mask = bare.alive[GROUP], bare.action_masks[GROUP]
        step, outcome = env.step(actions), plain.step(actions)
        done = actions[GROUP] * mask if mode == "continuous" else np.eye(4)[actions[GROUP]].reshape(3, 2, -1)
        wanted = np.concatenate([step.rewards[GROUP][..., None], done, np.ones((3, 2, 1))], axis=2)
        begins = np.isin(np.arange(3), [] if step.final is None else step.final.worlds)[:, None, None]
        still = alive & step.observation.alive[GROUP]
        shown = step.observation.observations[GROUP]
        np.testing.assert_array_equal(shown[..., :width], outcome.observation.observations[GROUP])
        np.testing.assert_allclose(shown[..., width:], wanted * still[..., None] * ~begins, atol=1e-7)
        if step.final is not None:  # what was seen last has the last step beside it
            last = step.final.observation
            wanted = wanted[step.final.worlds] * last.alive[GROUP][..., None]
            np.testing.assert_allclose(last.observations[GROUP][..., width:], wanted, atol=1e-7)
        bare = outcome.observation
    names = group.layout.names[width:]
    assert (names[0], names[-1]) == ("previous.reward", "previous.exists")
    assert names[1] == ("previous.action_0" if mode == "continuous" else "previous.action_0_0")


def test_features_without_tables_are_ones_own() -> None:
    """Where an observation has no table the step before joins the agent's own features, by the same names."""
    (group,) = get_domain("parity:DOMAIN").env({"recall": True}).groups.values()
    assert group.layout.own == (
        "bit", "previous.reward", "previous.action_0_0", "previous.action_0_1", "previous.exists",
    )  # fmt: skip
    assert group.layout.own == group.layout.names


def test_where_entities_have_no_features_it_stands_behind_ones_own() -> None:
    """The array and the names agree: who exists comes last, as it did."""
    layout = ObservationLayout(("age",), (), ("x", "y"))
    group = AgentGroup("team", ("a",), MultiDiscrete([2]), layout)
    recall = Recall({"team": group}, 1)
    there = {"team": np.ones((1, 1), np.bool_)}
    first = Observation({"team": np.array([[[2.0, 1.0, 0.0]]], np.float32)}, {}, there, np.zeros((1, 0)), there)
    recall.beside(first)
    recall.note({"team": np.ones((1, 1, 1), np.int64)}, {"team": np.full((1, 1), 7.0)}, there)
    seen = Observation({"team": np.array([[[3.0, 1.0, 0.0]]], np.float32)}, {}, there, np.zeros((1, 0)), there)
    recall.beside(seen)
    shown = dict(zip(recall.groups["team"].layout.names, seen.observations["team"][0, 0], strict=True))
    assert (shown["age"], shown["previous.reward"], shown["previous.exists"]) == (3.0, 7.0, 1.0)
    assert (shown["previous.action_0_0"], shown["previous.action_0_1"]) == (0.0, 1.0)
    assert [value for name, value in shown.items() if name.startswith(("x", "y"))] == [1.0, 0.0]


def test_a_state_of_an_env_without_it_is_refused() -> None:
    """In one line, whichever of the two has it."""
    env, plain = cue(), get_domain("cue").env({}, 3, task=cue().tasks[0])
    env.reset(0)
    plain.reset(0)
    for one, other in ((env, plain), (plain, env)):
        with pytest.raises(ValueError, match=r"^state: got one with(out)? recall, allowed is one with(out)? it"):
            one.set_state(other.get_state())


def test_adapters_show_it_too() -> None:
    """One world as RLlib knows it has the wider observations."""
    env = BaseMultiAgentEnvironment(cue(1))
    seen, _ = env.reset(seed=0)
    (group,) = env.env.groups.values()
    assert env.observation_space == group.observation_space
    assert all(row.shape == (group.layout.size,) for row in seen.values())


def test_it_is_asked_for_before_anything_is_seen() -> None:
    """Once reset, an env shows what it showed: asked then, it refuses; asked twice, it shows the step once."""
    env = get_domain("cue").env()
    env.recall()
    layout = env.groups[GROUP].layout
    env.recall()
    assert env.groups[GROUP].layout == layout
    env.reset(0)
    with pytest.raises(RuntimeError, match=r"^recall: the environment was already reset"):
        env.recall()
