"""Tests of what agents tell each other: by hand for each of them, who hears whom, and all passes of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from ray.rllib.core.columns import Columns
from torch import Tensor

from algorithms.networks.config import NetworkConfig
from algorithms.networks.messages import AttentionRound, MeanRound, Messages
from algorithms.networks.module import ActorCriticModule, module_spec
from algorithms.networks.protocol import ACTION_MASK, ALIVE, STATE
from envs.base import AgentGroup
from envs.layout import ObservationLayout

WORLDS, AGENTS, WIDTH, MESSAGE = 3, 5, 6, 4
ALIVE_NOW = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 1, 0, 0]], dtype=torch.bool)
"""All are there; some are; one is alone."""
CHAIN = [[j == i + 1 for j in range(AGENTS)] for i in range(AGENTS)]
"""Each hears the next one."""
SOME = (np.random.default_rng(3).random((AGENTS, AGENTS)) < 0.5).tolist()
KINDS = ["mean", "attention"]


def made(kind: str, hears: Any = None, rounds: int = 1) -> Messages:
    """Rounds with weights that nothing cancels in, biases included."""
    config = NetworkConfig.model_validate({"messages": kind, "rounds": rounds, "message_width": MESSAGE})
    messages = Messages(WIDTH, config, hears)
    with torch.no_grad():
        for weight in messages.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return messages


def known() -> Tensor:
    """What agents know, `[W * A, H]`."""
    return torch.randn((WORLDS * AGENTS, WIDTH))


def by_hand(messages: Messages, given: Tensor, hears: Any) -> Tensor:
    """One round, agent by agent, as the formula has it; zeros for those who are not there."""
    (say,) = messages.rounds
    found = torch.zeros((WORLDS, AGENTS, WIDTH))
    worlds = given.unflatten(0, (WORLDS, AGENTS))
    for world in range(WORLDS):
        for i in np.flatnonzero(ALIVE_NOW[world]):
            others = [
                j for j in range(AGENTS) if j != i and ALIVE_NOW[world, j] and (hears is None or bool(hears[i][j]))
            ]
            heard = torch.zeros(MESSAGE)
            if others:
                said = torch.stack([say.says(worlds[world, j]) for j in others])
                weights = torch.full((len(others),), 1 / len(others))
                if isinstance(say, AttentionRound):
                    query = say.query(worlds[world, i])
                    keys = torch.stack([say.key(worlds[world, j]) for j in others])
                    weights = torch.softmax(keys @ query / MESSAGE**0.5, dim=0)
                heard = (weights[:, None] * said).sum(dim=0)
            found[world, i] = torch.tanh(messages.own[0](worlds[world, i]) + messages.heard[0](heard))
    return found


@pytest.mark.parametrize("hears", [None, SOME, CHAIN], ids=["all", "some", "chain"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_hears_what_the_formula_says(kind: str, hears: Any) -> None:
    """All agents at once come to what each comes to by hand, from those others that are there and can be heard."""
    messages, given = made(kind, hears), known()
    found = messages(given, ALIVE_NOW).unflatten(0, (WORLDS, AGENTS))
    torch.testing.assert_close(found[ALIVE_NOW], by_hand(messages, given, hears)[ALIVE_NOW], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("kind", "heard"), [("mean", MeanRound), ("attention", AttentionRound)])
def test_who_is_alone_hears_exactly_nothing(kind: str, heard: Any) -> None:
    """No other, no message: zeros, to the bit, though the others' rows and the biases are not zero."""
    messages = made(kind)
    (say,) = messages.rounds
    assert isinstance(say, heard)
    there = ALIVE_NOW.float()
    others = messages._others(there) if messages.pairs else None
    worlds = known().unflatten(0, (WORLDS, AGENTS))
    assert (say(worlds, there, others)[2, 2] == 0).all()
    assert (say(worlds, there, others)[0] != 0).all()


