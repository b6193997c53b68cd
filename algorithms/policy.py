"""Trained modules as a `Policy`, so that evaluation compares them with anything that acts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from ray.rllib.core.columns import Columns

from algorithms.mapping import PolicyMapping
from algorithms.networks.protocol import ACTION_MASK, ALIVE, PolicyNetwork
from envs.base import FloatArray
from policies.network import NetworkPolicy, Part, Rows


class ModulePolicy(NetworkPolicy):
    """Plays modules in torch, without gradients. It reads their weights as they are at each call.

    Args:
        modules: The modules, by id: a `MultiRLModule` or a dictionary.
        mapping: Who plays with which module.
        name: Name in tables.
    """

    def __init__(self, modules: Mapping[str, PolicyNetwork], mapping: PolicyMapping, name: str = "trained") -> None:
        parts: dict[str, list[Part]] = {}
        for module, slices in mapping.modules.items():
            for part in slices:
                size = mapping.groups[part.group].size
                agents = tuple(range(size))[part.agents]
                parts.setdefault(module, []).append(Part(part.group, None if len(agents) == size else agents))
        self._modules = {module: modules[module] for module in parts}
        whole_worlds = [module for module, network in self._modules.items() if network.whole_worlds]
        super().__init__(mapping.groups, parts, whole_worlds=whole_worlds)
        self.name = name

    @torch.no_grad()
    def dist_inputs(self, rows: Mapping[str, Rows]) -> dict[str, FloatArray]:
        """Runs each module once."""
        outputs: dict[str, FloatArray] = {}
        for module, given in rows.items():
            batch = {
                Columns.OBS: torch.from_numpy(given.observations),
                ACTION_MASK: torch.from_numpy(given.masks),
            }
            if given.alive is not None:
                batch[ALIVE] = torch.from_numpy(given.alive)
                agents = self.team_sizes[module]
                batch = {name: column.unflatten(0, (-1, agents)) for name, column in batch.items()}
            outputs[module] = self._modules[module].forward_policy(batch).flatten(0, -2).numpy()
        return outputs
