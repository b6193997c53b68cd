"""One small experiment from configuration to registered model, and the same one killed and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from envs.registry import get_domain
from policies.bundle import load_bundle
from policies.registry import ModelRegistry
from policies.rollout import play
from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from tune import figures, history, paths
from tune.checkpoints import load_modules
from tune.events import Event, EventKind
from tune.examine import examine
from tune.experiment import train
from tune.files import read_json
from tune.finish import Finished, finish, run
from tune.reports import rewrite_report

ROOT = Path(__file__).resolve().parents[2]
ITERATIONS = 14
SETTINGS = (
    f"stop.iterations={ITERATIONS}",
    "checkpoint.interval=2",
    "evaluation={interval: 4, episodes: 16, final_episodes: 16}",
    "resources.cpus=2",
)


def settings(folder: Path) -> list[str]:
    """Overrides of the tests' experiment, with results in `folder`."""
    return [*SETTINGS, f"resources.results={folder}/results", f"tracking.uri=sqlite:///{folder}/mlflow.db"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, new_database: Callable[[Path], str]) -> Path:
    """Where the module's experiments lie, and their records."""
    folder = tmp_path_factory.mktemp("experiments")
    new_database(folder)
    return folder


@pytest.fixture(scope="module")
def heard() -> list[Event]:
    """What was told while the experiment ran."""
    return []


@pytest.fixture(scope="module")
def whole(ray_local: None, folder: Path, heard: list[Event]) -> Finished:
    """An experiment that was never interrupted."""
    return run(load("cue", overrides=settings(folder)), name="whole", listeners=[heard.append], quiet=True)


def weights(experiment: Path) -> dict[str, torch.Tensor]:
    """The networks of an experiment's last checkpoint."""
    trained = read_json(experiment / paths.TRAINED)
    loaded = load_modules(paths.load_config(experiment), experiment / trained["last_checkpoint"])
    return {f"{m}.{name}": value for m, net in loaded.modules.items() for name, value in net.state_dict().items()}


def test_it_learns_and_says_so(whole: Finished) -> None:
    """The score rises from the untrained policy's to nearly that of the informed one."""
    scores = [row[figures.EVAL] for row in whole.history]
    assert scores[0] < 0.6
    assert whole.best_eval_score is not None
    assert whole.best_eval_score > 0.9
    assert whole.stopped_by == f"{ITERATIONS} iterations"
    assert whole.scores()["default"]["trained"] > 0.9


def test_history_has_every_iteration(whole: Finished) -> None:
    """One row an iteration, with counts that add up: 32 worlds, 20 steps, 2 agents, episodes of 10 steps."""
    assert [row[figures.ITERATION] for row in whole.history] == list(range(1, ITERATIONS + 1))
    assert [row[figures.AGENT_STEPS] for row in whole.history] == [1280 * (n + 1) for n in range(ITERATIONS)]
    assert [row[figures.EPISODES] for row in whole.history] == [64 * (n + 1) for n in range(ITERATIONS)]


def test_listeners_hear_the_whole_story(whole: Finished, heard: list[Event]) -> None:
    """Start, every iteration, evaluations, checkpoints, the end of training and of everything, in this order."""
    kinds = [event.kind for event in heard]
    assert kinds[0] is EventKind.STARTED
    assert kinds[-1] is EventKind.FINISHED
    assert kinds.count(EventKind.PROGRESS) == ITERATIONS
    assert kinds.count(EventKind.EVALUATED) == ITERATIONS // 4
    assert kinds.index(EventKind.CHECKPOINT) < kinds.index(EventKind.TRAINED) < kinds.index(EventKind.FINISHING)


def test_only_the_best_and_the_newest_checkpoints_are_kept(whole: Finished) -> None:
    """`checkpoint.keep` holds, and the newest one is there to resume from."""
    kept = sorted((whole.folder).glob("trial_*/checkpoint_*"))
    trained = read_json(whole.folder / paths.TRAINED)
    assert len(kept) <= load("cue").checkpoint.keep + 1
    assert whole.folder / trained["last_checkpoint"] == kept[-1]
    assert (whole.folder / trained["checkpoint"]).is_dir()


