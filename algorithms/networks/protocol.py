"""What sampling, evaluation and export ask of a network, whichever algorithm trains it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from gymnasium.spaces import Box, MultiDiscrete
from torch import Tensor

from algorithms.networks.normaliser import ObservationNormaliser
from envs.layout import ObservationLayout

ACTION_MASK = "action_mask"
"""Batch key: bool `[N, M]`, true where allowed."""
STATE = "state"
"""Batch key: global state, float32 `[N, S]`."""
ALIVE = "alive"
"""Batch key: bool `[W, A]`, for networks that read whole worlds."""


@runtime_checkable
class PolicyNetwork(Protocol):
    """The network of one module: an RLlib `TorchRLModule` with this beside.

    A batch holds `obs` `[N, D]`, and `action_mask` `[N, M]` where there are masks, a row an agent. A network whose
    agents need each other says `whole_worlds`: its batches hold worlds in the place of rows, `obs` `[W, A, D]` and so
    on, and `alive` `[W, A]`; what it puts out has the same axes. Worlds must not see each other, and what the rows of
    agents that are not alive hold must not change what the others get: export checks both.

    Attributes:
        whole_worlds: Whether it reads whole worlds.
        layout: What an agent sees.
        action_space: What an agent does.
        normaliser: Statistics of what agents see; None if it has none.
    """

    whole_worlds: bool
    layout: ObservationLayout
    action_space: Box | MultiDiscrete
    normaliser: ObservationNormaliser | None

    def forward_policy(self, batch: Mapping[str, Any]) -> Tensor:
        """Inputs of the action distribution (`algorithms.networks.distributions`), `[N, P]` or `[W, A, P]`."""

    def bundle_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What a bundle holds: `action_dist_inputs`, and where it can be had from observations alone, `values`."""


def network_of(module: Any) -> PolicyNetwork:
    """A module as what it is asked for here.

    Raises:
        TypeError: If it cannot do it.
    """
    if not isinstance(module, PolicyNetwork):
        raise TypeError(
            f"module: got a {type(module).__name__}, allowed is an algorithms.networks.protocol.PolicyNetwork"
        )
    return module
