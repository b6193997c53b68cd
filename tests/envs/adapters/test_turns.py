"""Tests of strangers' envs whose agents take turns, arrive late, or come back."""

# ruff: noqa: D102, the methods are those that PettingZoo names

from __future__ import annotations

import random
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.agent_selector import AgentSelector
from ray.rllib.examples.envs.classes.multi_agent.tic_tac_toe import TicTacToe

from envs.adapters.foreign import ForeignBatchedEnv
from envs.contract import check_env
from envs.sampling import random_actions


class Nim(AECEnv):
    """Two players take one to three matches in turn; whoever takes the last one wins."""

    metadata: dict[str, Any] = {"name": "nim_v0"}  # noqa: RUF012, as PettingZoo has it

    def __init__(self, heap: int = 7) -> None:
        super().__init__()
        self.heap, self.left = heap, heap
        self.possible_agents = ["player_0", "player_1"]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Dict:
        return Dict({"observation": Box(0, self.heap, (1,), np.float32), "action_mask": Box(0, 1, (3,), np.int8)})

    def action_space(self, agent: str) -> Discrete:
        return Discrete(3)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        self.agents, self.left = list(self.possible_agents), self.heap - (seed or 0) % 3
        self.rewards, self._cumulative_rewards = (dict.fromkeys(self.agents, 0.0) for _ in range(2))
        self.terminations, self.truncations = (dict.fromkeys(self.agents, False) for _ in range(2))
        self.infos = {agent: {} for agent in self.agents}
        self._selector = AgentSelector(self.agents)
        self.agent_selection = self._selector.next()

    def observe(self, agent: str) -> dict[str, Any]:
        mask = (np.arange(1, 4) <= self.left) * (agent == self.agent_selection)
        return {"observation": np.array([self.left], np.float32), "action_mask": mask.astype(np.int8)}

    def step(self, action: int | None) -> None:
        agent = self.agent_selection
        if self.terminations[agent]:
            self._was_dead_step(action)
            return
        assert action is not None
        self._cumulative_rewards[agent] = 0
        self._clear_rewards()
        self.left = max(self.left - int(action) - 1, 0)
        if not self.left:
            self.rewards = {each: 1.0 if each == agent else -1.0 for each in self.agents}
            self.terminations = dict.fromkeys(self.agents, True)
        self.agent_selection = self._selector.next()
        self._accumulate_rewards()


class Shift(ParallelEnv):
    """Three workers: one there throughout, one that comes late, and one that leaves and comes back."""

    metadata: dict[str, Any] = {"name": "shift_v0"}  # noqa: RUF012, as PettingZoo has it
    there = {"steady": set(range(11)), "late": set(range(4, 11)), "back": {0, 1, 2, 6, 7, 8}}  # noqa: RUF012

    def __init__(self) -> None:
        self.possible_agents = list(self.there)
        self.agents: list[str] = []
        self.now = 0

    def observation_space(self, agent: str) -> Box:
        return Box(0, 10, (1,), np.float32)

    def action_space(self, agent: str) -> Discrete:
        return Discrete(2)

    def _seen(self, agents: list[str]) -> dict[str, Any]:
        return {agent: np.array([1 + self.now], np.float32) for agent in agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.now, self.agents = 0, [agent for agent, steps in self.there.items() if 0 in steps]
        return self._seen(self.agents), {}

    def step(self, actions: dict[str, int]) -> Any:
        assert set(actions) == set(self.agents)
        acted, self.now = self.agents, self.now + 1
        self.agents = [agent for agent, steps in self.there.items() if self.now in steps]
        gone = {agent: agent not in self.agents for agent in acted}
        rewards = {agent: float(actions[agent]) for agent in acted}
        return self._seen(list({*acted, *self.agents})), rewards, gone, dict.fromkeys(self.agents, self.now == 10), {}


class RepeatableTicTacToe(TicTacToe):
    """RLlib's example, which draws who begins from the global stream."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        random.seed(seed)
        return super().reset(seed=seed, options=options)


def test_pettingzoos_turns_keep_the_contract() -> None:
    """An `AECEnv` is taken as it is; the loser's reward and end reach it though it was not its turn."""
    check_env(lambda b, k: ForeignBatchedEnv(Nim, b, first_world=k), worlds=2, steps=30)
    env = ForeignBatchedEnv(lambda: Nim(heap=4), 1)
    seen = env.reset(0)
    env.envs[0].reset(seed=0)  # four matches
    assert seen.acts["player"].tolist() == [[True, False]]
    step = env.step({"player": np.zeros((1, 2, 1), np.int64)})
    assert step.observation.acts["player"].tolist() == [[False, True]]
    assert step.observation.alive["player"].tolist() == [[True, True]]
    step = env.step({"player": np.full((1, 2, 1), 2, np.int64)})
    assert step.rewards["player"].tolist() == [[-1.0, 1.0]]
    assert step.final is not None
    assert step.terminated["player"].all()


def test_rllibs_turns_keep_the_contract() -> None:
    """RLlib's own turn-based example: whoever is observed acts, the other waits and is not over."""
    check_env(lambda b, k: ForeignBatchedEnv(RepeatableTicTacToe, b, first_world=k), worlds=2, steps=70)
    env, rng = ForeignBatchedEnv(TicTacToe, 3), np.random.default_rng(0)
    seen = env.reset(0)
    for _ in range(4):
        asked = seen.acts["player"].sum(axis=1)
        assert asked.tolist() == [1, 1, 1]
        assert seen.alive["player"].all()
        seen = env.step(random_actions(env.groups, seen, rng)).observation


def test_agents_arrive_late_and_come_back() -> None:
    """A `ParallelEnv` that lists whom it likes: nobody is asked before arriving, and all are asked while there."""
    check_env(lambda b, k: ForeignBatchedEnv(Shift, b, first_world=k), worlds=2, steps=33, stochastic=False)
    env = ForeignBatchedEnv(Shift, 1)
    seen, paid = env.reset(0), np.zeros((1, 3))
    ids = env.agent_ids
    for now in range(10):
        alive = np.concatenate([seen.alive[name][0] for name in env.groups])
        assert dict(zip(ids, alive.tolist(), strict=True)) == {agent: now in Shift.there[agent] for agent in ids}
        step = env.step({name: np.ones((1, g.size, 1), np.int64) for name, g in env.groups.items()})
        paid += np.concatenate([step.rewards[name] for name in env.groups], axis=1)
        seen = step.observation
    assert step.final is not None
    assert dict(zip(ids, paid[0].tolist(), strict=True)) == {"steady": 10.0, "late": 6.0, "back": 6.0}
    assert all(present.all() for present in step.final.present.values())
