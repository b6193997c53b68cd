"""The actor-critic on its own, in RLlib's MultiRLModule, and under RLlib's own PPO loss."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch.distributions import Normal, kl_divergence

from algorithms.networks.config import NetworkConfig
from algorithms.networks.distributions import MASKED_LOGIT
from algorithms.networks.module import ActorCriticModule, module_spec
from algorithms.networks.protocol import ACTION_MASK, STATE
from envs.base import AgentGroup
from envs.layout import ObservationLayout

ENTITIES, STATE_SIZE = 4, 5
LAYOUT = ObservationLayout(("cash", "age"), ("price", "rsi", "vol"), ("a", "b", "c", "d"), 1)
BOX = Box(-1, 1, (ENTITIES,), np.float32)
BRANCHES = MultiDiscrete([3] * ENTITIES)
NETWORKS = {
    "pooled": NetworkConfig(),
    "pooled-own-std": NetworkConfig(own_in_entities=True, std="network", activation="relu"),
    "pooled-apart": NetworkConfig(share_trunk=False),
    "pooled-central": NetworkConfig(central_critic=True),
    "pooled-central-apart": NetworkConfig(central_critic=True, share_trunk=False),
    "flat": NetworkConfig(kind="flat"),
    "flat-stock": NetworkConfig(kind="flat", share_trunk=False, std="network", normalise=False, normalise_values=False),
    "flat-central": NetworkConfig(kind="flat", central_critic=True, activation="silu"),
}


def build(
    network: NetworkConfig | None = None, space: Box | MultiDiscrete = BOX, layout: ObservationLayout = LAYOUT
) -> ActorCriticModule:
    torch.manual_seed(0)
    group = AgentGroup("traders", ("a",), space, layout)
    module = module_spec(group, network, STATE_SIZE).build()
    assert isinstance(module, ActorCriticModule)
    return module


def batch(rows: int = 64, space: Box | MultiDiscrete = BOX, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    seen = torch.randn((rows, LAYOUT.size), generator=generator) * 3 + 1
    exists = torch.rand((rows, ENTITIES), generator=generator) < 0.7
    seen[:, LAYOUT.mask_slice] = exists.float()
    mask = exists
    if isinstance(space, MultiDiscrete):
        mask = exists[:, :, None].expand(-1, -1, 3).clone()
        mask[:, :, 1] = True
        mask = mask.flatten(1)
    state = torch.randn((rows, STATE_SIZE), generator=generator)
    return {Columns.OBS: seen, ACTION_MASK: mask, STATE: state}


@pytest.mark.parametrize("space", [BOX, BRANCHES], ids=["continuous", "discrete"])
@pytest.mark.parametrize("name", NETWORKS)
def test_all_passes_agree(name: str, space: Box | MultiDiscrete) -> None:
    """One pass for both, RLlib's training pass, inference and the values alone give the same numbers."""
    module, seen = build(NETWORKS[name], space), batch(space=space)
    module.update_normaliser(seen[Columns.OBS], seen[STATE])
    policy, values = module.forward_policy_and_value(seen)
    assert policy.shape == (64, 2 * ENTITIES if space is BOX else 3 * ENTITIES)
    assert values.shape == (64,)
    trained = module.forward_train(seen)
    for out in (trained, module.forward_inference(seen), module.forward_exploration(seen)):
        torch.testing.assert_close(out[Columns.ACTION_DIST_INPUTS], policy)
    torch.testing.assert_close(module.compute_values(seen, embeddings=trained.get(Columns.EMBEDDINGS)), values)
    torch.testing.assert_close(module.compute_values(seen), values)
    assert (policy.requires_grad, module.forward_inference(seen)[Columns.ACTION_DIST_INPUTS].requires_grad) == (
        True,
        False,
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name: str) -> None:
    """Policy and value between them give every parameter a gradient, and buffers none."""
    module, seen = build(NETWORKS[name]), batch()
    policy, values = module.forward_policy_and_value(seen)
    (policy * torch.randn(policy.shape)).sum().backward(retain_graph=True)
    values.sum().backward()
    assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_masked_dimensions_are_held() -> None:
    """Masked dimensions have mean 0 and log_std 0, whatever is seen; the others do not."""
    for network in (NetworkConfig(), NetworkConfig(std="network"), NetworkConfig(kind="flat")):
        module, seen = build(network), batch()
        out, mask = module.forward_policy(seen), seen[ACTION_MASK]
        for part in out.chunk(2, dim=1):
            assert (part[~mask] == 0).all()
            assert (part[mask] != 0).all()


