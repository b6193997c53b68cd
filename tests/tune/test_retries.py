"""Tests of which failures are worth another try."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import pytest
from ray.exceptions import RayActorError, RayTaskError
from ray.tune.experiment import Trial

from tune.events import Event, EventKind, listening
from tune.retries import RetryCallback, is_own
from tune.runtime import ROOT

BREAKS = """
import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

class Breaks(ParallelEnv):
    metadata = {"name": "breaks"}
    possible_agents = ["one"]

    def observation_space(self, agent):
        return Box(-1, 1, (1,), np.float32)

    def action_space(self, agent):
        return Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents, self.steps = ["one"], 0
        return {"one": np.zeros(1, np.float32)}, {"one": {}}

    def step(self, actions):
        self.steps += 1
        if self.steps == 5:
            raise ValueError("stock: got -1, allowed is 0 or more")
        no = {"one": False}
        return {"one": np.zeros(1, np.float32)}, {"one": 0.0}, no, no, {"one": {}}
"""
"""An env with a mistake in it that shows in its fifth step."""


def wrapped(cause: Exception) -> RayTaskError:
    """An error as Ray hands it over."""
    return RayTaskError("train", f"Traceback …\n{type(cause).__name__}: {cause}", cause)


@pytest.mark.parametrize(
    ("error", "own"),
    [
        (wrapped(ValueError("policies")), True),
        (RuntimeError("without a cause"), True),
        (RayTaskError("train", "Traceback …\nZeroDivisionError: division", None), True),
        (wrapped(OSError(28, "No space left on device")), False),
        (wrapped(MemoryError()), False),
        (wrapped(RayActorError()), False),
        (RayActorError(), False),
        (RayActorError(actor_init_failed=True), True),
    ],
)
def test_whose_fault_it_was(error: Exception, own: bool) -> None:
    """What the code raises is its own; lost processes, nodes, disks and memory befall it."""
    assert is_own(error) is own


class Failing(SimpleNamespace):
    """A trial as Tune counts its failures."""

    should_recover = Trial.should_recover

    @property
    def run_metadata(self) -> SimpleNamespace:
        """Where Tune keeps the count."""
        return SimpleNamespace(num_failures=self.num_failures)

    def fail(self, error: Exception, callback: RetryCallback) -> bool:
        """Fails; whether it is restarted."""
        self.num_failures += 1
        self.pickled_error_file = str(self.folder / "error.pkl")
        Path(self.pickled_error_file).write_bytes(cloudpickle.dumps(error))
        if recovers := self.should_recover():
            callback.on_trial_recover(0, [], self)
        return recovers


def trial(most: int, folder: Path) -> Failing:
    """A trial that has not failed yet."""
    return Failing(
        trial_id="t", num_failures=0, max_failures=most, last_result={"training_iteration": 7}, folder=folder
    )


def test_its_own_errors_are_tried_once_more(tmp_path: Path) -> None:
    """The second failure at the same place is the last, however many were allowed; further on it may fail again."""
    callback, failing, error = RetryCallback("e", 3), trial(3, tmp_path), wrapped(ValueError("x"))
    assert [failing.fail(error, callback), failing.fail(error, callback)] == [True, False]
    failing = trial(3, tmp_path)
    assert failing.fail(error, callback)
    callback.on_trial_result(0, [], failing, {"training_iteration": 7})  # played again up to where it failed
    assert failing.max_failures == 1
    callback.on_trial_result(0, [], failing, {"training_iteration": 8})
    assert [failing.fail(error, callback), failing.fail(error, callback)] == [True, False]


@pytest.mark.parametrize(("most", "wanted"), [(3, [True] * 3 + [False]), (0, [False]), (-1, [True] * 6)])
def test_what_befalls_it_is_tried_as_often_as_asked_for(most: int, wanted: list[bool], tmp_path: Path) -> None:
    """A lost node is no reason to give up, unless nothing is to be tried again."""
    callback, failing = RetryCallback("e", most), trial(most, tmp_path)
    assert [failing.fail(RayActorError(), callback) for _ in wanted] == wanted
    callback, failing = RetryCallback("e", -1), trial(-1, tmp_path)
    assert all(failing.fail(wrapped(ValueError("x")), callback) for _ in range(6))


def test_the_cause_is_said_at_once(tmp_path: Path) -> None:
    """Listeners hear why a trial is restarted, in one line of bounded length."""
    heard: list[Event] = []
    with listening("e", heard.append):
        trial(3, tmp_path).fail(wrapped(ValueError("long " * 100)), RetryCallback("e", 3))
    (event,) = heard
    assert event.kind is EventKind.RECOVERING
    assert event.figures["cause"].startswith("long long")
    assert len(event.figures["cause"]) == 201


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_env_that_breaks_ends_the_run_after_two_tries(tmp_path: Path) -> None:
    """Tune itself takes the hint, and the command says what was wrong each time."""
    (tmp_path / "hers.py").write_text(BREAKS)
    changes = ["--set", "tracking.enabled=false", "--set", "evaluation.interval=0"]
    ended = subprocess.run(
        [sys.executable, ROOT / "entrepot.py", "train", "hers:Breaks", *changes],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    said = ended.stdout + ended.stderr
    cause = "stock: got -1, allowed is 0 or more"
    assert ended.returncode == 1
    assert said.count(f"failed and is restarted from its last checkpoint ({cause})") == 1, said
    assert f"training failed: {cause}; it can be resumed" in said
