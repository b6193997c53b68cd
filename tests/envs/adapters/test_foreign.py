"""Tests of a stranger's env as a batch."""

from __future__ import annotations

import pickle
import re
import threading
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Text
from gymnasium.utils import EzPickle
from pettingzoo import ParallelEnv
from pettingzoo.test.example_envs import generated_agents_env_v0
from pettingzoo.utils import aec_to_parallel, parallel_to_aec
from ray.rllib.env.multi_agent_env import MultiAgentEnv, make_multi_agent

from envs.adapters.foreign import ForeignBatchedEnv, ForeignTask, foreign_domain
from envs.adapters.parallel import BatchedParallelEnv
from envs.adapters.rllib import BaseMultiAgentEnvironment
from envs.adapters.seats import Seat
from envs.contract import check_env
from envs.registry import get_domain
from envs.sampling import random_actions

SPACES: dict[str, tuple[Space[Any], Space[Any]]] = {
    "buyer_0": (Box(0, 9, (2, 2), np.float32), Box(np.array([0, -10], np.float32), np.array([1, 30], np.float32))),
    "buyer_1": (Box(0, 9, (2, 2), np.float32), Box(np.array([0, -10], np.float32), np.array([1, 30], np.float32))),
    "clerk": (Dict({"observation": Discrete(5), "action_mask": MultiBinary(3)}), Discrete(3, start=2)),
    "packer": (MultiBinary(2), MultiDiscrete([2, 4], start=[1, 0])),
    "porter": (Discrete(2), MultiBinary(3)),
    "signer": (Discrete(2), Box(0, 10, (1,), np.int64)),
}


