"""A throw-away domain that uses everything the contract has: a dock where clerks announce and cranes unload.

Clerks (branches) act in even steps, cranes (continuous) in odd ones. The second crane arrives late, leaves, and comes
back. Each is paid two objectives, `speed` and `care`, and counts a cost, `damage`. It knows nobody and nobody knows it:
tests find it by its address.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from pydantic import Field

from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import EntityTable, ObservationLayout
from envs.registry import Domain

ARRIVES, LEAVES, RETURNS = 3, 6, 8
"""Steps after which the second crane is there, is gone, and is back."""
CLERKS, CRANES = "clerks", "cranes"


class DockTask(Task):
    """How much each objective weighs."""

    max_steps: int = Field(12, ge=1)
    care: float = Field(0.5, ge=0, description="Weight of care beside speed.")

    @property
    def objective_weights(self) -> Mapping[str, float]:
        """Speed weighs 1."""
        return {"care": self.care}


class DockEnv(BatchedEnv):
    """Speed: how close an action comes to what is shown; care: minus its size; damage: whether it is far off."""

    def __init__(self, config: EnvConfig, num_worlds: int, *, task: Any = None, first_world: int = 0) -> None:
        groups = [
            AgentGroup(CLERKS, ("clerk",), MultiDiscrete([4, 3]), ObservationLayout(("ship", "quay", "turn"))),
            AgentGroup(
                CRANES,
                ("crane_0", "crane_1"),
                Box(-1, 1, (2,), np.float32),
                ObservationLayout(
                    ("turn",),
                    ("load",),
                    ("hold_0", "hold_1"),
                    1,
                    (EntityTable("tides", ("height",), ("east", "west")),),
                ),
            ),
        ]
        super().__init__(
            num_worlds,
            groups,
            state_size=2,
            task=task or DockTask(),
            team_weight=config.team_weight,
            first_world=first_world,
            objectives=("speed", "care"),
            costs=("damage",),
        )
        self.loads = np.zeros((num_worlds, 2), np.float32)
        self.cranes_turn = np.zeros(num_worlds, np.bool_)

    def _begin(self, worlds: IntArray) -> None:
        self.cranes_turn[worlds] = False
        self.alive[CRANES][worlds, 1] = False
        self._draw(worlds)

    def _draw(self, worlds: IntArray) -> None:
        for world in worlds:
            self.loads[world] = self.streams.generators[world].uniform(-1, 1, 2)

    def _advance(self, actions: Actions) -> Outcome:
        wanted = {CLERKS: (self.loads > 0).astype(np.float32), CRANES: self.loads}
        turns = {CLERKS: ~self.cranes_turn, CRANES: self.cranes_turn}
        objectives, costs, terminated, arrived = {}, {}, {}, {}
        for name, target in wanted.items():
            acts = (self.alive[name] & turns[name][:, None])[:, :, None]
            action = np.where(acts, actions[name], 0).astype(np.float32)
            miss = np.abs(action - target[:, None, :]).max(axis=2, keepdims=True)
            both = np.concatenate([1 - miss, -np.abs(action).max(axis=2, keepdims=True)], axis=2)
            objectives[name] = np.where(acts, both, 0).astype(np.float32)
            costs[name] = (acts & (miss > 1)).astype(np.float32)
            terminated[name] = np.zeros(self.alive[name].shape, np.bool_)
            arrived[name] = np.zeros(self.alive[name].shape, np.bool_)
        now = self.clock + 1
        terminated[CRANES][:, 1] = self.alive[CRANES][:, 1] & (now == LEAVES)
        arrived[CRANES][:, 1] = ~self.alive[CRANES][:, 1] & ((now == ARRIVES) | (now == RETURNS))
        self.cranes_turn = ~self.cranes_turn
        self._draw(np.arange(self.num_worlds))
        return Outcome({}, terminated, arrived=arrived, objectives=objectives, costs=costs)

    def _observe(self) -> Observation:
        turn = self.cranes_turn[:, None].astype(np.float32)
        clerks = np.concatenate([self.loads, turn], axis=1)[:, None]
        tides = np.stack([np.sin(self.clock), np.zeros(self.num_worlds), np.ones(self.num_worlds), turn[:, 0] * 0], 1)
        cranes = np.concatenate([turn, self.loads, np.ones_like(self.loads), tides], axis=1)[:, None]
        cranes = cranes * self.alive[CRANES][:, :, None]
        acts = {
            CLERKS: np.repeat(~self.cranes_turn[:, None], 1, axis=1),
            CRANES: np.repeat(self.cranes_turn[:, None], 2, axis=1),
        }
        return Observation({CLERKS: clerks, CRANES: cranes.astype(np.float32)}, {}, {}, self.loads.copy(), acts)

    def _get_state(self) -> dict[str, Any]:
        return {"loads": self.loads.copy(), "cranes_turn": self.cranes_turn.copy()}

    def _set_state(self, state: dict[str, Any]) -> None:
        self.loads, self.cranes_turn = state["loads"].copy(), state["cranes_turn"].copy()


DOMAIN = Domain("dock", "A dock, for tests.", EnvConfig, DockTask, DockEnv)