def test_masked_choices_are_impossible() -> None:
    """Masked choices have a large negative finite logit."""
    module, seen = build(space=BRANCHES), batch(space=BRANCHES)
    out = module.forward_policy(seen)
    assert (out[~seen[ACTION_MASK]] == MASKED_LOGIT).all()
    assert (out[seen[ACTION_MASK]].abs() < 1).all()


def test_first_policy_is_almost_the_same_everywhere() -> None:
    """The small gain of the policy head makes first means almost 0 and deviations what was asked for."""
    for name in ("pooled", "flat", "pooled-own-std"):
        mean, log_std = build(NETWORKS[name]).forward_policy({Columns.OBS: batch()[Columns.OBS]}).chunk(2, dim=1)
        assert mean.abs().max() < 0.15
        assert (log_std + 0.5).abs().max() < 0.15


def test_central_critic_reads_the_state_and_the_policy_does_not() -> None:
    """Another global state changes the values of a central critic and nothing else."""
    for name, network in NETWORKS.items():
        module, seen = build(network), batch()
        policy, values = module.forward_policy_and_value(seen)
        policy_2, values_2 = module.forward_policy_and_value(seen | {STATE: seen[STATE] + 1})
        assert torch.equal(policy, policy_2)
        assert torch.equal(values, values_2) != ("central" in name)


def test_deviation_is_shared_by_entities() -> None:
    """The pooled network has one deviation an action of an entity, the flat one one a dimension."""
    layout = ObservationLayout(LAYOUT.own, LAYOUT.entity_features, LAYOUT.entities, 2)
    space = Box(-1, 1, (2 * ENTITIES,), np.float32)
    pooled, flat = (build(NetworkConfig(kind=kind), space, layout) for kind in ("pooled", "flat"))
    assert pooled.log_std.shape == (2,)
    assert flat.log_std.shape == (2 * ENTITIES,)
    with torch.no_grad():
        pooled.log_std.copy_(torch.tensor([-1.0, 0.5]))
    log_std = pooled.forward_policy({Columns.OBS: batch()[Columns.OBS]})[0, 2 * ENTITIES :]
    assert log_std.tolist() == [-1.0, 0.5] * ENTITIES


def test_outputs_are_in_the_order_of_the_actions() -> None:
    """Swapping two entities swaps their means, deviations and logits, also with two actions an entity."""
    layout = ObservationLayout(LAYOUT.own, LAYOUT.entity_features, LAYOUT.entities, 2)
    order = [1, 0, 2, 3]
    seen = batch()[Columns.OBS]
    seen[:, LAYOUT.mask_slice] = 1
    swapped = seen.clone()
    swapped[:, LAYOUT.entity_slice] = seen[:, LAYOUT.entity_slice].unflatten(1, (4, 3))[:, order].flatten(1)
    for space, shape in ((Box(-1, 1, (8,), np.float32), (2, 4, 2)), (MultiDiscrete([2, 3] * 4), (1, 4, 5))):
        module = build(NetworkConfig(std="network"), space, layout)
        out, out_2 = (module.forward_policy({Columns.OBS: rows}).unflatten(1, shape) for rows in (seen, swapped))
        torch.testing.assert_close(out[:, :, order], out_2)
        assert not torch.allclose(out, out_2, atol=1e-6)


