"""A throw-away team whose agents need each other: each is shown one bit, 1 or -1, and all are asked for their mean.

A member knows its own bit alone, so that without messages nobody earns more than `ALONE`; with the mean of what all
members say, which CommNet (Sukhbaatar et al. 2016, https://arxiv.org/abs/1605.07736) passes on, each can know. The last
member is away in every other world.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import reinforce
import torch
from gymnasium.spaces import Box
from pydantic import Field
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from reinforce import Reinforce, ReinforceConfig, ReinforceLearner, ReinforceSettings, ReturnsCollector

from algorithms.networks.distributions import distribution_class
from algorithms.networks.protocol import ALIVE
from algorithms.rollout import Columned
from envs.base import Actions, AgentGroup, BatchedEnv, EnvConfig, IntArray, Observation, Outcome, Task
from envs.layout import ObservationLayout
from envs.registry import Domain

MEMBERS = ("ann", "bob", "cid")
GROUP = "members"
ALONE = 1 - (2 / 9 + 1 / 4) / 2
"""Mean reward of the best that knows one bit alone: less the variance of two others' bits by 3, or of one's by 2."""


class MeanTask(Task):
    """For how long they are asked."""

    max_steps: int = Field(4, ge=1)


class MeanEnv(BatchedEnv):
    """Reward: 1 less the squared distance from the mean of the bits of those members that are there."""

    def __init__(self, config: EnvConfig, num_worlds: int, *, task: Any = None, first_world: int = 0) -> None:
        group = AgentGroup(GROUP, MEMBERS, Box(-1, 1, (1,), np.float32), ObservationLayout(("bit", "away")))
        super().__init__(num_worlds, [group], state_size=1, task=task or MeanTask(), first_world=first_world)
        self.bits = np.zeros((num_worlds, len(MEMBERS)), np.float32)

    def _begin(self, worlds: IntArray) -> None:
        for world in worlds:
            self.alive[GROUP][world, -1] = self.streams.generators[world].random() < 0.5
        self._draw(worlds)

    def _draw(self, worlds: IntArray) -> None:
        for world in worlds:
            self.bits[world] = self.streams.generators[world].choice([-1, 1], len(MEMBERS))

    def _advance(self, actions: Actions) -> Outcome:
        alive = self.alive[GROUP]
        mean = (self.bits * alive).sum(axis=1, keepdims=True) / alive.sum(axis=1, keepdims=True)
        earned = np.where(alive, 1 - (actions[GROUP][:, :, 0] - mean) ** 2, 0)
        self._draw(np.arange(self.num_worlds))
        return Outcome({GROUP: earned.astype(np.float32)}, {GROUP: np.zeros_like(alive)})

    def _observe(self) -> Observation:
        alive = self.alive[GROUP]
        away = np.broadcast_to(~alive[:, -1:], alive.shape)
        seen = np.stack([self.bits, away], axis=2) * alive[:, :, None]
        return Observation({GROUP: seen.astype(np.float32)}, {}, {}, np.zeros((self.num_worlds, 1), np.float32))

    def _get_state(self) -> dict[str, Any]:
        return {"bits": self.bits.copy()}

    def _set_state(self, state: dict[str, Any]) -> None:
        self.bits[...] = state["bits"]


DOMAIN = Domain("mean", "What is the mean of our bits?", EnvConfig, MeanTask, MeanEnv)


class Messages(TorchRLModule):
    """Each agent of a world hears the mean of what those who are there say."""

    whole_worlds = True
    memory_size = critic_memory_size = 0
    normaliser = None
    LEAKS: str | None = None
    """What a test has it do wrong."""

    def setup(self) -> None:
        """Builds the layers."""
        self.layout = ObservationLayout.of(self.model_config["layout"])
        self.says = torch.nn.Linear(self.layout.size, 16)
        self.hears = torch.nn.Sequential(
            torch.nn.Linear(16 + self.layout.size, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)
        )

    def forward_policy(self, batch: Any) -> torch.Tensor:
        """Mean and deviation `[W, A, 2]`."""
        seen, alive = batch[Columns.OBS], batch[ALIVE].unsqueeze(-1).to(torch.float32)
        if self.LEAKS == "absent":
            alive = torch.ones_like(alive)
        said = (self.says(seen) * alive).sum(dim=1, keepdim=True)
        if self.LEAKS == "worlds":
            said = said + said.mean(dim=0, keepdim=True)
        heard = (said / alive.sum(dim=1, keepdim=True)).expand(-1, seen.shape[1], -1)
        mean = self.hears(torch.cat([seen, heard], dim=-1))
        return torch.cat([mean, torch.full_like(mean, -1.5)], dim=-1)

    def bundle_outputs(self, batch: Any) -> dict[str, torch.Tensor]:
        """It has no critic."""
        return {"action_dist_inputs": self.forward_policy(batch)}

    def _forward(self, batch: Any, **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.forward_policy(batch)}

    def update_normaliser(self, observations: torch.Tensor) -> None:
        """It has none."""

    def get_inference_action_dist_cls(self) -> Any:
        """Of its action space."""
        return distribution_class(self.action_space)

    get_exploration_action_dist_cls = get_train_action_dist_cls = get_inference_action_dist_cls


class WorldsCollector(ReturnsCollector):
    """Hands over whole worlds, and who of them counts."""

    def columns(self, earned: Any, known: Any) -> Columned:
        """Worlds in which somebody acted."""
        trajectory, some = self.trajectory, known.any(axis=2)
        return {
            Columns.OBS: trajectory.observations[:-1][some],
            Columns.ACTIONS: trajectory.actions[some],
            ALIVE: trajectory.alive[:-1][some],
            "returns": earned[some].astype(np.float32),
            "counts": known[some],
        }


class WorldsLearner(ReinforceLearner):
    """REINFORCE over the agents that count."""

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> Any:
        """As of rows."""
        counts = batch["counts"]
        fwd_out = {name: outputs[counts] for name, outputs in fwd_out.items()}
        rows = {name: batch[name][counts] for name in (Columns.ACTIONS, "returns")}
        return super().compute_loss_for_module(module_id=module_id, config=config, batch=rows, fwd_out=fwd_out)


class MessagesConfig(ReinforceConfig):
    """REINFORCE with a network of its own."""

    def get_default_learner_class(self) -> type:
        """Its learner."""
        return WorldsLearner

    def network_spec(self, module_id: str) -> RLModuleSpec:
        """Agents that speak with each other."""
        group = self.policy_mapping().module_spaces(module_id)
        return RLModuleSpec(
            module_class=Messages,
            observation_space=group.observation_space,
            action_space=group.action_space,
            model_config={"layout": asdict(group.layout)},
        )

    def collector(self, module: Any, trajectory: Any) -> WorldsCollector:
        """Whole worlds with returns."""
        return WorldsCollector(module, trajectory, self.gamma)


def configure(settings: ReinforceSettings) -> MessagesConfig:
    """Its RLlib configuration from its section."""
    return MessagesConfig(Reinforce).training(lr=settings.lr, gamma=settings.gamma)


ALGORITHM = replace(
    reinforce.ALGORITHM,
    summary="REINFORCE for agents that speak with each other.",
    configure="messages:configure",
    defaults=Path(__file__).with_name("messages.yaml"),
)
