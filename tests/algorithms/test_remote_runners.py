"""Tests that training goes on with the runners there are, whichever come, go or never come."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import ray

from algorithms import remote_runners
from algorithms.ppo import PPO, PPOConfig
from algorithms.runner import BatchedEnvRunner
from envs.cue import CueTask

pytestmark = [pytest.mark.usefixtures("ray_local"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
ROWS = 8 * 16
"""Steps of one runner in one iteration."""


def configure(runners=2, **options):
    """Two agents a world, so a runner has `2 * ROWS` agent-steps; the minibatch is what all runners have together."""
    config = PPOConfig().environment("cue").training(minibatch_size=runners * 2 * ROWS, num_epochs=2)
    return config.env_runners(
        num_env_runners=runners,
        num_envs_per_env_runner=8,
        rollout_fragment_length=16,
        **{"num_cpus_per_env_runner": 0.5, **options},
    )


@pytest.fixture(scope="module")
def pair(ray_local):
    """One algorithm with two runners, which take seconds to start."""
    algorithm = configure(2).build_algo()
    yield algorithm
    algorithm.stop()


def train_until(algorithm, rows, seconds=120):
    """Trains until an iteration has so many rows; returns its result."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        result = algorithm.train()
        if result["env_runners"]["num_env_steps_sampled"] == rows:
            return result
    pytest.fail(f"no iteration with {rows} rows within {seconds} s")


class Flag:
    """A named actor that runners on this machine look at: what a constructor is to do."""

    def __init__(self):
        self.value = ""

    def set(self, value):
        """Sets it."""
        self.value = value

    def get(self):
        """What it was set to."""
        return self.value


class Fragile(BatchedEnvRunner):
    """A remote runner whose constructor raises."""

    def make_env(self):
        """Raises, unless it is the local runner."""
        if self.worker_index:
            raise ValueError("prices: the file is gone")
        super().make_env()


class Late(BatchedEnvRunner):
    """The second of two comes only when told to."""

    def make_env(self):
        """Waits."""
        if self.worker_index == 2:
            while ray.get(ray.get_actor("late").get.remote()) != "come":
                time.sleep(0.1)
        super().make_env()


def test_a_trial_asks_for_room_for_its_main_process_only():
    """Its runners have no bundle in the placement group, however many and however large they are."""
    config = configure(7, num_cpus_per_env_runner=3)
    assert [dict(bundle) for bundle in PPO.default_resource_request(config).bundles] == [{"CPU": 1}]
    assert config.num_env_runners == 7


def test_wrong_settings_are_refused_when_resources_are_asked_for():
    """Tune asks before anything starts: the line is the same as everywhere."""
    with pytest.raises(ValueError, match="minibatch_size: got 100000, allowed is at most 512"):
        PPO.default_resource_request(configure().training(minibatch_size=100_000))


def test_all_is_configured_as_the_user_said(pair):
    """RLlib's setup is told of no remote runners; afterwards everyone sees them, and no callback too many."""
    assert pair.config.num_env_runners == 2
    assert pair.config._is_frozen
    assert not any(isinstance(callback, remote_runners.RunnersEnter) for callback in pair.callbacks)
    assert pair.env_runner.env is None
    seen = pair.env_runner_group.foreach_env_runner(
        lambda runner: (runner.worker_index, runner.num_workers, runner.config.num_env_runners), local_env_runner=False
    )
    assert seen == [(1, 2, 2), (2, 2, 2)]
    assert pair.env_runner_group.healthy_env_runner_ids() == [1, 2]


def test_what_a_constructor_raises_ends_the_run(build):
    """It is raised here as it is, rather than tried again for ever."""
    with pytest.raises(ValueError, match=r"^prices: the file is gone$"):
        build(configure(1, env_runner_cls=Fragile))


def test_no_runner_at_all_is_said_in_one_line(build):
    """After the patience that is configured, with what was asked for."""
    config = configure(2, num_cpus_per_env_runner=64).fault_tolerance(env_runner_restore_timeout_s=1)
    with pytest.raises(
        RuntimeError, match=r"num_env_runners: got 2, none .* within 1 s; each needs 64 free CPU"
    ) as told:
        build(config)
    assert "\n" not in str(told.value)


