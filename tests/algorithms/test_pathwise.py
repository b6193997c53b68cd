"""Tests of learning by slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from algorithms.pathwise import PathwiseConfig, scaled
from envs.supply_chain import SupplyTask
from policies.heuristics.supply_chain.levels import Tuned
from policies.rollout import play


def config(**settings: Any) -> PathwiseConfig:
    """On the serial system."""
    made = PathwiseConfig().environment("supply_chain", env_config={"networks": ("serial",)})
    made.env_runners(num_env_runners=0, num_envs_per_env_runner=32, rollout_fragment_length=30)
    made.batched(task={"max_steps": 30}, policies="shared", network={"initial_log_std": -3.5})
    made.debugging(seed=0)
    made.training(lr=0.001, **settings)
    made.minibatch_size, made.half = 720, 20
    return made


def test_it_finds_levels_in_half_a_minute() -> None:
    """From 1.4 times the cost of tuned levels to within a twentieth of it, on worlds that nobody trained on."""
    algorithm = config().build_algo()
    try:
        env = algorithm.domain.env({"networks": ("serial",)}, 64)
        task = SupplyTask(max_steps=60)
        tuned = play(env, Tuned(), task, seed=9).returns.mean()
        before = play(env, algorithm.as_policy(), task, seed=9).returns.mean()
        for _ in range(15):
            result = algorithm.train()
        after = play(env, algorithm.as_policy(), task, seed=9).returns.mean()
    finally:
        algorithm.stop()
    assert before < 1.3 * tuned < 0
    assert after > 1.05 * tuned
    (module,) = (name for name in result["learners"] if name != "__all_modules__")
    assert np.isfinite(result["learners"][module]["total_loss"])


def test_slopes_are_scaled_alike_whatever_their_unit() -> None:
    """Money counted in cents gives the same steps; a clip bounds what a single moment of need weighs."""
    slopes = torch.tensor([[1.0, -2.0], [0.0, 30.0]])
    assert torch.allclose(scaled(slopes, None), scaled(100 * slopes, None))
    assert scaled(slopes, None).square().mean() == pytest.approx(1)
    assert scaled(slopes, 1.5).max() == 1.5


@pytest.mark.parametrize(
    ("domain", "env", "said"),
    [
        ("trading", {}, r"^domain: got 'trading', allowed for an algorithm by slopes are envs that have them$"),
        ("supply_chain", {"action_mode": "discrete"}, r"^action_mode: got discrete actions, allowed for an algorithm"),
    ],
)
def test_envs_without_slopes_are_refused(domain: str, env: dict[str, Any], said: str) -> None:
    """In one line, before anything is sampled."""
    with pytest.raises(ValueError, match=said):
        PathwiseConfig().environment(domain, env_config=env).validate()


def test_what_is_out_of_bounds_is_not_pulled_further() -> None:
    """A mean beyond 1 has a slope back inside, and none outwards."""
    learner = PathwiseConfig().get_default_learner_class()
    means = torch.tensor([[1.2, 1.2, -1.2, 0.5]], requires_grad=True)
    inputs = torch.cat([means, torch.zeros(1, 4)], dim=1)
    slopes = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    loss = learner.compute_loss_for_module(
        None,  # type: ignore[arg-type]
        module_id="shared",
        config=None,
        batch={"slopes": slopes},
        fwd_out={"action_dist_inputs": inputs},
    )
    loss.backward()
    assert means.grad is not None
    assert means.grad.tolist() == [[0.0, 1.0, 0.0, -1.0]]
