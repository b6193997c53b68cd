"""RLlib's way to serve a policy: the deployment of `rllib/examples/ray_serve` in Ray 2.60, written anew."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from ray import serve
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.serve.schema import LoggingConfig


class ExampleDeployment:
    """Restores an RLModule and answers one observation with the likeliest action.

    Args:
        checkpoint: Folder of the module's checkpoint.
    """

    def __init__(self, checkpoint: str) -> None:
        torch.set_num_threads(1)  # as ours; more would only slow it down where cores are busy
        self._module = RLModule.from_checkpoint(checkpoint)

    async def __call__(self, request: Any) -> dict[str, int]:
        """Answers `{"observation": […]}` with `{"action": …}`."""
        observation = json.loads((await request.body()).decode())["observation"]
        batch = {Columns.OBS: torch.from_numpy(np.array([observation], np.float32))}
        logits = self._module.forward_inference(batch)[Columns.ACTION_DIST_INPUTS][0]
        return {"action": int(np.argmax(logits))}


Example: Any = serve.deployment(logging_config=LoggingConfig(log_level="WARN"))(ExampleDeployment)
"""The deployment, with the example's settings."""
