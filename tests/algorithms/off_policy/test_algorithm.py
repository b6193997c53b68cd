"""Tests of what learners from the past have in common, with each of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.maddpg.maddpg import MADDPGConfig
from algorithms.off_policy.config import OffPolicyConfig
from algorithms.qmix.qmix import QMIXConfig
from algorithms.sac.sac import SACConfig
from envs.cue import CueTask
from policies.rollout import play

pytestmark = pytest.mark.usefixtures("ray_local")
EACH = [
    (SACConfig, "continuous", "pooled"),
    (SACConfig, "discrete", "flat"),
    (MADDPGConfig, "continuous", "pooled"),
    (MADDPGConfig, "discrete", "flat"),
    (QMIXConfig, "discrete", "pooled"),
]


def configure(kind: type[OffPolicyConfig], mode: str, network: str = "pooled", **settings: Any) -> OffPolicyConfig:
    """On the cue, whose perfect return is 10."""
    made = kind().environment("cue", env_config={"action_mode": mode})
    made.env_runners(num_env_runners=0, num_envs_per_env_runner=16, rollout_fragment_length=8)
    shape: dict[str, Any] = {"kind": network, "hidden_sizes": (32,), "policy_gain": 1.0 if kind is QMIXConfig else 0.01}
    if kind is SACConfig:
        shape["std"] = "network"
    made.batched(task={"max_steps": 10, "entities": 2}, network=shape)
    made.training(lr=5e-3, gamma=0.5)
    made.learn_from, made.steps_per_update, made.batch, made.target_rate = 256, 8, 64, 0.02
    if kind is QMIXConfig:
        made.epsilon_steps = 4000
    for name, value in settings.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(("kind", "mode", "network"), EACH)
def test_it_learns(build: Callable[[Any], Any], kind: type[OffPolicyConfig], mode: str, network: str) -> None:
    """From little over chance to nearly all there is, in some hundred updates, and without exploration."""
    algorithm = build(configure(kind, mode, network))
    env, task = algorithm.domain.env({"action_mode": mode}, 64), CueTask(max_steps=10, entities=2)
    before = play(env, algorithm.as_policy(), task, seed=9).returns.mean()
    for _ in range(45):
        algorithm.train()
    after = play(env, algorithm.as_policy(), task, seed=9).returns.mean()
    assert before < 8.9
    assert after > 9.5 if (kind, mode) != (MADDPGConfig, "discrete") else after > before + 3


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, mode, _ in EACH])
def test_three_and_three_iterations_are_six(
    build: Callable[[Any], Any], tmp_path: Path, kind: type[OffPolicyConfig], mode: str
) -> None:
    """Restored from a checkpoint in another process's place, a run goes the way that it went from there, to the bit."""

    def fresh() -> Any:
        return build(configure(kind, mode, steps_per_update=64, n_step=2, replay_frames=640))

    first, second = fresh(), fresh()
    for _ in range(4):
        first.train()
    first.save_to_path(str(tmp_path / "checkpoint"))
    second.restore_from_path(str(tmp_path / "checkpoint"))
    for each in (first, second):
        for _ in range(3):
            each.train()
    assert first.updates == second.updates > 5
    assert_equal(*(each.get_state()["learner_group"]["learner"] for each in (first, second)))
    for module, columns in first.replay.columns.items():
        for name, column in columns.items():
            np.testing.assert_array_equal(column, second.replay.columns[module][name])


def assert_equal(first: Any, second: Any, path: str = "") -> None:
    """Asserts that nested values are equal to the bit; metrics hold times, and are left out."""
    if isinstance(first, dict):
        assert set(first) == set(second), path
        for name in set(first) - {"metrics_logger"}:
            assert_equal(first[name], second[name], f"{path}/{name}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), path
        for left, right in zip(first, second, strict=True):
            assert_equal(left, right, path)
    elif isinstance(first, np.ndarray):
        np.testing.assert_array_equal(first, second, err_msg=path)
    elif not callable(first):
        assert first == second, path


@pytest.mark.parametrize(
    ("kind", "mode", "settings", "said"),
    [
        (QMIXConfig, "continuous", {}, r"^action_mode: got continuous actions, allowed for qmix are discrete ones$"),
        (QMIXConfig, "discrete", {"mixing": "sum"}, r"^mixing: got 'sum', allowed are qmix, vdn, none$"),
        (SACConfig, "discrete", {"learn_from": 10**7}, r"^learn_from: got 10000000, allowed is at most replay_frames"),
        (SACConfig, "discrete", {"target_rate": 2}, r"^target_rate: got 2, allowed is 0 to 1$"),
        (MADDPGConfig, "discrete", {"noise_steps": 0}, r"^noise_steps: got 0, allowed is an integer, 1 or more$"),
    ],
)
def test_wrong_settings_are_named(kind: type[OffPolicyConfig], mode: str, settings: dict[str, Any], said: str) -> None:
    """In one line, before anything is sampled."""
    with pytest.raises(ValueError, match=said):
        configure(kind, mode, **settings).validate()


def test_updates_follow_the_steps_taken(build: Callable[[Any], Any]) -> None:
    """None before the first steps are there, and then one every so many, whatever an iteration's length."""
    algorithm = build(configure(QMIXConfig, "discrete", learn_from=300, steps_per_update=50))
    counts = [0] * 4
    for place in range(4):  # 128 steps each
        algorithm.train()
        counts[place] = algorithm.updates
    assert counts == [0, 0, 2, 5]
