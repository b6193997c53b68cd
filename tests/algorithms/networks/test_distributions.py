"""Our distributions against torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from torch.distributions import Categorical, Normal, kl_divergence

from algorithms.networks.distributions import (
    MASKED_LOGIT,
    DiagonalGaussian,
    deterministic,
    distribution_class,
    entropy,
    kl,
    log_prob,
    sample,
)

BOX = Box(-1, 1, (3,), np.float32)
EQUAL = MultiDiscrete([4, 4, 4])
UNEQUAL = MultiDiscrete([2, 5, 3])


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def inputs(space: Box | MultiDiscrete, generator: torch.Generator, rows: int = 50) -> torch.Tensor:
    return torch.randn((rows, distribution_class(space).required_input_dim(space)), generator=generator)


def branches(logits: torch.Tensor, space: MultiDiscrete) -> list[Categorical]:
    return [Categorical(logits=part) for part in logits.split(space.nvec.tolist(), dim=-1)]


def test_gaussian_agrees_with_torch(generator: torch.Generator) -> None:
    """Density, entropy and divergence of the diagonal Gaussian are those of independent normals."""
    one, other = inputs(BOX, generator), inputs(BOX, generator)
    first, second = (Normal(x[:, :3], x[:, 3:].exp()) for x in (one, other))
    actions = torch.randn((50, 3), generator=generator)
    torch.testing.assert_close(log_prob(one, actions, BOX), first.log_prob(actions).sum(-1))
    torch.testing.assert_close(entropy(one, BOX), first.entropy().sum(-1))
    torch.testing.assert_close(kl(one, other, BOX), kl_divergence(first, second).sum(-1))


@pytest.mark.parametrize("space", [EQUAL, UNEQUAL])
def test_branches_agree_with_torch(space: MultiDiscrete, generator: torch.Generator) -> None:
    """Probability, entropy and divergence of branches, of equal and unequal sizes, are those of independent choices."""
    one, other = inputs(space, generator), inputs(space, generator)
    actions = sample(one, space, generator)
    first, second = branches(one, space), branches(other, space)
    expected = sum(d.log_prob(actions[:, k]) for k, d in enumerate(first))
    torch.testing.assert_close(log_prob(one, actions, space), expected)
    torch.testing.assert_close(entropy(one, space), sum(d.entropy() for d in first))
    divergence = sum(kl_divergence(p, q) for p, q in zip(first, second, strict=True))
    torch.testing.assert_close(kl(one, other, space), divergence)


def test_gaussian_samples_have_its_moments(generator: torch.Generator) -> None:
    """Samples have the mean and the deviation that were asked for, and gradients flow through rsample only."""
    dist_inputs = torch.tensor([[0.5, -1.0, 2.0, 0.0, -1.0, 0.5]], requires_grad=True)
    drawn = sample(dist_inputs.expand(40_000, 6), BOX, generator)
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0.5, -1.0, 2.0]), atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), torch.tensor([0.0, -1.0, 0.5]).exp(), atol=0.03, rtol=0)
    assert not drawn.requires_grad
    DiagonalGaussian(dist_inputs).rsample().sum().backward()
    assert dist_inputs.grad is not None
    assert (dist_inputs.grad[0, :3] == 1).all()


@pytest.mark.parametrize("space", [EQUAL, UNEQUAL])
def test_branch_samples_have_its_probabilities(space: MultiDiscrete, generator: torch.Generator) -> None:
    """Choices come as often as their probabilities say, branch by branch."""
    one = inputs(space, generator, rows=1)
    drawn = sample(one.expand(40_000, -1), space, generator)
    for k, expected in enumerate(branches(one, space)):
        found = torch.bincount(drawn[:, k], minlength=int(space.nvec[k])) / len(drawn)
        torch.testing.assert_close(found, expected.probs[0], atol=0.012, rtol=0)


@pytest.mark.parametrize("space", [EQUAL, UNEQUAL])
def test_masked_choices_are_impossible(space: MultiDiscrete, generator: torch.Generator) -> None:
    """A masked choice is never drawn nor preferred, and nothing is NaN, gradients included."""
    logits = inputs(space, generator, rows=2_000)
    mask = torch.rand(logits.shape, generator=generator) < 0.5
    ends = np.cumsum([0, *space.nvec])[:-1]
    mask[:, ends] = True
    logits.requires_grad_()
    masked = logits.masked_fill(~mask, MASKED_LOGIT)
    other = torch.randn(logits.shape, generator=generator).masked_fill(~mask, MASKED_LOGIT)
    for actions in (sample(masked, space, generator), deterministic(masked, space)):
        chosen = actions + torch.from_numpy(ends)
        assert mask.gather(1, chosen).all()
    actions = sample(masked, space, generator)
    total = log_prob(masked, actions, space) + entropy(masked, space) + kl(masked, other, space)
    assert torch.isfinite(total).all()
    total.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[~mask] == 0).all()


def test_masked_dimensions_cancel(generator: torch.Generator) -> None:
    """A continuous dimension held at mean 0 and log_std 0 adds nothing to a ratio, a divergence or a gradient."""
    wide = Box(-1, 1, (4,), np.float32)
    ratios, divergences = [], []
    one, other = inputs(BOX, generator), inputs(BOX, generator)
    actions = torch.randn((50, 4), generator=generator)
    pad = torch.zeros((50, 1))
    for space, cut in ((BOX, lambda x: x), (wide, lambda x: torch.cat([x[:, :3], pad, x[:, 3:], pad], 1))):
        taken = actions[:, : space.shape[0]]
        ratios.append(log_prob(cut(one), taken, space) - log_prob(cut(other), taken, space))
        divergences.append(kl(cut(one), cut(other), space))
    torch.testing.assert_close(ratios[0], ratios[1])
    torch.testing.assert_close(divergences[0], divergences[1])


def test_modes_are_most_likely(generator: torch.Generator) -> None:
    """No sample is more likely than the mode; RLlib's deterministic twin takes it."""
    for space in (BOX, EQUAL, UNEQUAL):
        one = inputs(space, generator)
        best = deterministic(one, space)
        for _ in range(20):
            drawn = sample(one, space, generator)
            assert (log_prob(one, drawn, space) <= log_prob(one, best, space) + 1e-6).all()
        assert torch.equal(distribution_class(space).from_logits(one).to_deterministic().sample(), best)


