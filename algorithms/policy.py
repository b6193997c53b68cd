"""Trained modules as a `Policy`, so that evaluation compares them with anything that acts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from ray.rllib.core.columns import Columns

from algorithms.mapping import PolicyMapping
from algorithms.networks.module import ACTION_MASK, ActorCriticModule
from envs.base import FloatArray
from policies.network import NetworkPolicy, Part, Rows


class ModulePolicy(NetworkPolicy):
    """Plays modules in torch, without gradients. It reads their weights as they are at each call.

    Args:
        modules: The modules, by id: a `MultiRLModule` or a dictionary.
        mapping: Who plays with which module.
        name: Name in tables.
    """

    def __init__(self, modules: Mapping[str, ActorCriticModule], mapping: PolicyMapping, name: str = "trained") -> None:
        parts: dict[str, list[Part]] = {}
        for module, slices in mapping.modules.items():
            for part in slices:
                size = mapping.groups[part.group].size
                agents = tuple(range(size))[part.agents]
                parts.setdefault(module, []).append(Part(part.group, None if len(agents) == size else agents))
        super().__init__(mapping.groups, parts)
        self.name = name
        self._modules = {module: modules[module] for module in parts}

    @torch.no_grad()
    def dist_inputs(self, rows: Mapping[str, Rows]) -> dict[str, FloatArray]:
        """Runs each module once."""
        outputs: dict[str, FloatArray] = {}
        for module, given in rows.items():
            batch = {
                Columns.OBS: torch.from_numpy(given.observations),
                ACTION_MASK: torch.from_numpy(given.masks),
            }
            outputs[module] = self._modules[module].forward_policy(batch).numpy()
        return outputs
