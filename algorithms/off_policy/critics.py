"""Critics that value what an agent does, beside what it sees: they belong to learners, and are never served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from gymnasium.spaces import MultiDiscrete
from torch import Tensor, nn

from algorithms.networks.distributions import distribution_class, num_actions
from algorithms.networks.flat import FlatEncoder
from algorithms.networks.layers import activation, hidden_gain, linear, mlp
from algorithms.networks.policy_module import PolicyModule
from algorithms.networks.pooled import PooledEncoder
from envs.base import IntArray
from envs.layout import ObservationLayout


def action_width(policy: PolicyModule) -> int:
    """Width `W` of an action as a critic reads it: its dimensions, or a one-hot code of each branch."""
    space = policy.action_space
    return int(space.nvec.sum()) if isinstance(space, MultiDiscrete) else num_actions(space)


def encoded(actions: Tensor, policy: PolicyModule) -> Tensor:
    """Actions `[N, K]` as a critic reads them, `[N, W]`."""
    if not isinstance(policy.action_space, MultiDiscrete):
        return actions
    sizes: IntArray = policy.action_space.nvec
    starts = torch.as_tensor(sizes.cumsum() - sizes, device=actions.device)
    code = torch.zeros((len(actions), int(sizes.sum())), device=actions.device)
    return code.scatter_(1, actions.long() + starts, 1.0)


class ActionEncoder(nn.Module):
    """Encodes what an agent sees together with what it does: an entity's actions are features of that entity.

    Args:
        policy: The policy whose actions are valued: its layout, sizes and action space.
        extra: Width of what else is read.
    """

    def __init__(self, policy: PolicyModule, extra: int = 0) -> None:
        super().__init__()
        layout, width = policy.layout, action_width(policy)
        self.own, self.table = len(layout.own), layout.entity_slice
        self.entities = layout.num_entities if policy.pooled and layout.actions_per_entity else 0
        joined = _joined(layout, width, self.entities)
        kind = PooledEncoder if policy.pooled else FlatEncoder
        self.encoder: PooledEncoder | FlatEncoder = kind(joined, policy.network, extra)
        self.width = self.encoder.width

    def forward(self, observations: Tensor, actions: Tensor, extra: Tensor | None = None) -> Tensor:
        """The code `[N, H]` of normalised observations `[N, D]`, actions `[N, W]` and what else there is `[N, X]`."""
        if self.entities:
            table = observations[:, self.table].unflatten(1, (self.entities, -1))
            table = torch.cat([table, actions.unflatten(1, (self.entities, -1))], dim=2).flatten(1)
            parts = [observations[:, : self.table.start], table, observations[:, self.table.stop :]]
        else:
            parts = [observations[:, : self.own], actions, observations[:, self.own :]]
        code: Tensor = self.encoder(torch.cat(parts, dim=1), extra)[0]
        return code


def _joined(layout: ObservationLayout, width: int, entities: int) -> ObservationLayout:
    """A layout with actions among the features: of the entities that they belong to, or of the agent."""
    if entities:
        names = tuple(f"action_{number}" for number in range(width // entities))
        return replace(layout, entity_features=layout.entity_features + names, actions_per_entity=0)
    return replace(layout, own=layout.own + tuple(f"action_{number}" for number in range(width)))


class ActionCritic(nn.Module):
    """The value of an agent's own action.

    Args:
        policy: The policy whose actions are valued.
        state_size: Width `S` of the global state, where it is read.
    """

    def __init__(self, policy: PolicyModule, state_size: int = 0) -> None:
        super().__init__()
        self.encoder = ActionEncoder(policy, state_size)
        self.head = linear(self.encoder.width, 1, 1.0)

    def forward(self, observations: Tensor, actions: Tensor, state: Tensor | None = None) -> Tensor:
        """Values `[N]` of normalised observations `[N, D]` and actions `[N, W]`, in states `[N, S]`."""
        values: Tensor = self.head(self.encoder(observations, actions, state)).squeeze(-1)
        return values


class BranchCritic(nn.Module):
    """The values of all choices of discrete branches, which add up: `Q(o, a) = sum_k q_k(o, a_k)`.

    Args:
        policy: The policy whose choices are valued.
        state_size: Width `S` of the global state, where it is read.
    """

    def __init__(self, policy: PolicyModule, state_size: int = 0) -> None:
        super().__init__()
        assert isinstance(policy.action_space, MultiDiscrete)
        self.encoder = policy.make_encoder(state_size)
        self.head = policy.make_head(int(policy.action_space.nvec[: policy.shared_actions].sum()), 1.0)
        self.distribution = distribution_class(policy.action_space)

    def forward(self, observations: Tensor, state: Tensor | None = None) -> Tensor:
        """Values `[N, K, largest branch]` of normalised observations `[N, D]`, in states `[N, S]`."""
        table: Tensor = self.distribution(self.head(*self.encoder(observations, state))).table
        return table


class Twin(nn.Module):
    """Two critics that begin apart; the lower of their values is believed (Fujimoto et al. 2018, section 4.2).

    Args:
        make: Makes one.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.critics = nn.ModuleList([make(), make()])

    def forward(self, *inputs: Tensor | None) -> Tensor:
        """What both put out, `[2, …]`."""
        return torch.stack([critic(*inputs) for critic in self.critics])


