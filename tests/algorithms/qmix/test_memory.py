"""Tests of QMIX with agents that remember: sequences from the replay are what was played, and memory is learned."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from algorithms.networks.protocol import MEMORY
from algorithms.off_policy.columns import ALIVE, BEGINS, MASK, OBS, SEQUENCE
from algorithms.off_policy.learner import unrolled
from algorithms.qmix.qmix import QMIXConfig
from policies.rollout import play
from tests.algorithms.off_policy.teams import configure

sys.path.insert(0, str(Path(__file__).parents[2] / "toys"))

MEMORY_OF_8 = {"kind": "flat", "hidden_sizes": (16,), "memory": "gru", "memory_width": 8}


def recollection(memory: str, **settings: Any) -> QMIXConfig:
    """Two agents and what they were shown two steps ago."""
    made = QMIXConfig().environment("recollection:DOMAIN", env_config={"num_agents": 2, "action_mode": "discrete"})
    made.env_runners(num_env_runners=0, num_envs_per_env_runner=32, rollout_fragment_length=6)
    network = {"kind": "flat", "hidden_sizes": (32,), "memory": memory, "memory_width": 16, "policy_gain": 0.5}
    made.batched(task={"max_steps": 3}, network=network)
    made.training(lr=5e-3, gamma=0.9)
    made.mixing, made.epsilon_steps, made.learn_from, made.steps_per_update = "vdn", 8000, 256, 32
    made.batch, made.target_rate, made.sequence, made.burn_in = 192, 0.02, 6, 2
    for name, value in settings.items():
        setattr(made, name, value)
    return made


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(("memory", "least", "most"), [("gru", 0.97, 1.0), ("none", 0.25, 0.42)])
def test_what_was_shown_first_is_known_last(
    build: Callable[[Any], Any], memory: str, least: float, most: float
) -> None:
    """With memory the cue is known nearly always; without, one time in three."""
    algorithm = build(recollection(memory))
    for _ in range(70 if memory == "gru" else 20):
        algorithm.train()
    worlds = algorithm.domain.env({"num_agents": 2}, 256, task={"max_steps": 3})
    assert least <= play(worlds, algorithm.as_policy(), worlds.tasks[0], seed=1).returns.mean() <= most


def test_sequences_give_what_steps_do() -> None:
    """Frame by frame a network that starts from nothing says what it says of sequences, in the frames asked for."""
    config = configure(QMIXConfig, "discrete", "flat")
    config.batched(network=MEMORY_OF_8)
    config.validate()
    policy = config.rl_module_spec.rl_module_specs["shared"].build()
    rng = torch.Generator().manual_seed(0)
    shape = (3, 5, 2)
    rows = {
        SEQUENCE + OBS: torch.randn(*shape, policy.layout.size, generator=rng),
        SEQUENCE + MASK: torch.ones(*shape, 12, dtype=torch.bool),
        SEQUENCE + ALIVE: torch.rand(shape, generator=rng) < 0.8,
        BEGINS: torch.rand(shape[:2], generator=rng) < 0.3,
    }
    frames = torch.tensor([1, 2, 0, 4, 3, 3])
    with torch.no_grad():
        found = unrolled(policy, rows, frames).unflatten(0, (3, 2, 2))
        memory, wanted = torch.zeros(3, 2, 8), []
        for frame in range(5):
            memory = memory * ~rows[BEGINS][:, frame, None, None]
            batch = {name: rows[SEQUENCE + name][:, frame].flatten(0, 1) for name in (OBS, MASK)}
            outputs, moved = policy.advance(batch | {MEMORY: memory.flatten(0, 1)})
            there = rows[SEQUENCE + ALIVE][:, frame, :, None]
            memory = torch.where(there, moved.unflatten(0, (3, 2)), memory)
            wanted.append(outputs.unflatten(0, (3, 2)))
    for row in range(3):
        for place, frame in enumerate(frames.reshape(3, 2)[row].tolist()):
            torch.testing.assert_close(found[row, place], wanted[frame][row])


@pytest.mark.usefixtures("ray_local")
def test_a_resumed_run_goes_on_to_the_bit(build: Callable[[Any], Any], tmp_path: Path) -> None:
    """Saved and restored elsewhere, replay and what agents remember included, a run ends with the same weights."""
    first, second = (build(recollection("gru", n_step=2, mixing="qmix", rollout_fragment_length=4)) for _ in range(2))
    for _ in range(3):
        first.train()
    path = first.save_to_path(tmp_path / "saved")
    second.restore_from_path(path)
    for algorithm in (first, second):
        for _ in range(2):
            algorithm.train()
    ours, theirs = (each.learner_group._learner.module["shared"].get_state() for each in (first, second))
    assert first.updates == second.updates > 5
    for name, weight in ours.items():
        np.testing.assert_array_equal(theirs[name], weight)


def test_what_was_wrong_is_not_drawn_more_often() -> None:
    """Sequences are drawn alike: priorities are refused."""
    with pytest.raises(ValueError, match=r"^priority: got 0.5, allowed with network.memory is 0$"):
        recollection("gru", priority=0.5).validate()
