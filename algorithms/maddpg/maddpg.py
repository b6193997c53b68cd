"""MADDPG on batched worlds: what is MADDPG's own of configuration and algorithm."""

from __future__ import annotations

import math

from ray.rllib.core.learner.learner import Learner

from algorithms.config import at_least, between, two
from algorithms.maddpg.learner import MADDPGLearner
from algorithms.maddpg.network import DeterministicModule
from algorithms.maddpg.settings import MADDPGSettings
from algorithms.off_policy.algorithm import OffPolicyAlgorithm
from algorithms.off_policy.config import OffPolicyConfig


class MADDPGConfig(OffPolicyConfig):
    """MADDPG's settings, as in `MADDPGSettings`."""

    module_class = DeterministicModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or MADDPG)
        self.critic_sizes: tuple[int, ...] = (64, 64)
        self.noise = (0.3, 0.05)
        self.noise_steps = 100_000
        self.softmax_temperature = 1.0
        self.output_penalty = 1e-3

    def get_default_learner_class(self) -> type[Learner]:
        """Its learner."""
        return MADDPGLearner

    def validate(self) -> None:
        """Checks all settings.

        Raises:
            ValueError: In one line, naming the setting, what was given and what is allowed.
        """
        if self._validate_config:
            at_least(1, noise_steps=self.noise_steps)
            two("noise", self.noise, 0, math.inf)
            between(1e-3, 100, softmax_temperature=self.softmax_temperature)
        super().validate()


class MADDPG(OffPolicyAlgorithm):
    """Multi-agent deterministic policy gradients (Lowe et al. 2017) for teams in batched worlds."""

    @classmethod
    def get_default_config(cls) -> MADDPGConfig:
        """Default settings."""
        return MADDPGConfig()


def configure(settings: MADDPGSettings) -> MADDPGConfig:
    """MADDPG's configuration from its section of an experiment's."""
    return MADDPGConfig().settings(settings)
