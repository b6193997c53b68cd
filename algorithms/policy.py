"""Trained modules as a `Policy`, so that evaluation compares them with anything that acts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from ray.rllib.core.columns import Columns

from algorithms.mapping import PolicyMapping
from algorithms.networks.protocol import ACTION_MASK, ALIVE, MEMORY, PolicyNetwork, RecurrentNetwork
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
        memories = {module: network.memory_size for module, network in self._modules.items() if network.memory_size}
        super().__init__(mapping.groups, parts, memories, whole_worlds)
        self.name = name

    def dist_inputs(self, rows: Mapping[str, Rows]) -> dict[str, FloatArray]:
        """Runs each module once."""
        return self.advance(rows)[0]

    @torch.no_grad()
    def advance(self, rows: Mapping[str, Rows]) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
        """Runs each module once, and keeps the states of those that remember."""
        outputs: dict[str, FloatArray] = {}
        states: dict[str, FloatArray] = {}
        for module, given in rows.items():
            batch = {
                Columns.OBS: torch.from_numpy(given.observations),
                ACTION_MASK: torch.from_numpy(given.masks),
            }
            if given.alive is not None:
                batch[ALIVE] = torch.from_numpy(given.alive)
                agents = self.team_sizes[module]
                batch = {name: column.unflatten(0, (-1, agents)) for name, column in batch.items()}
            network = self._modules[module]
            if network.memory_size:
                assert isinstance(network, RecurrentNetwork)
                batch[MEMORY] = torch.from_numpy(given.state)
                found, state = network.advance(batch)
                states[module] = state.numpy()
            else:
                found = network.forward_policy(batch)
            outputs[module] = found.flatten(0, -2).numpy()
        return outputs, states
