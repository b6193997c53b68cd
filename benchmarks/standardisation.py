"""Mends RLlib's standardisation of advantages, so that its PPO and ours can be held to the same result.

RLlib 2.60 appends an artificial step to every piece of an episode, to bootstrap from, masks it out of the loss, but
counts its meaningless advantage when it takes the mean and the deviation that all advantages are standardised by
(ray-project/ray#57989). The shorter the episodes, the more it matters: the true advantages shrink and are shifted.
"""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

LEAST_DEVIATION = 1e-4
"""RLlib's own, against a division by zero."""


class StandardiseRealSteps(ConnectorV2):
    """Standardises advantages by the steps that were really taken.

    What RLlib's own standardisation did is an affine map, which a second one undoes.
    """

    def __call__(self, *, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Replaces every module's advantages, `[N]`."""
        for columns in batch.values():
            if Postprocessing.ADVANTAGES not in columns or Columns.LOSS_MASK not in columns:
                continue
            estimates = columns[Postprocessing.ADVANTAGES]
            real = estimates[torch.as_tensor(columns[Columns.LOSS_MASK], dtype=torch.bool)]
            deviation = real.std(correction=0).clamp_min(LEAST_DEVIATION)
            columns[Postprocessing.ADVANTAGES] = (estimates - real.mean()) / deviation
        return batch


class MendedLearner(PPOTorchLearner):
    """RLlib's PPO with advantages standardised by real steps; everything else is as it comes."""

    def build(self) -> None:
        """Builds RLlib's pipeline, and one piece more, behind the one that estimates advantages."""
        super().build()
        self._learner_connector.append(StandardiseRealSteps())
