"""Tests of PPO's update, against RLlib's own loss and by what it changes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from algorithms.learner import VALUES, PPOLearner
from algorithms.ppo import PPOConfig
from algorithms.runner import BatchedEnvRunner


def configure(mode="continuous", policies="shared", network=None, **training):
    config = (
        PPOConfig()
        .environment("cue", env_config={"action_mode": mode})
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=15)
        .training(**{"minibatch_size": 32, "num_epochs": 3, **training})
        .batched(policies=policies, network=network or {})
    )
    config.validate()
    return config


def make(config, kind=PPOLearner):
    """A learner, and a batch that was sampled with its weights."""
    runner = BatchedEnvRunner(config=config)
    learner = kind(config=config, module_spec=config.get_multi_rl_module_spec(spaces=runner.get_spaces()))
    learner.build()
    runner.set_state({"rl_module": learner.module.get_state()})
    rollout = runner.sample()
    batches = {module_id: SampleBatch(rows) for module_id, rows in rollout.batches.items()}
    return learner, MultiAgentBatch(batches, env_steps=rollout.env_steps())


def update(learner, batch, **kwargs):
    config = learner.config
    settings = {"num_epochs": config.num_epochs, "minibatch_size": config.minibatch_size, **kwargs}
    return learner.update(batch=batch, timesteps={"num_env_steps_sampled_lifetime": 60}, **settings)


def weights(learner, module_id="shared"):
    return {name: tensor.clone() for name, tensor in learner.module[module_id].state_dict().items()}


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
def test_the_loss_is_rllibs(mode):
    """On the same rows and networks our loss equals that of RLlib's learner, KL and clipping included."""
    config = configure(mode, clip_param=0.05, vf_clip_param=0.3, entropy_coeff=0.02, kl_coeff=0.7)
    ours, batch = make(config)
    theirs, _ = make(config, PPOTorchLearner)
    with torch.no_grad():  # move on, so that ratios are not 1
        for parameter in ours.module["shared"].parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    theirs.module.set_state(ours.module.get_state())
    rows = {name: torch.as_tensor(column) for name, column in batch["shared"].items()}
    dist_inputs, values = ours.module["shared"].forward_policy_and_value(rows)
    settings = {"module_id": "shared", "config": config, "batch": rows}
    mine = ours.compute_loss_for_module(fwd_out={Columns.ACTION_DIST_INPUTS: dist_inputs, VALUES: values}, **settings)
    reference = theirs.compute_loss_for_module(fwd_out={Columns.ACTION_DIST_INPUTS: dist_inputs}, **settings)
    assert mine.item() == pytest.approx(reference.item(), rel=1e-5)
    assert abs(mine.item()) > 1e-3


def test_the_same_round_gives_the_same_weights():
    """Nothing but the weights, the batch and the number of the round decides what an update does."""
    first, batch = make(configure())
    second, _ = make(configure())
    second.module.set_state(first.module.get_state())
    third = copy.deepcopy(weights(first))
    for learner, number in ((first, 3), (second, 3)):
        torch.rand(number)  # whoever else draws numbers meanwhile does not matter
        update(learner, batch, round=number)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, rtol=0, atol=0)
    second.module["shared"].load_state_dict(third)
    update(second, batch, round=4)
    assert any(not torch.equal(weights(second)[name], tensor) for name, tensor in weights(first).items())


def test_the_normaliser_learns_after_the_epochs():
    """It has seen every row once, though there were three epochs, and none before the last of them."""
    learner, batch = make(configure())
    counts = []
    inner = learner.compute_loss_for_module
    module = learner.module["shared"]

    def watch(**kwargs):
        counts.append(module.normaliser.count.max().item())
        return inner(**kwargs)

    learner.compute_loss_for_module = watch
    update(learner, batch)
    assert set(counts) == {0.0}
    assert len(counts) == 3 * round(120 / 32)
    assert module.normaliser.count[0].item() == 120


@pytest.mark.parametrize(("target", "factor"), [(1e-9, 1.5), (1e9, 0.5)])
def test_the_kl_coefficient_adapts(target, factor):
    """It grows by half where policies move more than twice the target, and halves where less than half of it."""
    learner, batch = make(configure(kl_target=target, kl_coeff=0.4))
    update(learner, batch)
    assert learner.get_state()["kl_coefficients"]["shared"] == pytest.approx(0.4 * factor)


