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
"""Batch key: bool `[W, A]`, for networks that read whole worlds; `[N, L]` in sequences."""
MEMORY = "memory"
"""Batch key: recurrent state before the row, or before the sequence, float32 `[N, H]`."""
BEGINS = "begins"
"""Batch key: where in a sequence an episode begins, and the recurrent state is zero, bool `[N, L]`."""


@runtime_checkable
class PolicyNetwork(Protocol):
    """The network of one module: an RLlib `TorchRLModule` with this beside.

    A batch holds `obs` `[N, D]`, and `action_mask` `[N, M]` where there are masks, a row an agent. A network whose
    agents need each other says `whole_worlds`: its batches hold worlds in the place of rows, `obs` `[W, A, D]` and so
    on, and `alive` `[W, A]`; what it puts out has the same axes. Worlds must not see each other, and what the rows of
    agents that are not alive hold must not change what the others get: export checks both.

    A network that remembers says the width of its recurrent state, and finds it in its batches under `memory` `[N, H]`:
    zeros when an episode begins, and in steps in which an agent is away what it was. Whoever calls it sees to that.
    Learners hand over *sequences* in the place of rows: `obs` `[N, L, D]` and so on, `alive` and `begins` `[N, L]`, and
    `memory` `[N, H]` as it was before the first step; what comes out has the same axes.

    Attributes:
        whole_worlds: Whether it reads whole worlds.
        memory_size: Width `H` of the recurrent state that acting takes; 0: it has none.
        critic_memory_size: Width of what a critic remembers by itself, which stands behind the former in batches that
            values are asked of; 0: nothing.
        layout: What an agent sees.
        action_space: What an agent does.
        normaliser: Statistics of what agents see; None if it has none.
    """

    whole_worlds: bool
    memory_size: int
    critic_memory_size: int
    layout: ObservationLayout
    action_space: Box | MultiDiscrete
    normaliser: ObservationNormaliser | None

    def forward_policy(self, batch: Mapping[str, Any]) -> Tensor:
        """Inputs of the action distribution (`algorithms.networks.distributions`), `[N, P]` or `[W, A, P]`."""

    def bundle_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What a bundle holds: `action_dist_inputs`, of those that remember `next_state`, and `values`.

        Values are there where they can be had from what the policy reads alone.
        """


NEEDED = (*PolicyNetwork.__annotations__, "forward_policy", "bundle_outputs")
"""What such a network has."""


@runtime_checkable
class RecurrentNetwork(PolicyNetwork, Protocol):
    """A network whose `memory_size` is not 0."""

    def advance(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """What `forward_policy` returns, and the next recurrent state `[N, H]`, without what a critic remembers."""


def network_of(module: Any) -> PolicyNetwork:
    """A module as what it is asked for here.

    Raises:
        TypeError: If it cannot do it.
    """
    if not isinstance(module, PolicyNetwork):
        missing = ", ".join(sorted(name for name in NEEDED if not hasattr(module, name)))
        raise TypeError(
            f"module: got a {type(module).__name__} without {missing}, allowed is an "
            "algorithms.networks.protocol.PolicyNetwork"
        )
    return module
