"""SAC on batched worlds: what is SAC's own of configuration and algorithm."""

from __future__ import annotations

from ray.rllib.core.learner.learner import Learner

from algorithms.config import between
from algorithms.networks.squashed import SquashedModule
from algorithms.off_policy.algorithm import OffPolicyAlgorithm
from algorithms.off_policy.config import OffPolicyConfig
from algorithms.sac.learner import SACLearner
from algorithms.sac.settings import SACSettings


class SACConfig(OffPolicyConfig):
    """SAC's settings, as in `SACSettings`."""

    module_class = SquashedModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or SAC)
        self.temperature = 0.1
        self.learn_temperature = True
        self.target_entropy = -1.0
        self.target_share = 0.3
        self.least_temperature = 1e-4

    def get_default_learner_class(self) -> type[Learner]:
        """Its learner."""
        return SACLearner

    def validate(self) -> None:
        """Checks all settings.

        Raises:
            ValueError: In one line, naming the setting, what was given and what is allowed.
        """
        if self._validate_config:
            between(1e-8, float("inf"), temperature=self.temperature)
            between(0, 1, target_share=self.target_share)
        super().validate()


class SAC(OffPolicyAlgorithm):
    """Soft actor-critic (Haarnoja et al. 2018) for teams in batched worlds."""

    @classmethod
    def get_default_config(cls) -> SACConfig:
        """Default settings."""
        return SACConfig()


def configure(settings: SACSettings) -> SACConfig:
    """SAC's configuration from its section of an experiment's."""
    return SACConfig().settings(settings)
