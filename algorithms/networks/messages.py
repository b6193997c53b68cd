"""Rounds in which the agents of one world tell each other what they have learned to say, between encoder and head.

In a round every agent says something and hears the others: their mean (CommNet, Sukhbaatar, Szlam and Fergus 2016,
https://arxiv.org/abs/1605.07736, equations 2 and 3), or what its own question picks out of what they say (TarMAC, Das
et al. 2019, https://arxiv.org/abs/1810.11187, section 4.2). With the trunk's output `h`, of width `H`,

    h_i <- f(U h_i + V c_i),   c_i = mean over others j of W h_j,   or   c_i = sum over others j of a_ij W h_j.

Others are those of the agent's world that are alive, and that it may hear. Who hears nobody hears zeros. The mean costs
as much for each agent however many there are; attention, and the mean where not all hear all, grow with their number.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from algorithms.networks.config import NetworkConfig
from algorithms.networks.layers import activation, hidden_gain, linear


class MeanRound(nn.Module):
    """The mean of what others say.

    Args:
        width: Width `H` of what agents know.
        message: Width `M` of a message.
    """

    def __init__(self, width: int, message: int) -> None:
        super().__init__()
        self.says = linear(width, message, 1.0)

    def forward(self, known: Tensor, alive: Tensor, others: Tensor | None) -> Tensor:
        """What each hears, `[W, A, M]`.

        Args:
            known: `[W, A, H]`.
            alive: Float `[W, A]`, 0 or 1.
            others: Whom each hears of those who are there, float `[W, A, A]`, 0 or 1; None: everybody else.
        """
        said = self.says(known) * alive.unsqueeze(-1)
        if others is None:  # once for all of a world, less what is one's own: as much work for an agent in any team
            count = alive.sum(dim=1, keepdim=True) - alive
            return (said.sum(dim=1, keepdim=True) - said) / count.clamp_min(1.0).unsqueeze(-1)
        share = others / others.sum(dim=2, keepdim=True).clamp_min(1.0)
        return torch.bmm(share, said)


class AttentionRound(nn.Module):
    """What others say, weighed by how their keys match one's own query: scaled products, softmax over the others.

    Args:
        width: Width `H` of what agents know.
        message: Width `M` of a message, of a key and of a query.
    """

    def __init__(self, width: int, message: int) -> None:
        super().__init__()
        self.says, self.key, self.query = (linear(width, message, 1.0) for _ in range(3))
        self.scale = message**-0.5

    def forward(self, known: Tensor, alive: Tensor, others: Tensor) -> Tensor:
        """What each hears, `[W, A, M]`; arguments as of `MeanRound`, `others` always given."""
        said = self.says(known) * alive.unsqueeze(-1)
        match = torch.bmm(self.query(known), self.key(known).transpose(1, 2)) * self.scale
        # The least number in the place of minus infinity: a row without others comes out even, and then as zeros.
        match = match.masked_fill(others == 0, torch.finfo(match.dtype).min)
        return torch.bmm(torch.softmax(match, dim=2) * others, said)


class Messages(nn.Module):
    """All rounds, one after the other, each with weights of its own.

    Args:
        width: Width `H` of what agents know.
        config: `messages`, `rounds` and `message_width`.
        hears: Whether agent `i` may hear agent `j`, `[A][A]`, over the agents that play with the network; None: all
            hear all.

    Attributes:
        hears: The same, float `[A, A]`, nobody hearing itself; it is no weight, and neither learned nor saved.
    """

    hears: Tensor | None

    def __init__(self, width: int, config: NetworkConfig, hears: Sequence[Sequence[bool]] | None = None) -> None:
        super().__init__()
        gain = hidden_gain(config.activation)
        kind = MeanRound if config.messages == "mean" else AttentionRound
        self.rounds = nn.ModuleList(kind(width, config.message_width) for _ in range(config.rounds))
        self.own = nn.ModuleList(linear(width, width, gain) for _ in range(config.rounds))
        self.heard = nn.ModuleList(linear(config.message_width, width, gain) for _ in range(config.rounds))
        self.activation = activation(config.activation)
        self.pairs = config.messages == "attention" or hears is not None
        allowed = None if hears is None else torch.tensor(hears).to(torch.float32).fill_diagonal_(0.0)
        self.register_buffer("hears", allowed, persistent=False)

    def forward(self, known: Tensor, alive: Tensor) -> Tensor:
        """What agents know after the rounds.

        Args:
            known: Outputs of the trunk, a row an agent, world by world, `[W * A, H]`.
            alive: Who is there, bool `[W, A]`.

        Returns:
            `[W * A, H]`; rows of agents that are not alive mean nothing.
        """
        agents = alive.shape[1]
        there = alive.to(known.dtype)
        others = self._others(there) if self.pairs else None
        for say, own, heard in zip(self.rounds, self.own, self.heard, strict=True):
            messages = say(known.unflatten(0, (-1, agents)), there, others).flatten(0, 1)
            known = self.activation(own(known) + heard(messages))
        return known

    def _others(self, there: Tensor) -> Tensor:
        """Whom each hears of those who are there, `[W, A, A]`, from who is, `[W, A]`."""
        allowed = self.hears
        if allowed is None:
            allowed = 1.0 - torch.eye(there.shape[1], dtype=there.dtype, device=there.device)
        return allowed * there.unsqueeze(1)
