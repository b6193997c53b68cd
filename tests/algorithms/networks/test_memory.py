"""Tests of recurrent units: they are torch's, sequences are steps, and episodes and absences are kept apart."""

from __future__ import annotations

import pytest
import torch

from algorithms.networks.config import NetworkConfig
from algorithms.networks.memory import GRU


@pytest.fixture
def gru():
    """Units whose biases are not all zero."""
    made = GRU(3, 4)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def test_units_are_those_of_torch(gru):
    """A step gives what torch's own cell gives with the same weights."""
    cell = torch.nn.GRUCell(3, 4)
    with torch.no_grad():
        cell.weight_ih.copy_(gru.reads.weight), cell.bias_ih.copy_(gru.reads.bias)
        cell.weight_hh.copy_(gru.recalls.weight), cell.bias_hh.copy_(gru.recalls.bias)
    known, state = torch.randn(5, 3), torch.randn(5, 4).tanh()
    outputs, after = gru(known, state)
    torch.testing.assert_close(outputs, cell(known, state))
    assert after is outputs


def test_sequences_are_steps(gru):
    """Zeros where an episode begins, what was known where an agent is away, and else one step after the other."""
    begins = torch.tensor([[False, False, True, False], [True, False, False, False]])
    alive = torch.tensor([[True, True, True, True], [True, False, False, True]])
    known, first = torch.randn(2, 4, 3), torch.randn(2, 4).tanh()
    outputs, after = gru(known.flatten(0, 1), first, begins, alive)
    state, wanted = first, []
    for step in range(4):
        state = torch.where(begins[:, step, None], 0.0, state)
        moved = gru(known[:, step], state)[0]
        wanted.append(moved)
        state = torch.stack([moved[row] if alive[row, step] else state[row] for row in range(2)])
    torch.testing.assert_close(outputs, torch.stack(wanted, dim=1).flatten(0, 1))
    torch.testing.assert_close(after, state)


def test_much_is_held_on_to_at_first():
    """Of what is in mind most outlasts a step at first, so that what is asked for late can be learned."""
    gru = GRU(3, 64)
    state = torch.rand(1, 64)
    for _ in range(3):
        _, after = gru(torch.zeros(1, 3), state)
        assert 0.6 < (after * state).sum() / state.square().sum() < 1.0
        state = after


def test_one_does_not_both_talk_and_remember():
    """Memory and messages together are refused."""
    with pytest.raises(ValueError, match=r"memory: got gru with messages mean, allowed is one of the two"):
        NetworkConfig(memory="gru", messages="mean")
