"""The actor-critic that the learners train, the runners sample with, and the bundles export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor, nn

from algorithms.networks.config import NetworkConfig
from algorithms.networks.flat import with_extra
from algorithms.networks.layers import mlp
from algorithms.networks.normaliser import StateNormaliser
from algorithms.networks.policy_module import PolicyModule
from algorithms.networks.protocol import ALIVE, BEGINS, MEMORY, STATE
from algorithms.networks.values import ValueHead
from envs.base import AgentGroup


def module_spec(
    group: AgentGroup,
    network: NetworkConfig | None = None,
    state_size: int = 0,
    costs: Sequence[str] = (),
    kind: type[PolicyModule] | None = None,
    hears: Sequence[Sequence[bool]] | None = None,
) -> RLModuleSpec:
    """How to build the network of a group's agents.

    Args:
        group: The agents: their layout and action space.
        network: How the network is built; defaults if None.
        state_size: Width `S` of the global state.
        costs: Names of the `C` costs that the critic is to foresee beside the rewards.
        kind: What is built; the actor-critic if None.
        hears: Whether agent `i` of a world hears agent `j`, `[A][A]`, where there are messages; None: all hear all.
    """
    return RLModuleSpec(
        module_class=kind or ActorCriticModule,
        observation_space=group.observation_space,
        action_space=group.action_space,
        model_config={
            "network": (network or NetworkConfig()).model_dump(),
            "layout": asdict(group.layout),
            "state_size": state_size,
            "costs": list(costs),
            "hears": None if hears is None else [list(row) for row in hears],
        },
    )


class ActorCriticModule(PolicyModule, ValueFunctionAPI):
    """Policy and value function, with their normalisers, over one agent's observations as rows.

    `forward` never changes the module. A batch holds `obs` `[N, D]`, `action_mask` `[N, M]` where there are masks, and
    `state` `[N, S]` for a central critic. Where agents exchange messages, it holds whole worlds: `[W, A, …]` in the
    place of `[N, …]`, a state a world, `[W, S]`, and `alive` `[W, A]`. The critic hears too: what the policy has heard
    where it reads its trunk, and by rounds of its own where it has an encoder of its own. So it is with what agents
    remember; what a critic remembers by itself stands behind the policy's recurrent state, and in no bundle.
    """

    def setup(self) -> None:
        """Builds the layers from `model_config`: `network`, `layout`, `state_size` and `costs`.

        Raises:
            pydantic.ValidationError: If a setting of the network is not allowed.
            ValueError: If the spaces, the layout and the state do not fit together.
        """
        super().setup()
        # Made last: what else there is begins with the same weights as without them.
        width, normalise = self.value_head.layer.in_features, self.network.normalise_values
        self.cost_heads = nn.ModuleDict(
            {name: ValueHead(width, normalise=normalise) for name in self.model_config.get("costs", ())}
        )

    def _make_values(self) -> None:
        """Builds the critic."""
        config = self.network
        if config.central_critic and not self.state_size:
            raise ValueError("central_critic: got True with a state of size 0, allowed with a state only")
        extra = self.state_size if config.central_critic else 0
        self.state_normaliser = StateNormaliser(extra, config.clip) if config.normalise and extra else None
        self.critic = None if config.share_trunk else self.make_encoder(extra)
        self.critic_messages = None if config.share_trunk else self.make_messages()
        self.critic_memory = None if config.share_trunk else self.make_memory()
        self.critic_memory_size = 0 if self.critic_memory is None else self.critic_memory.width
        self.critic_trunk, width = None, self.width
        if config.share_trunk and extra:  # the shared trunk is the policy's, which sees no state: it joins behind it
            self.critic_trunk, width = mlp(self.width + extra, config.sizes, config.activation), config.sizes[-1]
        self.value_head = ValueHead(width, normalise=config.normalise_values)

    # -- forward passes --------------------------------------------------------------------------------------------

    def forward_policy_and_value(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Both in one pass.

        Args:
            batch: `obs` `[N, D]`, and `action_mask` `[N, M]` and `state` `[N, S]` where they apply.

        Returns:
            Inputs of the action distribution, `[N, 2K]` (`mean | log_std`) or `[N, sum(nvec)]` (logits), and values
            `[N]`.
        """
        policy, (values, *_) = self.forward_policy_and_values(batch)
        return policy, values

    def forward_policy_and_values(self, batch: Mapping[str, Any]) -> tuple[Tensor, list[Tensor]]:
        """As `forward_policy_and_value`, with the values of each cost `[N]` after those of the rewards."""
        policy, values, _ = self.advance_with_values(batch)
        return policy, values

    def advance_with_values(self, batch: Mapping[str, Any]) -> tuple[Tensor, list[Tensor], Tensor | None]:
        """As `forward_policy_and_values`, and the next recurrent state, the critic's own behind it, where there is."""
        rows = self._rows(batch)
        observations = self._normalised(rows)
        trunk, entities, memory = self._encoded(rows, observations)
        values, of_critic = self._all_values(rows, trunk if self.critic is None else observations)
        policy = self._as_given(self._policy(rows, trunk, entities), batch)
        if memory is not None and of_critic is not None:
            memory = torch.cat([memory, of_critic], dim=1)
        return policy, [self._as_given(each, batch) for each in values], memory

    def bundle_outputs(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """What a bundle holds: the policy, and values unless they need the global state, or a memory of their own."""
        if self.network.central_critic or self.critic_memory_size:
            return super().bundle_outputs(batch)
        policy, (values, *_), memory = self.advance_with_values(batch)
        outputs = {"action_dist_inputs": policy, "values": values}
        return outputs if memory is None else outputs | {"next_state": memory}

    def compute_values(self, batch: Mapping[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Values `[N]`.

        Args:
            batch: As for `forward_policy_and_value`.
            embeddings: What `forward_train` returned for this batch, to save a pass.
        """
        rows = self._rows(batch)
        embeddings = self._critic_inputs(rows) if embeddings is None else embeddings
        return self._as_given(self.value_head(self._critic_embeddings(rows, embeddings)[0]), batch)

    def compute_all_values(self, batch: Mapping[str, Any]) -> list[Tensor]:
        """Values of the rewards, then of each cost, `[N]` each."""
        rows = self._rows(batch)
        return [self._as_given(each, batch) for each in self._all_values(rows, self._critic_inputs(rows))[0]]

    def heads_of_costs(self) -> dict[str, ValueHead]:
        """What foresees each cost, by its name."""
        return cast(dict[str, ValueHead], dict(self.cost_heads.items()))

    def _critic_inputs(self, rows: Mapping[str, Any]) -> Tensor:
        observations = self._normalised(rows)
        return self._encoded(rows, observations)[0] if self.critic is None else observations

    def _forward_train(self, batch: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:
        rows = self._rows(batch)
        observations = self._normalised(rows)
        trunk, entities, _ = self._encoded(rows, observations)
        return {
            Columns.ACTION_DIST_INPUTS: self._as_given(self._policy(rows, trunk, entities), batch),
            Columns.EMBEDDINGS: trunk if self.critic is None else observations,
        }

    def _all_values(self, rows: Mapping[str, Any], embeddings: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Values of the rewards and of each cost, and what the critic remembers next by itself."""
        embeddings, memory = self._critic_embeddings(rows, embeddings)
        return [head(embeddings) for head in (self.value_head, *self.heads_of_costs().values())], memory

    def _critic_embeddings(self, rows: Mapping[str, Any], embeddings: Tensor) -> tuple[Tensor, Tensor | None]:
        """What values are read from: of the trunk, where critic and policy share it, or of normalised observations.

        Beside it, what the critic remembers next by itself, if it does.
        """
        memory: Tensor | None = None
        state: Tensor | None = rows[STATE] if self.network.central_critic else None
        if state is not None and self.state_normaliser is not None:
            state = self.state_normaliser(state)
        if self.critic is not None:
            embeddings = self.critic(embeddings, state)[0]
            if self.critic_messages is not None:
                embeddings = self.critic_messages(embeddings, rows[ALIVE])
            if self.critic_memory is not None:
                before = rows[MEMORY][:, self.memory_size :]
                embeddings, memory = self.critic_memory(embeddings, before, rows.get(BEGINS), rows.get(ALIVE))
        elif self.critic_trunk is not None:
            embeddings = self.critic_trunk(with_extra(embeddings, state))
        return embeddings, memory
