"""QMIX on batched worlds: what is QMIX's own of configuration and algorithm."""

from __future__ import annotations

import math
from typing import get_args

from ray.rllib.core.learner.learner import Learner

from algorithms.config import at_least, between, one_of, two
from algorithms.off_policy.algorithm import OffPolicyAlgorithm
from algorithms.off_policy.config import OffPolicyConfig
from algorithms.qmix.learner import QMIXLearner
from algorithms.qmix.network import UtilityModule
from algorithms.qmix.settings import Mixing, QMIXSettings


class QMIXConfig(OffPolicyConfig):
    """QMIX's settings, as in `QMIXSettings`."""

    module_class = UtilityModule

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or QMIX)
        self.mixing: Mixing = "qmix"
        self.mixing_width = 32
        self.hypernet_width = 64
        self.double = True
        self.error_clip: float | None = None
        self.sequence = 16
        self.burn_in = 16
        self.epsilon = (1.0, 0.05)
        self.epsilon_steps = 50_000

    def get_default_learner_class(self) -> type[Learner]:
        """Its learner."""
        return QMIXLearner

    def reads_state(self) -> bool:
        """The mixer does."""
        return self.mixing == "qmix"

    def takes_sequences(self) -> bool:
        """It does: the replay keeps runs of frames."""
        return True

    def validate(self) -> None:
        """Checks all settings.

        Raises:
            ValueError: In one line, naming the setting, what was given and what is allowed.
        """
        if self._validate_config:
            one_of(get_args(Mixing), mixing=self.mixing)
            at_least(1, mixing_width=self.mixing_width, hypernet_width=self.hypernet_width)
            at_least(1, epsilon_steps=self.epsilon_steps, sequence=self.sequence)
            at_least(0, burn_in=self.burn_in)
            two("epsilon", self.epsilon, 0, 1)
            if self.error_clip is not None:
                between(1e-6, math.inf, error_clip=self.error_clip)
        super().validate()

    def _meet_agents(self) -> None:
        super()._meet_agents()
        if not all(group.discrete for group in self.groups.values()):
            raise ValueError("action_mode: got continuous actions, allowed for qmix are discrete ones")


class QMIX(OffPolicyAlgorithm):
    """Monotonic value factorisation (Rashid et al. 2018) for teams in batched worlds."""

    @classmethod
    def get_default_config(cls) -> QMIXConfig:
        """Default settings."""
        return QMIXConfig()


def configure(settings: QMIXSettings) -> QMIXConfig:
    """QMIX's configuration from its section of an experiment's."""
    return QMIXConfig().settings(settings)
