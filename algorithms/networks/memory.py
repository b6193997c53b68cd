"""What an agent keeps in mind of its episode: gated recurrent units between encoder and head.

With the trunk's output `x` and the state `h`, of width `H` (Cho et al. 2014, https://arxiv.org/abs/1406.1078, equations
5 to 8, with the reset after the product, as torch and ONNX have it),

    r = sigmoid(W_r x + U_r h)    z = sigmoid(W_z x + U_z h)    n = tanh(W_n x + r * (U_n h))    h <- z h + (1 - z) n

plus biases. Heads read `h`. A policy that sees one step at a time thereby acts on all it saw in the episode.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from algorithms.networks.layers import linear

HOLD = 1.0
"""First bias of `z`: at first about three quarters of what is in mind outlast a step, so that gradients reach back far
(Jozefowicz, Zaremba and Sutskever 2015)."""


class GRU(nn.Module):
    """One layer of gated recurrent units.

    Args:
        inputs: Width `W` of what is read.
        width: Units `H`.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.reads, self.recalls = linear(inputs, 3 * width, 1.0), linear(width, 3 * width, 1.0)
        for gate in self.recalls.weight.detach().split(width):
            nn.init.orthogonal_(gate)
        nn.init.constant_(self.reads.bias.detach()[width : 2 * width], HOLD)

    def forward(
        self, known: Tensor, state: Tensor, begins: Tensor | None = None, alive: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """What heads read, and the state after the last step, `[N, H]`.

        Args:
            known: Outputs of the trunk: a row each, `[N, W]`, or of sequences, one after the other, `[N * L, W]`.
            state: Before the first step, `[N, H]`.
            begins: Of sequences, where episodes begin: nothing from before is remembered there, bool `[N, L]`.
            alive: Of sequences, when agents are there: in other steps the state stays what it was, bool `[N, L]`.

        Returns:
            As many rows as `known`, `[N, H]` or `[N * L, H]`, and the state.
        """
        read = self.reads(known)  # of all steps in one product
        if begins is None or alive is None:
            state = self._step(read, state)
            return state, state
        keeps, there, outputs = (~begins).to(read.dtype).unsqueeze(-1), alive.unsqueeze(-1), []
        for step, each in enumerate(read.unflatten(0, begins.shape).unbind(1)):
            state = state * keeps[:, step]
            moved = self._step(each, state)
            state = torch.where(there[:, step], moved, state)
            outputs.append(moved)
        return torch.stack(outputs, dim=1).flatten(0, 1), state

    def _step(self, read: Tensor, state: Tensor) -> Tensor:
        reset, hold, new = read.chunk(3, dim=1)
        reset_by, hold_by, new_by = self.recalls(state).chunk(3, dim=1)
        hold = torch.sigmoid(hold + hold_by)
        candidate = torch.tanh(new + torch.sigmoid(reset + reset_by) * new_by)
        return candidate + hold * (state - candidate)