def test_the_exported_policy_is_the_best_checkpoint_and_plays_as_evaluated(whole: Finished) -> None:
    """The bundle repeats the score that was measured in training, on the same worlds."""
    policy = load_bundle(whole.bundle, verify=True)
    best = max((row for row in whole.history if figures.evaluated(row)), key=lambda row: row[figures.EVAL])
    assert policy.manifest.metrics[figures.ITERATION] == best[figures.ITERATION]
    domain = get_domain("cue")
    task = domain.task_type.model_validate(policy.manifest.task)
    env = domain.env(policy.manifest.env_config, 16)
    returns = play(env, policy, task, seed=20_000_001).returns
    assert returns.mean() == pytest.approx(10.0, abs=0.5)


def test_the_run_is_tracked_and_the_model_registered(whole: Finished, folder: Path) -> None:
    """One MLflow run holds the settings and the curve; the model is the champion, as nobody was before it."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("whole")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.data.params["ppo.gamma"] == "0.5"
    assert len(client.get_metric_history(tracked.info.run_id, figures.EVAL)) == ITERATIONS
    champion = ModelRegistry(f"sqlite:///{folder}/mlflow.db").champion("cue")
    assert champion is not None
    assert (champion.version, whole.version, whole.champion) == (1, 1, 1)


def test_the_report_is_there_and_can_be_written_anew(whole: Finished, folder: Path, tmp_path: Path) -> None:
    """`report` needs only what the run left on disk."""
    assert whole.report is not None
    assert "whole" in whole.report.read_text()
    again = rewrite_report("whole", folder / "results", tmp_path / "again.html")
    assert again.stat().st_size == pytest.approx(whole.report.stat().st_size, rel=0.01)


def test_the_registered_model_is_examined_by_name(whole: Finished, folder: Path) -> None:
    """The same figures come out as at the end of training."""
    found = examine("cue@champion", episodes=16, tracking_uri=f"sqlite:///{folder}/mlflow.db")
    (scenario,) = found.scenarios
    assert scenario.policies[0].mean_return.estimate > 9


def test_finishing_again_changes_nothing(whole: Finished, folder: Path) -> None:
    """A run killed after training is finished by `--resume`: nothing is trained or registered twice."""
    result = train(load("cue", overrides=settings(folder)), name="whole", resume=True)
    again = finish(result)
    assert (again.version, again.best_eval_score) == (whole.version, whole.best_eval_score)
    assert len(ModelRegistry(f"sqlite:///{folder}/mlflow.db").versions("cue")) == 1


def test_a_name_that_is_taken_is_refused(whole: Finished, folder: Path) -> None:
    """Results are never overwritten."""
    with pytest.raises(ConfigError, match="experiment: got 'whole', which exists"):
        train(load("cue", overrides=settings(folder)), name="whole")


def test_a_name_that_is_unknown_cannot_be_resumed(whole: Finished, folder: Path) -> None:
    """The line suggests the closest name there is."""
    with pytest.raises(ConfigError, match=r"experiment: got 'whol' \(did you mean whole\?\)"):
        train(load("cue", overrides=settings(folder)), name="whol", resume=True)


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts the command line in a process group of its own."""
    command = [sys.executable, str(ROOT / "entrepot.py"), "train", "cue", "--experiment", "killed", *arguments]
    environment = {**os.environ, "RAY_ADDRESS": ""}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for_checkpoints(process: subprocess.Popen[str], experiment: Path, count: int) -> None:
    """Waits until training has checkpointed so often."""
    deadline = time.monotonic() + 200
    while len(list(experiment.glob("trial_*/checkpoint_*/rllib_checkpoint.json"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_run_resumes_to_the_same_weights(whole: Finished, folder: Path) -> None:
    """After `kill -9` of everything and `--resume`, all weights and statistics equal an uninterrupted run's."""
    experiment = folder / "results" / "killed"
    # An evaluation and some iterations lie behind the first checkpoints, and are lost or repeated.
    process = start(folder, *(part for setting in settings(folder) for part in ("--set", setting)))
    wait_for_checkpoints(process, experiment, 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (experiment / paths.TRAINED).exists()
    assert 2 <= len(history.read(experiment)) < ITERATIONS
    resumed = start(folder, "--resume", "--set", f"resources.results={folder}/results")
    _, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    expected, found = weights(whole.folder), weights(experiment)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    rows = history.read(experiment)
    scores = [[row[figures.EVAL] for row in rows], [row[figures.EVAL] for row in whole.history]]
    np.testing.assert_array_equal(*scores)
