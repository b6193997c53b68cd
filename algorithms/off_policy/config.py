"""What the configurations of all learners from the past share."""

from __future__ import annotations

from typing import Self

from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from algorithms.config import BatchedConfig, at_least, between
from algorithms.networks.module import module_spec
from algorithms.networks.policy_module import PolicyModule
from algorithms.networks.protocol import PolicyNetwork
from algorithms.off_policy.collector import OffPolicyCollector
from algorithms.off_policy.settings import OffPolicySettings
from algorithms.trajectory import Trajectory


class OffPolicyConfig(BatchedConfig):
    """Replay, and how often and how far is learned from it; see `OffPolicySettings` for units.

    Attributes:
        replay_frames, replay_memory, learn_from, steps_per_update, batch, n_step, target_rate, target_period,
            priority, priority_correction, standardise: As in `OffPolicySettings`.
        module_class: The kind of network.
    """

    module_class: type[PolicyModule] = PolicyModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class)
        self.lr = 5e-4
        self.gamma = 0.99
        self.grad_clip = 10.0
        self.grad_clip_by = "global_norm"
        self.rollout_fragment_length = 8
        self.replay_frames = 1_000_000
        self.replay_memory = 1.0
        self.learn_from = 1_000
        self.steps_per_update = 32.0
        self.batch = 256
        self.n_step = 1
        self.priority = 0.0
        self.priority_correction = 1.0
        self.target_rate = 0.005
        self.target_period = 200
        self.standardise = True

    def settings(self, settings: OffPolicySettings) -> Self:
        """Takes over what is said in a section of an experiment's configuration."""
        self.training(lr=settings.lr, gamma=settings.gamma, grad_clip=settings.grad_clip)
        for name in type(settings).model_fields.keys() - {"lr", "gamma", "grad_clip"}:
            setattr(self, name, getattr(settings, name))
        return self

    def network_spec(self, module_id: str) -> RLModuleSpec:
        """The policy's network; critics are the learner's own."""
        group = self.policy_mapping().module_spaces(module_id)
        return module_spec(group, self.network_config(), self.state_size, kind=self.module_class)

    def collector(self, module: PolicyNetwork, trajectory: Trajectory) -> OffPolicyCollector:
        """Whole worlds, for the replay."""
        assert isinstance(module, PolicyModule)
        return OffPolicyCollector(module, trajectory, self.exploration())

    def validate(self) -> None:
        """Checks all settings.

        Raises:
            ValueError: In one line, naming the setting, what was given and what is allowed.
        """
        if self._validate_config:
            counts = ("replay_frames", "learn_from", "batch", "n_step", "target_period")
            at_least(1, **{name: getattr(self, name) for name in counts})
            between(0, 1, target_rate=self.target_rate, priority=self.priority)
            between(0, 1, priority_correction=self.priority_correction)
            if self.priority and self.network_config().memory != "none":
                raise ValueError(f"priority: got {self.priority}, allowed with network.memory is 0")
            if self.learn_from > self.replay_frames:
                raise ValueError(
                    f"learn_from: got {self.learn_from}, allowed is at most replay_frames, {self.replay_frames}"
                )
        super().validate()