class CentralCritic(nn.Module):
    """The value to each agent of what *all* see and do (Lowe et al. 2017, section 4.1).

    What all agents see and do passes through one wide layer, once a world. An agent's value starts from that, from who
    it is, and from its own part once more, encoded as its policy does. Asked what else an agent might have done, the
    layer's output is moved by the difference of that agent's action alone: as many agents, that much work, and not its
    square.

    Args:
        policy: The policy of the agents whose actions are valued.
        agents: How many play with it, `A`.
        first: Where the first of them stands among all agents' actions, in the joint input.
        joint: Width `J` of what all agents see and do: all observations, then all actions.
        sizes: Widths of the layers.
        nonlinearity: After each.
    """

    def __init__(
        self, policy: PolicyModule, agents: int, first: int, joint: int, sizes: Sequence[int], nonlinearity: str
    ) -> None:
        super().__init__()
        width = action_width(policy)
        self.columns, self.shape = slice(first, first + agents * width), (agents, width)
        self.all = linear(joint, sizes[0], hidden_gain(nonlinearity))
        self.own_encoder = ActionEncoder(policy)
        self.own = linear(self.own_encoder.width, sizes[0], 1.0)
        self.who = nn.Parameter(torch.zeros(agents, sizes[0]))
        self.activation = activation(nonlinearity)
        self.rest = mlp(sizes[0], sizes[1:], nonlinearity)
        self.head = linear(sizes[-1], 1, 1.0)

    def forward(self, joint: Tensor, observations: Tensor, actions: Tensor, instead: Tensor | None = None) -> Tensor:
        """Values `[N, A]`.

        Args:
            joint: What all see and do, `[N, J]`.
            observations: Of these agents, normalised, `[N, A, D]`.
            actions: Of these agents, as they are in `joint`, `[N, A, W]`.
            instead: What each of them, for itself, is asked about instead, `[N, A, W]`; None: what they did.
        """
        hidden = self.all(joint).unsqueeze(1) + self.who
        if instead is not None:
            weights = self.all.weight[:, self.columns].unflatten(1, self.shape)
            hidden = hidden + torch.einsum("naw,haw->nah", instead - actions, weights)
            actions = instead
        code = self.own_encoder(observations.flatten(0, 1), actions.flatten(0, 1))
        hidden = self.activation(hidden + self.own(code).unflatten(0, observations.shape[:2]))
        values: Tensor = self.head(self.rest(hidden)).squeeze(-1)
        return values
