"""Tests of what learners from the past have in common, with each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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
from tests.algorithms.off_policy import teams
from tests.algorithms.off_policy.teams import EACH, configure

pytestmark = pytest.mark.usefixtures("ray_local")


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


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process left behind that trained each for a while, and was killed."""
    folder: Path = tmp_path_factory.mktemp("killed")
    root = Path(teams.__file__).parents[3]
    environment = {**os.environ, "RAY_ADDRESS": "", "PYTHONPATH": str(root)}
    program = [sys.executable, "-m", teams.__name__, str(folder)]
    process = subprocess.Popen(
        program, cwd=root, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 200
        while not (folder / teams.SAVED).exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return folder


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, mode, _ in EACH])
def test_a_killed_run_goes_on_to_the_same_weights(
    build: Callable[[Any], Any], killed: Path, kind: type[OffPolicyConfig], mode: str
) -> None:
    """After `kill -9` the checkpoint goes the way of a run that nobody killed, to the bit, replay and targets too."""
    whole, resumed = (build(teams.resumable(kind, mode)) for _ in range(2))
    resumed.restore_from_path(str(teams.checkpoint(killed, kind, mode)))
    for algorithm, iterations in ((whole, teams.BEFORE + teams.AFTER), (resumed, teams.AFTER)):
        for _ in range(iterations):
            algorithm.train()
    assert whole.updates == resumed.updates > 5
    assert_equal(*(each.get_state()["learner_group"]["learner"] for each in (whole, resumed)))
    assert (whole.replay.priorities is None) == (mode == "continuous")
    if whole.replay.priorities is not None:
        shares = whole.replay.priorities.shares
        assert len(np.unique(shares)) > 100  # what was learned from it is known
        np.testing.assert_array_equal(shares, resumed.replay.priorities.shares)
    for module, columns in whole.replay.columns.items():
        for name, column in columns.items():
            np.testing.assert_array_equal(column, resumed.replay.columns[module][name])


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