@pytest.mark.parametrize("hears", [None, SOME], ids=["all", "some"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_absent_and_other_worlds_are_not_heard(kind: str, hears: Any) -> None:
    """What rows of those not there hold changes nothing for the others, nor does what happens in another world."""
    messages, given = made(kind, hears, rounds=2), known()
    other = given.unflatten(0, (WORLDS, AGENTS)).clone()
    other[~ALIVE_NOW] = 9.0
    other[0] *= -1
    before = messages(given, ALIVE_NOW).unflatten(0, (WORLDS, AGENTS))
    after = messages(other.flatten(0, 1), ALIVE_NOW).unflatten(0, (WORLDS, AGENTS))
    torch.testing.assert_close(after[1:][ALIVE_NOW[1:]], before[1:][ALIVE_NOW[1:]], atol=0, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_news_travels_as_many_agents_as_there_are_rounds(kind: str) -> None:
    """Where each hears the next one, the first knows of the second after a round, and of the third after two."""
    for rounds in (1, 2, 3):
        given = known().requires_grad_()
        messages = made(kind, CHAIN, rounds)
        messages(given, torch.ones_like(ALIVE_NOW))[0].sum().backward()
        assert given.grad is not None
        reached = given.grad[:AGENTS].abs().sum(dim=1) > 0
        assert reached.tolist() == [agent <= rounds for agent in range(AGENTS)]


@pytest.mark.parametrize("kind", KINDS)
def test_agents_have_no_numbers(kind: str) -> None:
    """In another order each comes to what it came to before."""
    messages, given = made(kind, rounds=2), known().unflatten(0, (WORLDS, AGENTS))
    order = torch.randperm(AGENTS)
    found = messages(given.flatten(0, 1), ALIVE_NOW).unflatten(0, (WORLDS, AGENTS))[:, order]
    turned = messages(given[:, order].flatten(0, 1), ALIVE_NOW[:, order]).unflatten(0, (WORLDS, AGENTS))
    torch.testing.assert_close(turned[ALIVE_NOW[:, order]], found[ALIVE_NOW[:, order]])


LAYOUT = ObservationLayout(("cash", "age"), ("price", "rsi"), ("a", "b", "c"), 1)
STATE_SIZE = 4


def network(messages: str, **fields: Any) -> ActorCriticModule:
    """A network of a team's, as built."""
    torch.manual_seed(0)
    group = AgentGroup("traders", ("a",), Box(-1, 1, (3,), np.float32), LAYOUT)
    config = NetworkConfig.model_validate({"messages": messages, "policy_gain": 1.0, **fields})
    module = module_spec(group, config, STATE_SIZE, ("late",)).build()
    assert isinstance(module, ActorCriticModule)
    return module


def worlds() -> dict[str, Tensor]:
    """What it reads."""
    seen = torch.randn((WORLDS, AGENTS, LAYOUT.size))
    exists = torch.rand((WORLDS, AGENTS, 3)) < 0.7
    seen[..., LAYOUT.mask_slice] = exists.float()
    return {Columns.OBS: seen, ACTION_MASK: exists, ALIVE: ALIVE_NOW, STATE: torch.randn((WORLDS, STATE_SIZE))}


@pytest.mark.parametrize("central", [False, True], ids=["local", "central"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
@pytest.mark.parametrize("pooled", [True, False], ids=["pooled", "flat"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_passes_agree(kind: str, pooled: bool, shared: bool, central: bool) -> None:
    """Whatever is asked for, policy and values are the same, `[W, A, …]`, after the normalisers have learned too."""
    fields = {"kind": "pooled" if pooled else "flat", "share_trunk": shared, "central_critic": central}
    module, seen = network(kind, **fields), worlds()
    module.update_normaliser(seen[Columns.OBS][ALIVE_NOW], seen[STATE])
    policy, values = module.forward_policy_and_value(seen)
    assert module.whole_worlds
    assert policy.shape == (WORLDS, AGENTS, 6)
    assert values.shape == (WORLDS, AGENTS)
    torch.testing.assert_close(module.forward_policy(seen), policy)
    again, all_values = module.forward_policy_and_values(seen)
    torch.testing.assert_close(again, policy)
    assert len(all_values) == 2
    torch.testing.assert_close(all_values, module.compute_all_values(seen))
    trained = module.forward_train(seen)
    torch.testing.assert_close(trained[Columns.ACTION_DIST_INPUTS], policy)
    for found in (
        all_values[0],
        module.compute_values(seen),
        module.compute_values(seen, trained[Columns.EMBEDDINGS]),
        values if central else module.bundle_outputs(seen)["values"],
    ):
        torch.testing.assert_close(found, values)


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "apart"])
@pytest.mark.parametrize("kind", KINDS)
def test_policy_and_critic_both_hear(kind: str, shared: bool) -> None:
    """What one sees moves what another does, and what it is worth; what the deaf see moves neither."""
    for hears in (None, np.zeros((AGENTS, AGENTS), np.bool_).tolist()):
        torch.manual_seed(0)
        group = AgentGroup("traders", ("a",), Box(-1, 1, (3,), np.float32), LAYOUT)
        config = NetworkConfig.model_validate({"messages": kind, "share_trunk": shared, "policy_gain": 1.0})
        module, seen = module_spec(group, config, hears=hears).build(), worlds()
        changed = dict(seen)
        changed[Columns.OBS] = seen[Columns.OBS].clone()
        changed[Columns.OBS][0, 1] += 1
        for one, other in zip(
            module.forward_policy_and_value(seen), module.forward_policy_and_value(changed), strict=True
        ):
            moved = (one - other).abs()[0, 0].max() > 1e-4
            assert bool(moved) == (hears is None)


def test_without_messages_all_is_as_before() -> None:
    """Settings of messages that nobody sends make no difference to what a network begins with, or reads."""
    plain, other = network("none"), network("none", rounds=3, message_width=8)
    assert not plain.whole_worlds
    assert plain.state_dict().keys() == other.state_dict().keys()
    for name, weight in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], weight, atol=0, rtol=0)
    assert plain.forward_policy({Columns.OBS: torch.zeros((7, LAYOUT.size))}).shape == (7, 6)
