"""A policy's network: what every algorithm trains, the runners sample with, and the bundles export."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from algorithms.exploration import Tried
from algorithms.networks.config import NetworkConfig
from algorithms.networks.distributions import (
    MASKED_LOGIT,
    ActionDistribution,
    distribution_class,
    num_actions,
)
from algorithms.networks.flat import FlatEncoder, FlatHead
from algorithms.networks.memory import GRU
from algorithms.networks.messages import Messages
from algorithms.networks.normaliser import Moments, ObservationNormaliser, StateNormaliser
from algorithms.networks.pooled import EntityHead, PooledEncoder
from algorithms.networks.protocol import ACTION_MASK, ALIVE, BEGINS, MEMORY, STATE
from envs.layout import ObservationLayout


class PolicyModule(TorchRLModule):
    """Encoder and head of a policy, with their normaliser, over one agent's observations as rows.

    `forward` never changes the module. A batch holds `obs` `[N, D]`, and `action_mask` `[N, M]` where there are masks.
    Subclasses add what values come from. The largest deviation of continuous actions is a buffer, so that runners and
    checkpoints have it.

    Where agents exchange messages, between encoder and head, batches hold whole worlds: `[W, A, …]` in the place of
    `[N, …]`, here and below, and `alive` `[W, A]` beside. Where agents remember, batches hold their recurrent state
    `memory` `[N, H]` too, and in learning sequences `[N, L, …]` (see `algorithms.networks.protocol`). All else is still
    done to rows, an agent, or an agent's step, each.
    """

    whole_worlds: bool = False
    memory_size: int = 0
    critic_memory_size: int = 0
    log_std: Tensor | None
    log_std_limit: Tensor

    def setup(self) -> None:
        """Builds the layers from `model_config`: `network`, `layout`, `state_size` and `hears`.

        Raises:
            pydantic.ValidationError: If a setting of the network is not allowed.
            ValueError: If the spaces, the layout and the state do not fit together.
        """
        self.network = NetworkConfig.model_validate(self.model_config["network"])
        self.layout = ObservationLayout.of(self.model_config["layout"])
        self.state_size = int(self.model_config.get("state_size") or 0)
        config, layout, space = self.network, self.layout, self.action_space
        self.pooled = config.kind == "pooled" and layout.num_entities > 0 and len(layout.entity_features) > 0
        per_entity = layout.actions_per_entity if self.pooled else 0
        self._check(per_entity)

        self.normaliser = ObservationNormaliser(layout, config.clip) if config.normalise else None
        self.state_normaliser: StateNormaliser | None = None
        self.encoder = self.make_encoder()
        self.messages = self.make_messages()
        self.whole_worlds = self.messages is not None
        self.memory = self.make_memory()
        self.memory_size = 0 if self.memory is None else self.memory.width
        self.width = self.memory_size or self.encoder.width  # of what heads read
        self._make_values()

        self.shared_actions = per_entity or num_actions(space)
        discrete = isinstance(space, MultiDiscrete)
        outputs = int(space.nvec[: self.shared_actions].sum()) if discrete else self.shared_actions
        if not discrete and config.std == "network":
            outputs *= 2
        self.policy_head = self.make_head(outputs, config.policy_gain)
        log_std = torch.full((self.shared_actions,), config.initial_log_std)
        if discrete:
            self.log_std = None
        elif config.std == "free":
            self.log_std = nn.Parameter(log_std)
        else:  # where the deviations start: did it learn beside the head's bias, they would move at twice the rate
            self.register_buffer("log_std", log_std, persistent=False)
        if not discrete:
            self.register_buffer("log_std_limit", torch.tensor(config.log_std_range[1]))

    def make_encoder(self, extra: int = 0) -> PooledEncoder | FlatEncoder:
        """An encoder of this agent's observations, with new weights.

        Args:
            extra: Width of what else it reads.
        """
        kind = PooledEncoder if self.pooled else FlatEncoder
        return kind(self.layout, self.network, extra)

    def make_messages(self) -> Messages | None:
        """Rounds of messages over an encoder's output, with new weights; None where there are none."""
        if self.network.messages == "none":
            return None
        return Messages(self.encoder.width, self.network, self.model_config.get("hears"))

    def make_memory(self) -> GRU | None:
        """Recurrent units over an encoder's output, with new weights; None where there are none."""
        return None if self.network.memory == "none" else GRU(self.encoder.width, self.network.memory_width)

    def make_head(self, outputs: int, gain: float) -> EntityHead | FlatHead:
        """A head over an encoder's output, with new weights: of each entity where actions are, else of the whole.

        Args:
            outputs: Outputs, of an entity where actions are of entities.
            gain: Gain of the initial weights.
        """
        if self.pooled and self.layout.actions_per_entity:
            return EntityHead(self.width, self.network.entity_width, outputs, gain)
        return FlatHead(self.width, outputs, gain)

    def _make_values(self) -> None:
        """Builds what values come from, between encoder and head: here nothing."""

    def _check(self, per_entity: int) -> None:
        """Raises ValueError unless spaces and layout fit together."""
        layout, space = self.layout, self.action_space
        if self.observation_space.shape != (layout.size,):
            raise ValueError(
                f"observation_space: got shape {self.observation_space.shape}, allowed is the layout's ({layout.size},)"
            )
        if not (isinstance(space, MultiDiscrete) or (isinstance(space, Box) and len(space.shape) == 1)):
            raise ValueError(f"action_space: got {space}, allowed are Box of one axis and MultiDiscrete")
        if not per_entity:
            return
        if num_actions(space) != layout.num_entities * per_entity:
            raise ValueError(
                f"action_space: got {num_actions(space)} actions, allowed are {layout.num_entities} entities times "
                f"{per_entity}"
            )
        if isinstance(space, MultiDiscrete) and (space.nvec.reshape(-1, per_entity) != space.nvec[:per_entity]).any():
            raise ValueError(
                f"action_space: got branches {space.nvec.tolist()}, allowed for kind 'pooled' are the same for every "
                "entity; kind 'flat' takes any"
            )

    # -- forward passes --------------------------------------------------------------------------------------------

    def forward_policy(self, batch: Mapping[str, Any]) -> Tensor:
        """Inputs of the action distribution, `[N, 2K]` (`mean | log_std`) or `[N, sum(nvec)]` (logits).

        Args:
            batch: `obs` `[N, D]`, and `action_mask` `[N, M]` where there are masks.
        """
        return self.forward_raw(batch)

    def forward_raw(self, batch: Mapping[str, Any]) -> Tensor:
        """As `forward_policy`, before anything that a subclass does so that bundles can be read like any other."""
        return self._raw(batch)[0]

    def advance(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """What `forward_raw` returns, and the recurrent state `[N, H]` after it, of a policy that remembers."""
        outputs, memory = self._raw(batch)
        assert memory is not None
        return outputs, memory

    def tried(self, raw: Tensor, mask: Tensor | None) -> Tried:
        """What is tried while worlds are sampled, from what `forward_raw` put out, `[N, P]`, and masks."""
        return distribution_class(self.action_space)(raw)

    def bundle_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What a bundle holds: the policy, and the next recurrent state where there is one."""
        if not self.memory_size:
            return {"action_dist_inputs": self.forward_policy(batch)}
        return dict(zip(("action_dist_inputs", "next_state"), self.advance(batch), strict=True))

    def _forward(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.forward_policy(batch)}

    def _rows(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the layers read: a row an agent and step, and of worlds or sequences who is alive, and what is known."""
        if self.whole_worlds:
            alive: Tensor = batch[ALIVE]
            rows = {ALIVE: alive}
            if STATE in batch:  # a world's, and so each of its agents'
                rows[STATE] = batch[STATE].repeat_interleave(alive.shape[1], dim=0)
        elif BEGINS in batch:
            rows = {name: batch[name] for name in (MEMORY, BEGINS, ALIVE)}
            if STATE in batch:
                rows[STATE] = batch[STATE].flatten(0, 1)
        else:
            return batch
        return rows | {name: batch[name].flatten(0, 1) for name in (Columns.OBS, ACTION_MASK) if name in batch}

    def _as_given(self, outputs: Tensor, batch: Mapping[str, Any]) -> Tensor:
        """Outputs of rows with the batch's axes: `[W, A, …]` where it holds whole worlds, `[N, L, …]` of sequences."""
        if self.whole_worlds:
            return outputs.unflatten(0, (-1, batch[ALIVE].shape[1]))
        return outputs.unflatten(0, batch[BEGINS].shape) if BEGINS in batch else outputs

    def _raw(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """What `forward_raw` returns, and the next recurrent state."""
        rows = self._rows(batch)
        trunk, entities, memory = self._encoded(rows, self._normalised(rows))
        return self._as_given(self._policy(rows, trunk, entities), batch), memory

    def _encoded(self, rows: Mapping[str, Any], observations: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What an agent makes of normalised observations `[N, D]`, of what it hears and remembers.

        Returns:
            That, its entities, and its next recurrent state, each where there are any.
        """
        trunk, entities = self.encoder(observations)
        memory = None
        if self.messages is not None:
            trunk = self.messages(trunk, rows[ALIVE])
        if self.memory is not None:
            before = rows[MEMORY][:, : self.memory_size]
            trunk, memory = self.memory(trunk, before, rows.get(BEGINS), rows.get(ALIVE))
        return trunk, entities, memory

    def _normalised(self, batch: Mapping[str, Any]) -> Tensor:
        observations: Tensor = batch[Columns.OBS]
        return observations if self.normaliser is None else self.normaliser(observations)

    def _policy(self, batch: Mapping[str, Any], trunk: Tensor, entities: Tensor | None) -> Tensor:
        outputs: Tensor = self.policy_head(trunk, entities)
        mask: Tensor | None = batch.get(ACTION_MASK)
        if mask is not None:
            mask = mask.bool()
        if self.log_std is None:
            return outputs if mask is None else outputs.masked_fill(~mask, MASKED_LOGIT)
        low, limit = self.network.log_std_range[0], self.log_std_limit
        repeats = num_actions(self.action_space) // self.shared_actions
        if self.network.std == "network":  # of each entity come its means, then its deviations
            mean, change = outputs.unflatten(1, (repeats, 2, self.shared_actions)).unbind(2)
            outputs, log_std = mean.flatten(1), (self.log_std + change).clamp_min(low).minimum(limit).flatten(1)
        else:
            log_std = self.log_std.clamp_min(low).minimum(limit).repeat(repeats).expand_as(outputs)
        if mask is not None:
            outputs, log_std = outputs.masked_fill(~mask, 0.0), log_std.masked_fill(~mask, 0.0)
        return torch.cat([outputs, log_std], dim=1)

    @torch.no_grad()
    def limit_deviation(self, most: float) -> None:
        """Sets the largest deviation of continuous actions, within the network's bounds; nothing for choices.

        Parameters come down with it: above it nothing would tell them to fall further. Where deviations are outputs of
        the network, those above it learn nothing.
        """
        if self.log_std is None:
            return
        low, high = self.network.log_std_range
        self.log_std_limit.fill_(min(max(math.log(most), low), high))
        if isinstance(self.log_std, nn.Parameter):
            self.log_std.copy_(self.log_std.minimum(self.log_std_limit))

    # -- normaliser ------------------------------------------------------------------------------------------------

    def sample_moments(
        self, observations: Tensor | NDArray[np.float32], states: Tensor | NDArray[np.float32] | None = None
    ) -> dict[str, Moments]:
        """What `merge_moments` takes: to be summed up across learners (`normaliser.merge_moments`), or used at once.

        Args:
            observations: Of living agents, `[..., D]`.
            states: Global states, `[..., S]`, for a central critic; ignored otherwise.
        """
        moments = {}
        if self.normaliser is not None:
            moments["observations"] = self.normaliser.sample_moments(_flat(observations))
        if self.state_normaliser is not None:
            if states is None:
                raise ValueError("states: got None, allowed with a central critic is an array [..., S]")
            moments["states"] = self.state_normaliser.sample_moments(_flat(states))
        return moments

    def merge_moments(self, moments: Mapping[str, Moments]) -> None:
        """Takes a sample's moments into the statistics. Call it after the epochs, never between sampling and loss."""
        if self.normaliser is not None:
            self.normaliser.merge(moments["observations"])
        if self.state_normaliser is not None:
            self.state_normaliser.merge(moments["states"])

    def update_normaliser(
        self, observations: Tensor | NDArray[np.float32], states: Tensor | NDArray[np.float32] | None = None
    ) -> None:
        """`sample_moments` and `merge_moments` in one: once an iteration, after the epochs."""
        self.merge_moments(self.sample_moments(observations, states))

    # -- what RLlib asks for ---------------------------------------------------------------------------------------

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, NDArray[Any]]:
        """All parameters and buffers, copied. Unlike RLlib's own it keeps float64, which the statistics need."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Loads what `get_state` returned."""
        tensors = {name: torch.as_tensor(np.asarray(value)) for name, value in state.items()}
        self.load_state_dict(tensors, strict=True)

    def get_inference_action_dist_cls(self) -> type[ActionDistribution]:
        """The distribution of the action space."""
        return distribution_class(self.action_space)

    def get_exploration_action_dist_cls(self) -> type[ActionDistribution]:
        """The distribution of the action space."""
        return distribution_class(self.action_space)

    def get_train_action_dist_cls(self) -> type[ActionDistribution]:
        """The distribution of the action space."""
        return distribution_class(self.action_space)


def _flat(array: Tensor | NDArray[np.float32]) -> Tensor:
    """Any leading axes as one."""
    tensor = torch.as_tensor(array)
    return tensor.reshape(-1, tensor.shape[-1])
