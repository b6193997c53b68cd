"""What a bundle's modules take and give, looked up once a bundle and not once a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from envs.arrays import OwnActions
    from policies.bundle import BundlePolicy


Datatype = Literal["FP32", "INT64", "BOOL"]
_Spec = tuple[str, Datatype, int | None, bool]
"""Role, datatype, width and whether it is optional."""
NEEDED = "agents that need each other are asked together, the agents of a world at once"
"""Why loose rows are refused."""


class Limits(Protocol):
    """How much a request may hold; `ServeSettings` are such limits."""

    @property
    def max_rows(self) -> int:
        """Most rows of observations, all modules together."""

    @property
    def max_body_bytes(self) -> int:
        """Most bytes of a body, unpacked."""

    @property
    def max_json_values(self) -> int:
        """Most values in a body's JSON."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits without the other settings; see `Limits`."""

    max_rows: int
    max_body_bytes: int
    max_json_values: int


@dataclass(frozen=True, eq=False)
class ModuleSignature:
    """What one module takes and gives.

    Attributes:
        module: Its id.
        size: Width `D` of its observations.
        mask_size: Width `M` of its action masks.
        state_size: Width `H` of its recurrent state; 0 if it has none.
        num_actions: Action dimensions or branches `K`.
        dist_size: Width `P` of its distribution's inputs.
        has_values: Whether it has a critic.
        branches: Where the choices of each branch begin in a mask, int64 `[K]`; None if actions are continuous.
        names: Names of the `D` features.
        action_names: Name of each action, `[K]`, such as `AAPL`; None where actions belong to no entities.
        own_actions: What actions are in the env's own values; None if they are the same there.
        team: Its agents, in the order of their rows, if it reads whole worlds; empty if it reads each row by itself.
    """

    module: str
    size: int
    mask_size: int
    state_size: int
    num_actions: int
    dist_size: int
    has_values: bool
    branches: NDArray[np.int64] | None
    names: tuple[str, ...]
    action_names: tuple[str, ...] | None
    own_actions: OwnActions | None = None
    team: tuple[str, ...] = ()

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Where each agent of the team lies."""
        return {agent: place for place, agent in enumerate(self.team)}

    @property
    def discrete(self) -> bool:
        """Whether actions are branches of choices."""
        return self.branches is not None


@dataclass(frozen=True)
class Tensor:
    """A tensor as requests know it.

    Attributes:
        name: Its name.
        module: The module that it belongs to.
        role: What the module takes or gives it as.
        datatype: As the Open Inference Protocol calls it.
        width: Size of its last axis; None if it has one value a row.
        optional: Whether an input may be left out, or an output comes on request only.
        team_size: Agents of a world, if the module reads whole worlds; 0 if it reads each row by itself.
    """

    name: str
    module: str
    role: str
    datatype: Datatype
    width: int | None
    optional: bool
    team_size: int = 0

    @property
    def shape(self) -> list[int]:
        """Its shape, -1 where it varies: rows, or worlds of so many agents."""
        return [-1, *([self.team_size] if self.team_size else []), *([] if self.width is None else [self.width])]


@dataclass(frozen=True, eq=False)
class Signature:
    """What a bundle takes and gives.

    Attributes:
        modules: Signatures by module.
        agents: The module of each agent.
        common: The module that plays any agent, whatever its name: there is one if just one module plays whole groups,
            and reads each row by itself.
        inputs: Input tensors by name; those of several modules bear their module's id and a dot before the name.
        outputs: Output tensors by name.
    """

    modules: Mapping[str, ModuleSignature]
    agents: Mapping[str, str]
    common: str | None
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


_known: WeakKeyDictionary[BundlePolicy, Signature] = WeakKeyDictionary()


def signature_of(policy: BundlePolicy) -> Signature:
    """The signature of a loaded bundle, made at the first call and remembered as long as the bundle."""
    signature = _known.get(policy)
    if signature is None:
        signature = _known[policy] = _signature(policy)
    return signature


def _signature(policy: BundlePolicy) -> Signature:
    modules = {module: _module(policy, module) for module in policy.modules}
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for name, module in modules.items():
        prefix = f"{name}." if len(modules) > 1 else ""
        for tensors, found in ((inputs, _inputs(module)), (outputs, _outputs(module))):
            for role, datatype, width, optional in found:
                tensors[prefix + role] = Tensor(prefix + role, name, role, datatype, width, optional, len(module.team))
    agents = {
        agent: module
        for group in policy.manifest.groups.values()
        for agent, module in zip(group.agent_ids, group.modules, strict=True)
    }
    whole = {module for module, parts in policy.modules.items() for part in parts if part.agents is None}
    common = whole.pop() if len(whole) == 1 else None
    return Signature(modules, agents, None if common in policy.team_sizes else common, inputs, outputs)


def _module(policy: BundlePolicy, module: str) -> ModuleSignature:
    from gymnasium.spaces import MultiDiscrete  # here, where a policy is: who only reads requests needs it not

    group = policy.spaces_of(module)
    branches = None
    if isinstance(group.action_space, MultiDiscrete):
        branches = np.concatenate([[0], np.cumsum(group.action_space.nvec[:-1])]).astype(np.int64)
    each = group.layout.actions_per_entity
    names = None
    if each == 1:
        names = group.layout.entities
    elif each > 1:
        names = tuple(f"{entity}.{index}" for entity in group.layout.entities for index in range(each))
    own = {policy.groups[part.group].own_actions for part in policy.modules[module]}
    return ModuleSignature(
        module=module,
        size=group.layout.size,
        mask_size=group.mask_size,
        state_size=policy.state_sizes.get(module, 0),
        num_actions=group.num_actions,
        dist_size=group.mask_size if branches is not None else 2 * group.num_actions,
        has_values=policy.has_values(module),
        branches=branches,
        names=group.layout.names,
        action_names=names,
        own_actions=own.pop() if len(own) == 1 else None,
        team=policy.agents_of(module) if module in policy.team_sizes else (),
    )


def _inputs(module: ModuleSignature) -> list[_Spec]:
    found: list[_Spec] = [
        ("observations", "FP32", module.size, False),
        ("action_mask", "BOOL", module.mask_size, True),
    ]
    if module.state_size:
        found.append(("state", "FP32", module.state_size, True))
    if module.team:
        found.append(("alive", "BOOL", None, True))
    return found


def _outputs(module: ModuleSignature) -> list[_Spec]:
    found: list[_Spec] = [
        ("actions", "INT64" if module.discrete else "FP32", module.num_actions, False),
        ("log_probs", "FP32", None, False),
    ]
    if module.has_values:
        found.append(("values", "FP32", None, False))
    if module.state_size:
        found.append(("state", "FP32", module.state_size, False))
    found.append(("action_dist_inputs", "FP32", module.dist_size, True))
    return found