def test_layouts_without_entities_or_entity_actions() -> None:
    """Own features alone, and actions that belong to no entity, get a plain head."""
    alone = ObservationLayout(("x", "y"))
    module = build(NetworkConfig(), Box(-1, 1, (3,), np.float32), alone)
    assert module.forward_policy({Columns.OBS: torch.randn(7, 2)}).shape == (7, 6)
    free = ObservationLayout(LAYOUT.own, LAYOUT.entity_features, LAYOUT.entities, 0)
    module = build(NetworkConfig(), MultiDiscrete([2, 5]), free)
    assert module.forward_policy({Columns.OBS: batch()[Columns.OBS]}).shape == (64, 7)


@pytest.mark.parametrize(
    ("network", "space", "message"),
    [
        (NetworkConfig(), Box(-1, 1, (3,), np.float32), "action_space: got 3 actions, allowed are 4 entities times 1"),
        (NetworkConfig(), MultiDiscrete([2, 2, 2, 3]), "branches"),
        (NetworkConfig(), Box(-1, 1, (2, 2), np.float32), "action_space"),
    ],
)
def test_what_does_not_fit_is_refused(network: NetworkConfig, space: Box | MultiDiscrete, message: str) -> None:
    """Spaces that contradict the layout raise one line that says what is allowed."""
    with pytest.raises(ValueError, match=message):
        build(network, space)


def test_central_critic_needs_a_state() -> None:
    """A central critic over no state is refused."""
    group = AgentGroup("traders", ("a",), BOX, LAYOUT)
    with pytest.raises(ValueError, match="central_critic"):
        module_spec(group, NetworkConfig(central_critic=True), 0).build()


def test_normaliser_is_updated_only_when_told() -> None:
    """No pass changes a buffer; `update_normaliser` does, with arrays of any leading axes, and equals the merge."""
    module, seen = build(NetworkConfig(central_critic=True)), batch()
    before = module.get_state()
    module.forward_train(seen)
    module.forward_exploration(seen)
    assert all(np.array_equal(value, before[name]) for name, value in module.get_state().items())
    halves = copy.deepcopy(module)
    module.update_normaliser(seen[Columns.OBS].numpy().reshape(2, 32, -1), seen[STATE])
    for part in (slice(0, 20), slice(20, 64)):
        halves.merge_moments(module.sample_moments(seen[Columns.OBS][part], seen[STATE][part]))
    state, other = module.get_state(), halves.get_state()
    assert not np.array_equal(state["normaliser.mean"], before["normaliser.mean"])
    for name in state:
        np.testing.assert_allclose(state[name], other[name], rtol=1e-6, atol=1e-7, err_msg=name)


def test_normaliser_is_off_by_switch() -> None:
    """Without normalisation there are no statistics, and updates do nothing."""
    module = build(NETWORKS["flat-stock"])
    module.update_normaliser(batch()[Columns.OBS])
    assert module.state_dict().keys() == {*dict(module.named_parameters()), "log_std_limit"}


def test_state_survives_to_the_bit() -> None:
    """State dictionaries, pickled as RLlib does, carry float64 statistics without rounding."""
    module, twin, seen = build(NetworkConfig(central_critic=True)), build(NetworkConfig(central_critic=True)), batch()
    module.update_normaliser(seen[Columns.OBS] / 3, seen[STATE])
    with torch.no_grad():
        module.log_std += 0.1
    twin.set_state(pickle.loads(pickle.dumps(module.get_state())))
    state, restored = module.state_dict(), twin.state_dict()
    assert state["normaliser.mean"].dtype == torch.float64
    assert all(torch.equal(value, restored[name]) for name, value in state.items())
    with pytest.raises(RuntimeError, match="log_std"):
        twin.set_state({name: value for name, value in module.get_state().items() if name != "log_std"})


def test_multi_module_keeps_critics_of_runners() -> None:
    """In a MultiRLModule, inference_only too, every module keeps its critic, and checkpoints restore it."""
    group = AgentGroup("traders", ("a",), BOX, LAYOUT)
    specs = {name: module_spec(group, NETWORKS[name], STATE_SIZE) for name in ("pooled", "flat-stock")}
    multi = MultiRLModuleSpec(rl_module_specs=specs, inference_only=True).build()
    seen = batch()
    out = multi.forward_exploration(dict.fromkeys(specs, seen))
    assert set(out) == set(specs)
    learner = MultiRLModuleSpec(rl_module_specs=specs).build()
    multi.set_state(learner.get_state(inference_only=True))
    for name in specs:
        torch.testing.assert_close(multi[name].compute_values(seen), learner[name].compute_values(seen))


