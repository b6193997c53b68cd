"""What our learners share beside RLlib's: threads, and an Adam whose step is a single kernel."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from algorithms.torch_settings import use_threads


class AdamLearner(TorchLearner):
    """A learner with one Adam a module."""

    def build(self) -> None:
        """Builds networks and optimisers."""
        use_threads(self.config.torch_threads)
        super().build()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """One Adam a module, whose step is a single kernel."""
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.Adam(parameters, fused=True),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )

    def _log_trainable_parameters(self) -> None:
        """RLlib logs these once, and from the second iteration on results say NaN: left out."""