class Warehouse(ParallelEnv):
    """An env of all kinds of spaces that remembers what it is told. Everybody earns the number of the step."""

    metadata = {"name": "warehouse_v0"}  # noqa: RUF012

    def __init__(self, length: int = 4, leaves: str = "", dies: str = "") -> None:
        self.possible_agents = list(SPACES)
        self.length, self.leaves, self.dies = length, leaves, dies
        self.told: list[dict[str, Any]] = []
        self.options: Any = None
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Space[Any]:
        """What the agent sees."""
        return SPACES[agent][0]

    def action_space(self, agent: str) -> Space[Any]:
        """What the agent does."""
        return SPACES[agent][1]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begins."""
        self.rng, self.clock, self.agents, self.options = np.random.default_rng(seed), 0, list(SPACES), options
        return self._see(), {agent: {} for agent in self.agents}

    def _see(self) -> dict[str, Any]:
        everyone = {
            "buyer_0": self.rng.uniform(0, 9, (2, 2)).astype(np.float32),
            "buyer_1": np.full((2, 2), self.clock, np.float32),
            "clerk": {"observation": self.clock % 5, "action_mask": np.array([1, self.clock % 2, 0], np.int8)},
            "packer": np.array([1, 0], np.int8),
            "porter": 1,
            "signer": 0,
        }
        return {agent: everyone[agent] for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """Takes a step; `dies` terminates and `leaves` is truncated in step 2."""
        self.told.append(actions)
        self.clock += 1
        acted = list(self.agents)
        seen = self._see()
        second, over = self.clock == 2, self.clock == self.length
        self.agents = [] if over else [a for a in acted if not (second and a in (self.dies, self.leaves))]
        return (
            seen,
            dict.fromkeys(acted, float(self.clock)),
            {agent: second and agent == self.dies for agent in acted},
            {agent: over or (second and agent == self.leaves) for agent in acted},
            {agent: {} for agent in acted},
        )


def _env(worlds: int = 2, task: ForeignTask | None = None, **settings: Any) -> ForeignBatchedEnv:
    return ForeignBatchedEnv(lambda: Warehouse(**settings), worlds, task=task)


def _still(env: ForeignBatchedEnv) -> dict[str, Any]:
    return {
        g.name: np.zeros((env.num_worlds, g.size, g.num_actions), g.action_space.dtype) for g in env.groups.values()
    }


def test_agents_with_equal_spaces_form_a_group() -> None:
    """Groups are named after what ids have in common; spaces become Box(-1, 1) or branches."""
    groups = _env().groups
    assert {name: group.agent_ids for name, group in groups.items()} == {
        "buyer": ("buyer_0", "buyer_1"),
        "clerk": ("clerk",),
        "packer": ("packer",),
        "porter": ("porter",),
        "signer": ("signer",),
    }
    assert groups["buyer"].action_space == Box(-1, 1, (2,), np.float32)
    assert groups["clerk"].action_space == MultiDiscrete([3])
    assert groups["packer"].action_space == MultiDiscrete([2, 4])
    assert groups["porter"].action_space == MultiDiscrete([2, 2, 2])
    assert groups["signer"].action_space == Box(-1, 1, (1,), np.float32)
    assert [group.layout.size for group in groups.values()] == [4, 5, 2, 2, 2]


def test_the_env_is_told_actions_of_its_own_spaces() -> None:
    """Boxes are rescaled to their bounds and shapes, choices start where the space starts; all are in the space."""
    env = _env(worlds=1)
    env.reset(0)
    actions = _still(env)
    actions["buyer"][0] = [[-1, 1], [0.5, 0]]
    actions["clerk"][0], actions["packer"][0], actions["porter"][0] = [[1]], [[1, 3]], [[1, 0, 1]]
    actions["signer"][0] = 0.42
    env.step(actions)
    told = env.envs[0].told[-1]
    np.testing.assert_allclose(told["buyer_0"], [0, 30])
    np.testing.assert_allclose(told["buyer_1"], [0.75, 10])
    assert told["clerk"] == 3
    np.testing.assert_array_equal(told["packer"], [2, 3])
    np.testing.assert_array_equal(told["porter"], [1, 0, 1])
    np.testing.assert_array_equal(told["signer"], [7])
    assert all(SPACES[agent][1].contains(action) for agent, action in told.items())


def test_observations_are_flat_and_masks_are_found() -> None:
    """Boxes are raveled, choices become one-hot, and the mask beside an observation is the group's."""
    env = _env()
    env.reset(0)
    seen = env.step(_still(env)).observation
    np.testing.assert_array_equal(seen.observations["buyer"][:, 1], np.ones((2, 4)))
    np.testing.assert_array_equal(seen.observations["clerk"][0, 0], [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(seen.action_masks["clerk"][0, 0], [True, True, False])
    assert set(seen.action_masks) == {"clerk"}
    np.testing.assert_array_equal(seen.state[0], np.concatenate([a[0].ravel() for a in seen.observations.values()]))


def test_time_that_is_up_for_all_is_truncation() -> None:
    """Where the env cuts everyone off, the world is truncated, its agents alive at the end to be bootstrapped."""
    env = _env(length=3)
    env.reset(0)
    steps = [env.step(_still(env)) for _ in range(3)]
    assert [bool(step.truncated.all()) for step in steps] == [False, False, True]
    final = steps[-1].final
    assert final is not None
    assert all(alive.all() for alive in final.observation.alive.values())
    np.testing.assert_allclose(final.returns["buyer"], 1 + 2 + 3)
    np.testing.assert_array_equal(final.observation.observations["buyer"][:, 1], np.full((2, 4), 3))
    np.testing.assert_array_equal(steps[-1].observation.observations["buyer"][:, 1], np.zeros((2, 4)))


@pytest.mark.parametrize("way", ["dies", "leaves"])
def test_who_goes_before_the_others_is_terminated(way: str) -> None:
    """An agent that terminates, or is cut off alone, is not alive any more, earns nothing and is not told to act."""
    env = _env(dies="clerk") if way == "dies" else _env(leaves="clerk")
    env.reset(0)
    env.step(_still(env))
    step = env.step(_still(env))
    assert step.terminated["clerk"].all()
    assert step.rewards["clerk"][0, 0] == 2
    assert not step.observation.alive["clerk"].any()
    assert not env.step(_still(env)).rewards["clerk"].any()
    assert "clerk" not in env.envs[0].told[-1]


def test_a_task_cuts_episodes_shorter_and_passes_options() -> None:
    """`max_steps` truncates before the env does; `options` reach its reset."""
    env = _env(task=ForeignTask(max_steps=2, options=(("stock", 3), ("calm", True))))
    env.reset(0)
    env.step(_still(env))
    step = env.step(_still(env))
    assert step.truncated.all()
    assert env.envs[0].options == {"stock": 3, "calm": True}


def test_a_well_behaved_env_keeps_the_whole_contract() -> None:
    """An env that seeds itself and can be copied passes every clause, also with agents who die or leave."""
    task = ForeignTask(max_steps=40)
    for factory in (lambda: Warehouse(5), lambda: Warehouse(5, leaves="packer", dies="buyer_1")):
        check_env(lambda b, k, make=factory: ForeignBatchedEnv(make, b, task=task, first_world=k), steps=16)  # type: ignore[misc]


def test_rllib_envs_work_too() -> None:
    """Two cart-poles of RLlib's own, with integer ids, fall one after the other, and keep the whole contract."""
    domain = foreign_domain(make_multi_agent("CartPole-v1"), "carts")
    config = {"settings": {"num_agents": 2}}
    check_env(lambda b, k: domain.env(config, b, task={"max_steps": 30}, first_world=k), steps=80)
    env = domain.env(config, 3)
    assert env.agent_ids == ["0", "1"]
    observation, rng = env.reset(1), np.random.default_rng(0)
    lengths: list[int] = []
    for _ in range(200):
        step = env.step(random_actions(env.groups, observation, rng))
        observation = step.observation
        if step.final is not None:
            # A pole that stands earns 1 a step: the agent that fell last lived for the whole episode.
            np.testing.assert_array_equal(step.final.returns["agents"].max(axis=1), step.final.lengths)
            lengths.extend(step.final.lengths)
            assert not step.truncated.any()
    assert 15 < np.mean(lengths) < 40  # a random pole stands for some 22 steps, the longer of two for some 28


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_there_and_back_again_is_the_same_env(mode: str) -> None:
    """The cue env as a ParallelEnv as a batch pays, ends and masks as the cue env itself."""
    config, task = {"action_mode": mode, "num_agents": 3}, {"lifetimes": (2, 0, 5), "max_steps": 6}
    make = lambda: BatchedParallelEnv(get_domain("cue").env(config, task=task))  # noqa: E731
    env = ForeignBatchedEnv(make, 2)
    seen = env.reset(0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        inner = [copy.env for copy in env.envs]
        truth = np.concatenate([e.observe().observations["repeaters"] for e in inner])
        np.testing.assert_array_equal(seen.observations["repeater"], truth)
        np.testing.assert_array_equal(seen.state, np.concatenate([e.observe().state for e in inner]))
        if mode == "discrete":
            masks = np.concatenate([e.observe().action_masks["repeaters"] for e in inner])
            alive = seen.alive["repeater"]
            np.testing.assert_array_equal(seen.action_masks["repeater"][alive], masks[alive])
        step = env.step(random_actions(env.groups, seen, rng))
        seen = step.observation
        if step.final is not None:
            np.testing.assert_array_equal(step.final.lengths, 6)
            np.testing.assert_array_equal(step.final.observation.alive["repeater"], [[False, True, False]] * 2)


def test_unlike_agents_have_no_common_space_in_rllib() -> None:
    """Behind RLlib's interface, agents of different kinds have spaces by agent, and none in common."""
    env = BaseMultiAgentEnvironment(_env(worlds=1))
    assert env.action_space is None
    assert env.observation_space is None
    observations, infos = env.reset(seed=0)
    assert all(env.get_observation_space(agent).contains(seen) for agent, seen in observations.items())
    assert set(infos["clerk"]) == {"action_mask"}
    step = env.step({agent: env.get_action_space(agent).sample() for agent in env.agents})
    assert set(step[1]) == set(SPACES)


class _Made(EzPickle, Warehouse):
    """Pickles by the arguments it was made with: a copy was never reset."""

    def __init__(self, length: int = 4) -> None:
        EzPickle.__init__(self, length)
        Warehouse.__init__(self, length)


class _MadeReady(_Made):
    """The same, but a copy does what it is told: it is at the beginning of some other episode."""

    def __init__(self, length: int = 4) -> None:
        super().__init__(length)
        self.reset(seed=0)


class _Connected(Warehouse):
    """Holds what cannot be copied at all."""

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begins, and locks a door."""
        self.door = threading.Lock()
        return super().reset(seed, options)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (_Made, r"a copy of _Made is not what was copied \(rng is missing\)"),
        (_MadeReady, r"a copy of _MadeReady is not what was copied \(.+\)"),
        (_Connected, r"_Connected cannot be copied \(.*lock.*\)"),
    ],
)
def test_episodes_begin_anew_where_a_copy_is_not_the_env(
    kind: type[Warehouse], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A state of envs that copy badly can be taken and restored: next episodes begin, and one line says why."""
    env = ForeignBatchedEnv(kind, 2)
    env.reset(0)
    for _ in range(2):
        env.step(_still(env))
    state = pickle.loads(pickle.dumps(env.get_state()))
    assert [int(clock) for clock in env.clock] == [2, 2]
    env.step(_still(env))  # taking the state changes nothing
    restored = ForeignBatchedEnv(kind, 2)
    restored.set_state(state)
    (line,) = caplog.messages
    assert re.fullmatch(rf"env: {why}: episodes that were under way begin anew", line)
    np.testing.assert_array_equal(restored.clock, [0, 0])
    ends = [restored.step(_still(restored)).final is not None for _ in range(4)]
    assert ends == [False, False, False, True]
    again = ForeignBatchedEnv(kind, 2)
    again.set_state(state)
    np.testing.assert_array_equal(again.observe().state, env.restart([0, 1]).state)


class _Wordy(Warehouse):
    """Someone acts in words."""

    def action_space(self, agent: str) -> Space[Any]:
        """Words."""
        return Text(5)


class _Endless(Warehouse):
    """Someone acts without bounds."""

    def action_space(self, agent: str) -> Space[Any]:
        """Any number."""
        return Box(-np.inf, np.inf, (1,))


class _Blind(Warehouse):
    """Someone sees what is no number, from the first moment on."""

    def _see(self) -> dict[str, Any]:
        return super()._see() | {"buyer_1": np.full((2, 2), np.nan, np.float32)}


class _Crowded(Warehouse):
    """Someone joins in mid-episode."""

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """The usual, and a guest."""
        result = super().step(actions)
        result[0]["guest"] = 1
        return result


@pytest.mark.parametrize("kind", [_Wordy, _Endless])
def test_actions_that_cannot_be_translated_are_named(kind: type[Warehouse]) -> None:
    """Spaces without bounds or numbers are refused, naming the agent and what is allowed."""
    with pytest.raises(ValueError, match=r"^action space of 'buyer_0': got .*, allowed are Discrete, MultiDiscrete"):
        ForeignBatchedEnv(kind, 1)


def test_observations_that_are_no_numbers_are_named_before_anything_is_played() -> None:
    """Making one world is enough to hear of it, which is done before a run begins."""
    with pytest.raises(ValueError, match=r"^observation of .buyer_1.: got .* with NaN or infinity, allowed"):
        ForeignBatchedEnv(_Blind, 1)


def test_newcomers_are_refused() -> None:
    """An agent that the env does not name in `possible_agents` has no place in the arrays: an error that names it."""
    env = ForeignBatchedEnv(_Crowded, 1)
    env.reset(0)
    with pytest.raises(ValueError, match=r"^agents: got \['guest'\], allowed are possible_agents"):
        env.step(_still(env))


def test_an_env_must_name_its_agents() -> None:
    """Without `possible_agents` there is no way to size the arrays."""
    with pytest.raises(ValueError, match=r"^env: got MultiAgentEnv without possible_agents"):
        ForeignBatchedEnv(MultiAgentEnv, 1)


def test_pettingzoos_other_interface_is_taken_directly_or_converted() -> None:
    """An env of turns must name its agents too; what PettingZoo's converters make is taken."""
    with pytest.raises(ValueError, match=r"^env: got \w+ without possible_agents"):
        ForeignBatchedEnv(generated_agents_env_v0.env, 1)
    turns = lambda: parallel_to_aec(Warehouse())  # noqa: E731
    assert ForeignBatchedEnv(lambda: aec_to_parallel(turns()), 1).agent_ids == list(SPACES)
    assert ForeignBatchedEnv(turns, 1).agent_ids == list(SPACES)


def test_a_domain_takes_its_words_from_the_env() -> None:
    """Name and summary come from the factory; settings reach it; the config rejects what it does not know."""
    domain = foreign_domain(Warehouse)
    assert domain.name.endswith(":Warehouse")
    assert domain.summary.startswith("An env of all kinds of spaces")
    env = domain.env({"settings": {"length": 7}, "team_weight": 0.5}, 2)
    assert isinstance(env, ForeignBatchedEnv)
    assert env.envs[1].length == 7
    assert env.team_weight == 0.5
    with pytest.raises(ValueError, match="length"):
        domain.env({"length": 7})


@pytest.mark.parametrize(
    "space",
    [
        Box(0.0, 10.0, (2,), np.float32),
        Box(np.array([-3.0, 1.0], np.float32), np.array([1.0, 2.0], np.float32)),
        Box(0, 255, (1,), np.uint8),
        Discrete(3, start=2),
        MultiDiscrete([2, 4], start=[1, 0]),
    ],
)
def test_what_actions_are_called_in_the_env_is_known(space: Any) -> None:
    """Whoever is told an action, such as a client of the service, can have it in the env's own values."""
    seat = Seat("a", Box(-1, 1, (1,), np.float32), None, space)
    assert seat.own_actions is not None
    rng = np.random.default_rng(0)
    for _ in range(20):
        ours = seat.action_space
        action = rng.integers(ours.nvec) if isinstance(ours, MultiDiscrete) else rng.uniform(-1, 1, ours.shape)
        np.testing.assert_allclose(seat.own_actions.of(action), np.ravel(seat.do(action)), rtol=1e-6)


@pytest.mark.parametrize("space", [Box(-1, 1, (2,), np.float32), Discrete(4), MultiDiscrete([2, 3]), MultiBinary(2)])
def test_actions_that_are_called_the_same_say_nothing(space: Any) -> None:
    """Bundles of such envs stay as they are."""
    assert Seat("a", Box(-1, 1, (1,), np.float32), None, space).own_actions is None