def test_a_runner_that_comes_late_joins(build, tmp_path, monkeypatch, caplog):
    """Until then training goes on without it, no slower; then it has weights, tasks and worlds like the other."""
    monkeypatch.setattr(remote_runners, "GRACE", 0.1)
    monkeypatch.setattr(remote_runners, "GRACE_RATIO", 0.0)
    flag = ray.remote(num_cpus=0)(Flag).options(name="late").remote()
    ray.get(flag.get.remote())
    algorithm = build(configure(env_runner_cls=Late))
    algorithm.set_tasks([CueTask(name="stage 2", max_steps=4)])
    for _ in range(4):
        result = algorithm.train()
    assert result["env_runners"]["num_env_steps_sampled"] == ROWS
    assert (result["runners_wanted"], result["runners_healthy"]) == (2, 1)
    assert result["fault_tolerance"]["num_healthy_workers"] == 1
    assert result["timers"]["restore_env_runners"] < 0.5  # RLlib's own look takes 30 s for one that does not answer
    assert "env runners: 1 of 2 sample at the start" in caplog.text
    path = algorithm.save_to_path(tmp_path / "one")

    ray.get(flag.set.remote("come"))
    result = train_until(algorithm, 2 * ROWS)
    assert result["fault_tolerance"]["num_healthy_workers"] == 2
    assert result["fault_tolerance"]["num_remote_worker_restarts"] == 0
    assert {record.task for record in algorithm.finished_episodes} == {"stage 2"}
    states = algorithm.env_runner_group.foreach_env_runner("get_state", local_env_runner=False)
    for state in states:
        for name, tensor in algorithm.learner_group.get_weights()["shared"].items():
            np.testing.assert_array_equal(state["rl_module"]["shared"][name], tensor)

    algorithm.restore_from_path(path)  # saved by one runner, restored with two
    assert "those of 1 of its 1 runners go on, and 1 begin new episodes" in caplog.text
    assert algorithm.rounds == 4
    assert algorithm.train()["env_runners"]["num_env_steps_sampled"] == 2 * ROWS
    ray.kill(flag)


def test_runners_that_never_come_do_not_hold_up_the_end(ray_local, monkeypatch):
    """Stopping does not wait for a runner that no CPU was ever free for."""
    monkeypatch.setattr(remote_runners, "GRACE", 0.1)
    monkeypatch.setattr(remote_runners, "GRACE_RATIO", 0.0)
    algorithm = configure(3, num_cpus_per_env_runner=2).build_algo()
    algorithm.train()
    began = time.monotonic()
    algorithm.stop()
    assert time.monotonic() - began < remote_runners.GOODBYE + 2


def test_a_lost_rollout_is_a_lost_runner(pair, monkeypatch):
    """An object that cannot be fetched, because its node is gone, costs the iteration one runner's rows."""
    pair.train()
    fetch, failed = ray.get, []

    def get(refs, **options):
        result = fetch(refs, **options)
        if getattr(result, "worker_index", 0) == 2 and not failed:
            failed.append(result)
            raise ray.exceptions.ObjectLostError("0" * 56, None, "")
        return result

    monkeypatch.setattr(ray, "get", get)
    assert pair.train()["env_runners"]["num_env_steps_sampled"] == ROWS
    assert failed
    train_until(pair, 2 * ROWS)
    assert pair.env_runner_group.num_remote_worker_restarts() == 1


def test_a_run_is_restored_with_fewer_runners(pair, tmp_path, caplog):
    """The worlds of those that are there go on, to the bit, and those of the missing one are left."""

    def worlds():
        return pair.env_runner_group.foreach_env_runner("get_worlds", remote_worker_ids=[1], local_env_runner=False)

    train_until(pair, 2 * ROWS)
    path, expected, rounds = pair.save_to_path(tmp_path / "two"), worlds(), pair.rounds
    [pid] = pair.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), remote_worker_ids=[2], local_env_runner=False
    )
    os.kill(pid, signal.SIGKILL)
    pair.train()  # it finds the runner dead
    assert pair.env_runner_group.healthy_env_runner_ids() == [1]
    pair.restore_from_path(path)
    assert "those of 1 of its 2 runners go on, and 0 begin new episodes" in caplog.text
    assert repr(worlds()) == repr(expected)
    assert pair.rounds == rounds
    train_until(pair, 2 * ROWS)


@pytest.fixture(scope="module")
def happened():
    """What a run on a cluster saw, whose nodes came and went: its own processes, for a process has one Ray.

    A cluster leaves its address in Ray's folder, where everyone who starts a local Ray would find it: it has a folder
    of its own, with a short name, for there are sockets in it.
    """
    folder = tempfile.mkdtemp(prefix="ray")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TMPDIR": folder}
    environment.pop("RAY_ADDRESS", None)
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("elastic_cluster.py"))],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    shutil.rmtree(folder, ignore_errors=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(next(line for line in run.stdout.splitlines() if line.startswith("{")))


def test_a_trial_begins_with_the_runners_that_fit(happened):
    """One of two finds a CPU, outside the trial's placement group and on the other node."""
    begin, (first, _, _) = happened["alone"], happened["nodes"]
    assert begin["bundles"] == 1
    assert begin["nodes"] == {"1": first}
    assert begin["here"] != first
    assert (begin["rows"], begin["healthy"], begin["wanted"]) == (ROWS, 1, 2)


def test_a_node_that_is_added_is_used(happened):
    """The pending runner starts there and samples; that is no restart."""
    added, (first, second, _) = happened["added"], happened["nodes"]
    assert added["nodes"] == {"1": first, "2": second}
    assert (added["healthy"], added["restarts"]) == (2, 0)


def test_a_node_that_is_lost_costs_its_runner_only(happened):
    """Training goes on with the other; once there is a node again, the lost runner is restarted on it."""
    _, second, third = happened["nodes"]
    assert happened["lost"]["nodes"] == {"2": second}
    assert happened["replaced"]["nodes"] == {"1": third, "2": second}
    assert happened["replaced"]["restarts"] == 1
