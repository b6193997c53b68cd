"""Curriculum and evaluation inside a real PPO on RLlib."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from algorithms.ppo import PPO, PPOConfig
from curriculum.callback import CurriculumCallback
from curriculum.config import Curriculum
from curriculum.files import parse_typed
from envs.base import Actions, Observation
from evaluation.callback import EvaluationCallback
from evaluation.suite import Suite
from policies.base import PolicyState
from policies.heuristics import Baselines
from policies.heuristics.cue import RepeatCue

CURRICULUM = parse_typed(
    {
        "domain": "cue",
        "window": 64,
        "rehearsal": 1.0,
        "stages": [
            {
                "name": name,
                "title": name,
                "task": {"entities": n, "max_steps": 5},
                "promote_at": 0.2,
                "min_episodes": 16,
            }
            for name, n in (("easy", 1), ("hard", 3))
        ],
    },
    Curriculum,
    "here",
)
SUITE = parse_typed(
    {
        "domain": "cue",
        "validation": {"episodes": 16},
        "scenarios": [{"name": "one", "title": "One", "kind": "held_out", "task": {}}],
    },
    Suite,
    "here",
)


class Wrong(RepeatCue):
    """The worst there is, so that even an untrained policy has a score above 0."""

    name = "wrong"

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """As far from the cue as can be."""
        cues = self._env.perfect_actions()
        return {name: np.where(array > 0, -1, 1).astype(np.float32) for name, array in cues.items()}, None


STICKS = Baselines("wrong", "repeat", {"wrong": Wrong, "repeat": RepeatCue})


def build() -> PPO:
    config = (
        PPOConfig()
        .environment(env="cue", env_config={"num_agents": 2})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8, rollout_fragment_length=20)
        .training(num_epochs=1, minibatch_size=64)
        .debugging(seed=3)
        .callbacks(
            [
                partial(CurriculumCallback, CURRICULUM, reference_episodes=16, yardsticks=STICKS),
                partial(EvaluationCallback, SUITE, CURRICULUM, every=2, yardsticks=STICKS),
            ]
        )
    )
    return config.build_algo()


@pytest.mark.usefixtures("ray_local")
def test_stages_change_and_survive_a_checkpoint(tmp_path: Path) -> None:
    """Training promotes, the worlds then play the new stage, and a restored algorithm stands where the old one did."""
    algorithm = build()
    restored = None
    try:
        played: list[set[str]] = []
        result: dict[str, Any] = {}
        for _ in range(4):
            result = algorithm.train()
            played.append({episode.task for episode in algorithm.finished_episodes})
        assert played[0] == {"easy"}
        assert result["curriculum/stage_name"] == "hard"
        assert played[-1] == {"hard", "easy"}  # the first stage is rehearsed
        assert result["eval_iteration"] == 4
        assert result["eval_score_low"] <= result["eval_score"] <= result["eval_score_high"]
        algorithm.save_to_path(str(tmp_path))
        restored = build()
        restored.restore_from_path(str(tmp_path))
        ours, theirs = restored.callbacks, algorithm.callbacks
        assert [callback.get_state() for callback in ours] == [callback.get_state() for callback in theirs]
        once, again = algorithm.train(), restored.train()
        assert {episode.task for episode in restored.finished_episodes} == {"hard", "easy"}
        assert again["curriculum/score"] == once["curriculum/score"]
    finally:
        algorithm.stop()
        if restored is not None:
            restored.stop()