def test_a_restored_learner_goes_on_to_the_bit():
    """Weights, Adam's moments, the normaliser and the KL coefficient are all in the state."""
    config = configure(kl_coeff=0.4, lr=[[0, 1e-3], [1000, 1e-5]], entropy_coeff=[[0, 0.1], [1000, 0.0]])
    first, batch = make(config)
    update(first, batch, round=0)
    state = copy.deepcopy(first.get_state())
    second, _ = make(config)
    second.set_state(state)
    update(first, batch, round=1)
    update(second, batch, round=1)
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, rtol=0, atol=0)
    assert second.get_state()["kl_coefficients"] == first.get_state()["kl_coefficients"]
    first.set_state(state)  # and back to where it was, though it has got further since
    for name, value in state["rl_module"]["shared"].items():
        np.testing.assert_array_equal(weights(first)[name].numpy(), value)


def test_the_scale_of_rewards_does_not_matter():
    """Returns a thousand times as large, as a critic of that scale foresees them, move all weights by the same."""
    moved = []
    for factor in (1.0, 1000.0):
        learner, batch = make(configure(num_epochs=4))
        rows = batch["shared"]
        rows["value_targets"] = np.float32(factor) * rows["value_targets"]
        before = weights(learner)
        results = update(learner, batch)["shared"]
        assert results["vf_loss"].peek() > 0.01 * factor**2  # in squared units of reward, as ever
        module = learner.module["shared"]
        moved.append([parameter - before[name] for name, parameter in module.named_parameters()])
        assert module.value_head.scale.item() == pytest.approx(np.std(rows["value_targets"]), rel=1e-5)
    for small, large in zip(*moved, strict=True):
        torch.testing.assert_close(small, large, rtol=1e-3, atol=1e-6)


def test_gradients_that_are_not_finite_change_nothing():
    """A row that yields NaN costs its minibatch, which is counted, and not the network."""
    learner, batch = make(configure(minibatch_size=120, num_epochs=1))
    before = weights(learner)
    batch["shared"]["advantages"] = batch["shared"]["advantages"] * np.float32(np.nan)
    results = update(learner, batch)
    assert results["shared"]["skipped_steps"].peek() == 1
    for name, parameter in learner.module["shared"].named_parameters():
        torch.testing.assert_close(parameter.data, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("by", ["global_norm", "norm", "value"])
def test_gradients_are_clipped(by):
    """All three of RLlib's ways to clip bound what reaches the optimizer."""
    learner, batch = make(configure(grad_clip=1e-3, grad_clip_by=by, num_epochs=1, minibatch_size=120))
    update(learner, batch)
    gradients = [parameter.grad for parameter in learner.module["shared"].parameters() if parameter.grad is not None]
    bound = {
        "global_norm": torch.cat([gradient.flatten() for gradient in gradients]).norm(),
        "norm": max(gradient.norm() for gradient in gradients),
        "value": max(gradient.abs().max() for gradient in gradients),
    }[by]
    assert bound.item() == pytest.approx(1e-3, rel=1e-2)


def test_the_matmul_precision_is_the_learners_alone():
    """It holds during the update, and what was set before holds again afterwards."""
    learner, batch = make(configure().copy(copy_frozen=False).batched(matmul_precision="medium"))
    seen = []
    inner = learner.compute_loss_for_module
    learner.compute_loss_for_module = lambda **kwargs: (
        seen.append(torch.get_float32_matmul_precision()) or inner(**kwargs)
    )
    update(learner, batch)
    assert set(seen) == {"medium"}
    assert torch.get_float32_matmul_precision() == "highest"


def test_each_module_learns_from_its_own_rows():
    """A module that has no rows stays as it is; the others learn."""
    learner, batch = make(configure(policies="per_agent"))
    before = {name: weights(learner, name) for name in ("repeater_0", "repeater_1")}
    del batch.policy_batches["repeater_1"]
    update(learner, batch)
    assert all(
        torch.equal(tensor, before["repeater_1"][name]) for name, tensor in weights(learner, "repeater_1").items()
    )
    assert any(
        not torch.equal(tensor, before["repeater_0"][name]) for name, tensor in weights(learner, "repeater_0").items()
    )


def test_metrics_are_finite_and_logged_once():
    """Losses, entropy, KL and the gradient's norm are there for each module."""
    learner, batch = make(configure())
    results = update(learner, batch)["shared"]
    for name in ("total_loss", "policy_loss", "vf_loss", "entropy", "mean_kl_loss", "gradient_norm", "curr_kl_coeff"):
        assert np.isfinite(results[name].peek())
    assert results["skipped_steps"].peek() == 0