def test_checkpoint_of_a_module_restores_it(tmp_path: object) -> None:
    """RLlib's own `save_to_path` and `from_checkpoint` give back the same module, layout and all."""
    module, seen = build(), batch()
    module.update_normaliser(seen[Columns.OBS])
    module.save_to_path(str(tmp_path))
    restored = ActorCriticModule.from_checkpoint(str(tmp_path))
    assert restored.layout == LAYOUT
    assert torch.equal(restored.forward_policy(seen), module.forward_policy(seen))


@pytest.fixture(scope="module")
def learner() -> Iterator[PPOTorchLearner]:
    group = AgentGroup("traders", ("a",), BOX, LAYOUT)
    config = (
        PPOConfig()
        .environment(observation_space=group.observation_space, action_space=BOX)
        .training(lr=3e-4, use_kl_loss=True, kl_coeff=0.2, entropy_coeff=0.01, vf_loss_coeff=0.5)
    )
    specs = {name: module_spec(group, NETWORKS[name], STATE_SIZE) for name in ("pooled", "pooled-central-apart")}
    built = PPOTorchLearner(config=config, module_spec=MultiRLModuleSpec(rl_module_specs=specs))
    built.build()
    yield built
    built.shutdown()


@pytest.mark.parametrize("name", ["pooled", "pooled-central-apart"])
def test_rllibs_ppo_loss_is_the_textbooks(learner: PPOTorchLearner, name: str) -> None:
    """`PPOTorchLearner.compute_loss_for_module` gives Schulman et al.'s (2017) loss, as torch's own normals have it."""
    module, seen = learner.module[name].unwrapped(), batch()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        old = module.forward_policy(seen) + 0.05 * seen[ACTION_MASK].repeat(1, 2)
    before = Normal(*(part if k == 0 else part.exp() for k, part in enumerate(old.chunk(2, dim=1))))
    actions = before.sample()
    advantages, targets = torch.randn(64, generator=generator), torch.randn(64, generator=generator)
    rows = seen | {
        Columns.ACTIONS: actions,
        Columns.ACTION_LOGP: before.log_prob(actions).sum(-1),
        Columns.ACTION_DIST_INPUTS: old,
        Postprocessing.ADVANTAGES: advantages,
        Postprocessing.VALUE_TARGETS: targets,
    }
    config = learner.config.get_config_for_module(name)
    out = module.forward_train(rows)
    loss = learner.compute_loss_for_module(module_id=name, config=config, batch=rows, fwd_out=out)

    policy, values = module.forward_policy_and_value(seen)
    now = Normal(policy[:, :ENTITIES], policy[:, ENTITIES:].exp())
    ratio = (now.log_prob(actions) - before.log_prob(actions)).sum(-1).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(0.7, 1.3) * advantages)
    expected = (-surrogate + 0.5 * (values - targets).pow(2).clamp(0, 10.0) - 0.01 * now.entropy().sum(-1)).mean()
    expected = expected + 0.2 * kl_divergence(before, now).sum(-1).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert all(p.grad is not None for p in module.parameters())


def test_statistics_are_not_optimised(learner: PPOTorchLearner) -> None:
    """The learner's optimizers hold the parameters, and no buffer of the normaliser."""
    held = {id(p) for optimizer in learner._optimizer_parameters for p in optimizer.param_groups[0]["params"]}
    for name in ("pooled", "pooled-central-apart"):
        module = learner.module[name].unwrapped()
        assert {id(p) for p in module.parameters()} <= held
        assert not {id(b) for b in module.buffers()} & held


def test_deviations_that_the_network_puts_out_have_one_bias() -> None:
    """With `std: network` the head's bias alone moves the deviations; with `free` a parameter of its own does."""
    assert "log_std" in dict(build(NetworkConfig(std="free")).named_parameters())
    assert "log_std" not in dict(build(NetworkConfig(std="network")).named_parameters())
