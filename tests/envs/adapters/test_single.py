"""Tests of one world as dictionaries by agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from envs.adapters.single import SingleWorld
from envs.base import BatchedEnv
from envs.cue import CueEnv
from envs.registry import domain_names, get_domain
from envs.sampling import random_actions

GROUP = CueEnv.GROUP


def _cue(mode: str = "continuous", worlds: int = 1, first_world: int = 0, **task: Any) -> CueEnv:
    config = {"action_mode": mode, "num_agents": 3}
    env = get_domain("cue").env(config, worlds, task={"max_steps": 6, **task}, first_world=first_world)
    assert isinstance(env, CueEnv)
    return env


def _perfect(world: SingleWorld) -> dict[str, NDArray[Any]]:
    assert isinstance(world.env, CueEnv)
    actions = world.env.perfect_actions()[GROUP][0]
    return {agent: actions[a] for a, agent in enumerate(world.env.agent_ids) if agent in world.agents}


def _by_agent(env: BatchedEnv, arrays: dict[str, NDArray[Any]], world: int) -> dict[str, NDArray[Any]]:
    return {
        agent: arrays[g.name][world, a]
        for g in env.groups.values()
        if g.name in arrays
        for a, agent in enumerate(g.agent_ids)
    }


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("domain", domain_names())
def test_one_world_is_that_world_of_the_batch_to_the_bit(domain: str, mode: str) -> None:
    """Given the same actions, a world alone and world 2 of five see, earn and end alike, over several episodes."""
    config, task = {"action_mode": mode, "team_weight": 0.3}, {"max_steps": 7}
    batch = get_domain(domain).env(config, 5, task=task)
    alone = SingleWorld(get_domain(domain).env(config, 1, task=task, first_world=2))
    rng = np.random.default_rng(0)
    expected = batch.reset(11)
    seen, infos = alone.reset(11)
    for _ in range(25):
        observations = _by_agent(batch, expected.observations, 2)
        masks = _by_agent(batch, expected.action_masks, 2)
        for agent in alone.agents:
            np.testing.assert_array_equal(seen[agent], observations[agent])
            assert ("action_mask" in infos[agent]) == (agent in masks)
            if agent in masks:
                np.testing.assert_array_equal(infos[agent]["action_mask"], masks[agent])
        actions = random_actions(batch.groups, expected, rng)
        mine = {agent: action for agent, action in _by_agent(batch, actions, 2).items() if agent in alone.agents}
        step, got = batch.step(actions), alone.step(mine)
        rewards = _by_agent(batch, step.rewards, 2)
        assert got.rewards == {agent: float(rewards[agent]) for agent in mine}
        ended = step.final is not None and 2 in step.final.worlds
        assert (got.all_terminated or got.all_truncated) == ended
        expected, seen, infos = step.observation, got.observations, got.infos
        if ended:
            assert step.final is not None
            row = list(step.final.worlds).index(2)
            last = _by_agent(batch, step.final.observation.observations, row)
            np.testing.assert_array_equal(np.stack(list(seen.values())), np.stack([last[agent] for agent in seen]))
            np.testing.assert_array_equal(alone.state, step.final.observation.state[row])
            seen, infos = alone.reset(None)


def test_an_episode_ends_with_its_last_sight_and_its_account() -> None:
    """At the end agents see the end and not the next beginning; infos hold metrics and their own returns."""
    world = SingleWorld(_cue(lifetimes=(2,)))
    world.reset(0)
    for _ in range(6):
        step = world.step(_perfect(world))
    assert step.all_truncated
    assert not step.all_terminated
    assert step.truncated == {"repeater_1": True, "repeater_2": True}
    assert all(seen[0] == 1.0 for seen in step.observations.values())  # the age at the end
    assert [step.infos[agent]["return"] for agent in step.observations] == [6.0, 6.0]
    assert world.agents == []


def test_an_agent_that_terminates_is_heard_of_once() -> None:
    """Its last step reports the termination with zeros; then it is gone, and actions for it are ignored."""
    world = SingleWorld(_cue(lifetimes=(2,)))
    world.reset(0)
    world.step(_perfect(world))
    step = world.step(_perfect(world))
    assert step.terminated == {"repeater_0": True, "repeater_1": False, "repeater_2": False}
    assert not step.observations["repeater_0"].any()
    assert world.agents == ["repeater_1", "repeater_2"]
    after = world.step(_perfect(world) | {"repeater_0": np.full(3, 9.0)})
    assert set(after.rewards) == {"repeater_1", "repeater_2"}


def test_when_all_have_terminated_the_episode_is_over() -> None:
    """The last termination ends the episode as terminated and not as truncated."""
    world = SingleWorld(_cue(lifetimes=(1, 2, 3)))
    world.reset(0)
    outcomes = [world.step(_perfect(world)) for _ in range(3)]
    assert [step.all_terminated for step in outcomes] == [False, False, True]
    assert not any(step.all_truncated for step in outcomes)


def test_absent_agents_are_not_there() -> None:
    """Agents that the task leaves out see nothing and need not act."""
    world = SingleWorld(_cue(agents=2))
    seen, _ = world.reset(0)
    assert list(seen) == world.agents == ["repeater_0", "repeater_1"]


def test_resets_without_a_seed_go_on() -> None:
    """A reset after an episode, or in mid-episode, begins the next one of the same seed; a seed begins anew."""
    world, batch = SingleWorld(_cue()), _cue()
    first, _ = world.reset(3)
    batch.reset(3)
    for _ in range(6):
        world.step(_perfect(world))
        batch.step(batch.perfect_actions())
    second, _ = world.reset(None)
    np.testing.assert_array_equal(second["repeater_0"], batch.observe().observations[GROUP][0, 0])
    world.step(_perfect(world))
    third, _ = world.reset(None)
    np.testing.assert_array_equal(third["repeater_0"], batch.restart([0]).observations[GROUP][0, 0])
    np.testing.assert_array_equal(world.reset(3)[0]["repeater_0"], first["repeater_0"])


def test_a_first_reset_without_a_seed_is_random() -> None:
    """Two worlds that were given no seed differ."""
    sights = [SingleWorld(_cue()).reset(None)[0]["repeater_0"] for _ in range(6)]
    assert len({seen.tobytes() for seen in sights}) > 1


@pytest.mark.parametrize("steps", [0, 3, 6])
def test_a_task_is_played_from_the_next_reset(steps: int) -> None:
    """Whenever it is set, at the start, in mid-episode or after the end, the next reset begins it, and it stays."""
    world = SingleWorld(_cue())
    world.reset(0)
    for _ in range(steps):
        world.step(_perfect(world))
    world.set_task(world.env.tasks[0].model_copy(update={"name": "short", "max_steps": 2}))
    for _ in range(2):
        world.reset(None)
        assert [world.step(_perfect(world)).all_truncated for _ in range(2)] == [False, True]


def test_what_is_returned_is_the_callers() -> None:
    """Later steps do not change arrays that were returned earlier."""
    world = SingleWorld(_cue("discrete"))
    seen, infos = world.reset(0)
    kept = {agent: array.copy() for agent, array in seen.items()}
    mask = infos["repeater_0"]["action_mask"].copy()
    state, copied = world.state, world.state.copy()
    for _ in range(5):
        world.step(_perfect(world))
    for agent, array in kept.items():
        np.testing.assert_array_equal(seen[agent], array)
    np.testing.assert_array_equal(infos["repeater_0"]["action_mask"], mask)
    np.testing.assert_array_equal(state, copied)


@pytest.mark.parametrize(
    ("mode", "change", "message"),
    [
        ("continuous", {"repeater_1": None}, r"^actions: got none for repeater_1, allowed is one for every agent"),
        ("continuous", {"stranger": np.zeros(3)}, r"^actions: got agent 'stranger', allowed are repeater_0, rep"),
        (
            "continuous",
            {"repeater_0": np.zeros(2)},
            r"^actions\['repeater_0'\]: got shape \(2,\), allowed .* shape \(3,\)$",
        ),
        ("continuous", {"repeater_0": 0.5}, r"^actions\['repeater_0'\]: got shape \(\), allowed"),
        ("continuous", {"repeater_0": [0, np.nan, 0]}, r"^actions\['repeater_0'\]: got NaN, allowed is -1 to 1$"),
        ("continuous", {"repeater_0": [0, -1.2, 1]}, r"^actions\['repeater_0'\]: got values from -1\.2 to 1, allowed"),
        ("continuous", {"repeater_0": ["a", "b", "c"]}, r"^actions\['repeater_0'\]: got dtype <U1, allowed"),
        ("discrete", {"repeater_0": [0.0, 1.0, 0.0]}, r"^actions\['repeater_0'\]: got dtype float64, allowed are int"),
        ("discrete", {"repeater_0": [0, 4, 0]}, r"^actions\['repeater_0'\]: got \[0, 4, 0\], allowed is 0 to below \["),
        ("discrete", {"repeater_0": [0, -1, 0]}, r"^actions\['repeater_0'\]: got \[0, -1, 0\], allowed is 0 to below"),
    ],
)
def test_wrong_actions_name_the_agent(mode: str, change: dict[str, Any], message: str) -> None:
    """Each kind of wrong action is one line naming the agent, what was given and what is allowed, and moves nothing."""
    world = SingleWorld(_cue(mode))
    world.reset(0)
    actions: dict[str, Any] = {agent: a for agent, a in (_perfect(world) | change).items() if a is not None}
    with pytest.raises(ValueError, match=message) as error:
        world.step(actions)
    assert "\n" not in str(error.value)
    assert set(world.step(_perfect(world)).rewards.values()) == {1.0}
    assert world.env.clock[0] == 1


def test_calls_out_of_turn_are_refused() -> None:
    """There is nothing to step before a reset and after an episode, and no use for two worlds."""
    world = SingleWorld(_cue())
    with pytest.raises(RuntimeError, match=r"^step: there is no episode under way; call reset\(\) first$"):
        world.step({})
    world.reset(0)
    for _ in range(6):
        world.step(_perfect(world))
    with pytest.raises(RuntimeError, match=r"^step: there is no episode under way"):
        world.step({})
    with pytest.raises(ValueError, match=r"^env: got 2 worlds, allowed is a batch of 1$"):
        SingleWorld(_cue(worlds=2))
