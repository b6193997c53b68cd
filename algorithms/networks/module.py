"""The actor-critic that the learners train, the runners sample with, and the bundles export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import Tensor, nn

from algorithms.networks.config import NetworkConfig
from algorithms.networks.distributions import (
    MASKED_LOGIT,
    ActionDistribution,
    distribution_class,
    num_actions,
)
from algorithms.networks.flat import FlatEncoder, FlatHead, with_extra
from algorithms.networks.layers import mlp
from algorithms.networks.normaliser import Moments, ObservationNormaliser, StateNormaliser
from algorithms.networks.pooled import EntityHead, PooledEncoder
from algorithms.networks.protocol import ACTION_MASK, STATE
from algorithms.networks.values import ValueHead
from envs.base import AgentGroup
from envs.layout import ObservationLayout


def module_spec(
    group: AgentGroup, network: NetworkConfig | None = None, state_size: int = 0, costs: Sequence[str] = ()
) -> RLModuleSpec:
    """How to build the network of a group's agents.

    Args:
        group: The agents: their layout and action space.
        network: How the network is built; defaults if None.
        state_size: Width `S` of the global state.
        costs: Names of the `C` costs that the critic is to foresee beside the rewards.
    """
    return RLModuleSpec(
        module_class=ActorCriticModule,
        observation_space=group.observation_space,
        action_space=group.action_space,
        model_config={
            "network": (network or NetworkConfig()).model_dump(),
            "layout": asdict(group.layout),
            "state_size": state_size,
            "costs": list(costs),
        },
    )


class ActorCriticModule(TorchRLModule, ValueFunctionAPI):
    """Policy and value function, with their normaliser, over one agent's observations as rows.

    `forward` never changes the module. A batch holds `obs` `[N, D]`, `action_mask` `[N, M]` where there are masks, and
    `state` `[N, S]` for a central critic.
    """

    whole_worlds = False
    log_std: Tensor | None

    def setup(self) -> None:
        """Builds the layers from `model_config`: `network`, `layout`, `state_size` and `costs`.

        Raises:
            pydantic.ValidationError: If a setting of the network is not allowed.
            ValueError: If the spaces, the layout and the state do not fit together.
        """
        self.network = NetworkConfig.model_validate(self.model_config["network"])
        self.layout = ObservationLayout.of(self.model_config["layout"])
        self.state_size = int(self.model_config.get("state_size") or 0)
        config, layout, space = self.network, self.layout, self.action_space
        pooled = config.kind == "pooled" and layout.num_entities > 0 and len(layout.entity_features) > 0
        per_entity = layout.actions_per_entity if pooled else 0
        self._check(per_entity)

        extra = self.state_size if config.central_critic else 0
        self.normaliser = ObservationNormaliser(layout, config.clip) if config.normalise else None
        self.state_normaliser = StateNormaliser(extra, config.clip) if config.normalise and extra else None
        encoder = PooledEncoder if pooled else FlatEncoder
        self.encoder = encoder(layout, config)
        self.critic = None if config.share_trunk else encoder(layout, config, extra)
        self.critic_trunk = None
        if config.share_trunk and extra:  # the shared trunk is the policy's, which sees no state: it joins behind it
            self.critic_trunk = mlp(self.encoder.width + extra, config.sizes, config.activation)
        self.value_head = ValueHead(config.sizes[-1], normalise=config.normalise_values)

        self.shared_actions = per_entity or num_actions(space)
        discrete = isinstance(space, MultiDiscrete)
        outputs = int(space.nvec[: self.shared_actions].sum()) if discrete else self.shared_actions
        if not discrete and config.std == "network":
            outputs *= 2
        width, gain = self.encoder.width, config.policy_gain
        self.policy_head: EntityHead | FlatHead
        if per_entity:
            self.policy_head = EntityHead(width, config.entity_width, outputs, gain)
        else:
            self.policy_head = FlatHead(width, outputs, gain)
        log_std = torch.full((self.shared_actions,), config.initial_log_std)
        if discrete:
            self.log_std = None
        elif config.std == "free":
            self.log_std = nn.Parameter(log_std)
        else:  # where the deviations start: did it learn beside the head's bias, they would move at twice the rate
            self.register_buffer("log_std", log_std, persistent=False)
        # Made last: what else there is begins with the same weights as without them.
        self.cost_heads = nn.ModuleDict(
            {
                name: ValueHead(config.sizes[-1], normalise=config.normalise_values)
                for name in self.model_config.get("costs", ())
            }
        )

    def _check(self, per_entity: int) -> None:
        """Raises ValueError unless spaces, layout and state fit together."""
        layout, space = self.layout, self.action_space
        if self.observation_space.shape != (layout.size,):
            raise ValueError(
                f"observation_space: got shape {self.observation_space.shape}, allowed is the layout's ({layout.size},)"
            )
        if not (isinstance(space, MultiDiscrete) or (isinstance(space, Box) and len(space.shape) == 1)):
            raise ValueError(f"action_space: got {space}, allowed are Box of one axis and MultiDiscrete")
        if self.network.central_critic and not self.state_size:
            raise ValueError("central_critic: got True with a state of size 0, allowed with a state only")
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

    def forward_policy_and_value(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Both in one pass.

        Args:
            batch: `obs` `[N, D]`, and `action_mask` `[N, M]` and `state` `[N, S]` where they apply.

        Returns:
            Inputs of the action distribution, `[N, 2K]` (`mean | log_std`) or `[N, sum(nvec)]` (logits), and values
            `[N]`.
        """
        observations = self._normalised(batch)
        trunk, entities = self.encoder(observations)
        values = self._values(batch, trunk if self.critic is None else observations)
        return self._policy(batch, trunk, entities), values

    def forward_policy_and_values(self, batch: Mapping[str, Any]) -> tuple[Tensor, list[Tensor]]:
        """As `forward_policy_and_value`, with the values of each cost `[N]` after those of the rewards."""
        observations = self._normalised(batch)
        trunk, entities = self.encoder(observations)
        values = self._all_values(batch, trunk if self.critic is None else observations)
        return self._policy(batch, trunk, entities), values

    def forward_policy(self, batch: Mapping[str, Any]) -> Tensor:
        """Inputs of the action distribution alone."""
        return self._policy(batch, *self.encoder(self._normalised(batch)))

    def bundle_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What a bundle holds: the policy, and values unless they need the global state."""
        if self.network.central_critic:
            return {"action_dist_inputs": self.forward_policy(batch)}
        policy, values = self.forward_policy_and_value(batch)
        return {"action_dist_inputs": policy, "values": values}

    def compute_values(self, batch: Mapping[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values `[N]`.

        Args:
            batch: As for `forward_policy_and_value`.
            embeddings: What `forward_train` returned for this batch, to save a pass.
        """
        return self._values(batch, self._critic_inputs(batch) if embeddings is None else embeddings)

    def compute_all_values(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """Values of the rewards, then of each cost, `[N]` each."""
        return self._all_values(batch, self._critic_inputs(batch))

    def heads_of_costs(self) -> dict[str, ValueHead]:
        """What foresees each cost, by its name."""
        return cast(dict[str, ValueHead], dict(self.cost_heads.items()))

    def _critic_inputs(self, batch: Mapping[str, Any]) -> Tensor:
        observations = self._normalised(batch)
        return self.encoder(observations)[0] if self.critic is None else observations

    def _forward(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: self.forward_policy(batch)}

    def _forward_train(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        observations = self._normalised(batch)
        trunk, entities = self.encoder(observations)
        return {
            Columns.ACTION_DIST_INPUTS: self._policy(batch, trunk, entities),
            Columns.EMBEDDINGS: trunk if self.critic is None else observations,
        }

    def _normalised(self, batch: Mapping[str, Any]) -> Tensor:
        observations: Tensor = batch[Columns.OBS]
        return observations if self.normaliser is None else self.normaliser(observations)

    def _values(self, batch: Mapping[str, Any], embeddings: Tensor) -> Tensor:
        values: Tensor = self.value_head(self._critic_embeddings(batch, embeddings))
        return values

    def _all_values(self, batch: Mapping[str, Any], embeddings: Tensor) -> list[Tensor]:
        embeddings = self._critic_embeddings(batch, embeddings)
        return [head(embeddings) for head in (self.value_head, *self.heads_of_costs().values())]

    def _critic_embeddings(self, batch: Mapping[str, Any], embeddings: Tensor) -> Tensor:
        """What values are read from: of the trunk, where critic and policy share it, or of normalised observations."""
        state: Tensor | None = batch[STATE] if self.network.central_critic else None
        if state is not None and self.state_normaliser is not None:
            state = self.state_normaliser(state)
        if self.critic is not None:
            embeddings = self.critic(embeddings, state)[0]
        elif self.critic_trunk is not None:
            embeddings = self.critic_trunk(with_extra(embeddings, state))
        return embeddings

    def _policy(self, batch: Mapping[str, Any], trunk: Tensor, entities: Tensor | None) -> Tensor:
        outputs: Tensor = self.policy_head(trunk, entities)
        mask: Tensor | None = batch.get(ACTION_MASK)
        if mask is not None:
            mask = mask.bool()
        if self.log_std is None:
            return outputs if mask is None else outputs.masked_fill(~mask, MASKED_LOGIT)
        low, high = self.network.log_std_range
        repeats = num_actions(self.action_space) // self.shared_actions
        if self.network.std == "network":  # of each entity come its means, then its deviations
            mean, change = outputs.unflatten(1, (repeats, 2, self.shared_actions)).unbind(2)
            outputs, log_std = mean.flatten(1), (self.log_std + change).clamp(low, high).flatten(1)
        else:
            log_std = self.log_std.clamp(low, high).repeat(repeats).expand_as(outputs)
        if mask is not None:
            outputs, log_std = outputs.masked_fill(~mask, 0.0), log_std.masked_fill(~mask, 0.0)
        return torch.cat([outputs, log_std], dim=1)

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
            moments["observations"] = self.normaliser.sample_moments(_rows(observations))
        if self.state_normaliser is not None:
            if states is None:
                raise ValueError("states: got None, allowed with a central critic is an array [..., S]")
            moments["states"] = self.state_normaliser.sample_moments(_rows(states))
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


def _rows(array: Tensor | NDArray[np.float32]) -> Tensor:
    """Any leading axes as one."""
    tensor = torch.as_tensor(array)
    return tensor.reshape(-1, tensor.shape[-1])