def test_equal_spaces_share_a_class_and_a_seed_its_samples() -> None:
    """The class is cached by the branches' sizes, and the same generator state draws the same actions."""
    assert distribution_class(EQUAL) is distribution_class(MultiDiscrete([4, 4, 4]))
    assert distribution_class(EQUAL) is not distribution_class(UNEQUAL)
    for space in (BOX, UNEQUAL):
        one = inputs(space, torch.Generator().manual_seed(1))
        drawn = [sample(one, space, torch.Generator().manual_seed(2)) for _ in range(2)]
        assert torch.equal(*drawn)


def test_who_samples_first_does_not_spoil_it_for_learners() -> None:
    """What is kept of a space that was first met while sampling still takes part in a gradient."""
    space = MultiDiscrete([2, 6, 3, 5])  # met nowhere else
    logits = torch.zeros((4, 16), requires_grad=True)
    with torch.inference_mode():
        actions = sample(torch.zeros(4, 16), space).clone()
    log_prob(logits, torch.tensor(actions.tolist()), space).sum().backward()
    assert logits.grad is not None
    assert logits.grad.any()


def test_choices_have_no_gradient() -> None:
    """Reparametrised choices are refused in one line."""
    with pytest.raises(ValueError, match="rsample"):
        distribution_class(EQUAL)(torch.zeros(1, 12)).rsample()


def test_all_mass_on_one_action() -> None:
    """A deterministic action has probability 1 and no entropy; another's divergence from it is the other's surprise."""
    logits = torch.log(torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.2, 0.1]]))
    choices = distribution_class(MultiDiscrete([3]))(logits)
    mode = choices.to_deterministic()
    assert mode.sample().tolist() == mode.rsample().tolist() == mode.mode().tolist() == [[1], [0]]
    torch.testing.assert_close(mode.logp(torch.tensor([[1], [1]])), torch.tensor([0.0, -torch.inf]))
    torch.testing.assert_close(mode.entropy(), torch.zeros(2))
    torch.testing.assert_close(mode.kl(choices), -torch.log(torch.tensor([0.5, 0.7])))
    torch.testing.assert_close(mode.kl(mode), torch.zeros(2))
