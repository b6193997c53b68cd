"""Learners from the past on the cue; as a program, they train for a while, save themselves, and wait to be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from algorithms.maddpg.maddpg import MADDPGConfig
from algorithms.off_policy.config import OffPolicyConfig
from algorithms.qmix.qmix import QMIXConfig
from algorithms.sac.sac import SACConfig

BEFORE, AFTER = 4, 3
"""Iterations before the kill, and after it."""
SAVED = "saved"
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


def resumable(kind: type[OffPolicyConfig], mode: str) -> OffPolicyConfig:
    """With transitions of several steps, some drawn by priority, and a replay that is full before it is saved."""
    priority = 0.5 if mode == "discrete" else 0.0
    return configure(kind, mode, steps_per_update=64, n_step=2, replay_frames=640, priority=priority)


def checkpoint(folder: Path, kind: type[OffPolicyConfig], mode: str) -> Path:
    """Where a learner is saved."""
    return folder / f"{kind.__name__}_{mode}"


def main(folder: Path) -> None:
    """Trains and saves each, says so, and waits."""
    for kind, mode, _ in EACH:
        algorithm = resumable(kind, mode).build_algo()
        for _ in range(BEFORE):
            algorithm.train()
        algorithm.save_to_path(str(checkpoint(folder, kind, mode)))
    (folder / SAVED).touch()
    time.sleep(600)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
