"""Which figures of training are exported, under which names and tags, and that a run never fails by it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer
from ray.tune.result import TRIAL_INFO

from rllib_configs.overrides import load
from tune import figures, metrics
from tune.metrics import COUNTERS, GAUGES, MetricsCallback, TrialName, samples_from, samples_of
from tune.trainable import FromTrial, algorithm_config, resolve, trainable_of

CURRICULUM = """
domain: cue
window: 64
stages:
  - {name: easy, title: Easy, task: {entities: 1, max_steps: 5}, promote_at: 0.2, min_episodes: 64}
  - {name: hard, title: Hard, task: {entities: 2, max_steps: 5}, promote_at: 0.9, min_episodes: 64}
"""
INFO = SimpleNamespace(experiment_name="mine", trial_id="ab_00000")
STOP = load("cue").stop


class Recorder:
    """Stands in for Ray's gauges and counters: what was set last and what was counted, by name and tags.

    Args:
        name: Name of the figure.
        text: What it means.
        tags: Names of its tags.
    """

    seen: ClassVar[dict[tuple[str, ...], float]] = {}

    def __init__(self, name: str, text: str, tags: tuple[str, ...]) -> None:
        assert text.endswith(".")
        self._name, self._tags = name, tags
        self._default: dict[str, str] = {}

    def set_default_tags(self, tags: dict[str, str]) -> Recorder:
        """Tags of every value."""
        self._default = tags
        return self

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Sets a gauge."""
        self.seen[self._key(tags)] = value

    def inc(self, value: float) -> None:
        """Counts, as Ray does: increments above 0 only."""
        assert value > 0
        self.seen[self._key(None)] = self.seen.get(self._key(None), 0.0) + value

    def _key(self, tags: dict[str, str] | None) -> tuple[str, ...]:
        given = {**self._default, **(tags or {})}
        assert set(given) == set(self._tags)
        return (self._name.removeprefix(metrics.PREFIX), *(given[tag] for tag in self._tags))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, ...], float]:
    """What is exported from here on."""
    monkeypatch.setattr(Recorder, "seen", {})
    monkeypatch.setattr(metrics, "Gauge", Recorder)
    monkeypatch.setattr(metrics, "Counter", Recorder)
    return Recorder.seen


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """What Tune starts a trial with: a small run with all that can be exported."""
    (tmp_path / "curriculum.yaml").write_text(CURRICULUM)
    settings = [f"curriculum={tmp_path}/curriculum.yaml", "task=null", "ppo.kl_weight=0.2"]
    settings += ["evaluation={interval: 1, episodes: 8}", f"resources.results={tmp_path}"]
    return {"experiment": load("cue", overrides=settings).model_dump(mode="json"), TRIAL_INFO: INFO}


@pytest.fixture
def trial(ray_local: None, values: dict[str, Any], seen: dict[Any, float]) -> Iterator[FromTrial]:
    """A trial as Tune starts it, in this process."""
    trainable = trainable_of(resolve(values))(values)
    yield trainable
    trainable.stop()


def test_all_figures_are_exported(trial: FromTrial, seen: dict[tuple[str, ...], float]) -> None:
    """After a real iteration every gauge and counter has a value, tagged with Tune's names."""
    before = time.time()
    result = trial.train()
    assert {key[0] for key in seen} == set(GAUGES) | set(COUNTERS)
    assert {key[1:3] for key in seen} == {("mine", "ab_00000")}
    tags = {key[0]: key[3:] for key in seen}
    assert tags["kl"] == ("shared",)
    assert {key[3] for key in seen if key[0] == "task_score"} == {"easy", "hard"}

    def value(name: str, *tag: str) -> float:
        return seen[name, "mine", "ab_00000", *tag]

    assert value("agent_steps") == result[figures.AGENT_STEPS] == 1280
    assert value("episodes") == result[figures.EPISODES]
    assert value("score") == result[figures.EVAL]
    assert value("task_score", "hard") == result["eval_score/hard"]
    assert value("stages") == 2
    assert value("entropy", "shared") == result["learners"]["shared"]["entropy"]
    assert value("kl_coefficient", "shared") == result["learners"]["shared"]["curr_kl_coeff"] > 0
    assert value("update_seconds") == result["timers"]["learner_update_timer"]
    assert value("iteration_seconds") >= value("update_seconds")
    assert value("progress") == pytest.approx(1 / 30)
    assert (value("runners_wanted"), value("runners_healthy"), value("replay_capacity")) == (0, 0, 0)
    assert value("checkpoint_timestamp_seconds") <= before


def test_counters_go_on_where_the_checkpoint_was(
    trial: FromTrial, values: dict[str, Any], seen: dict[tuple[str, ...], float], tmp_path: Path
) -> None:
    """A resumed trial counts what was before it once; saving is taken down; the stage that is left says 0."""
    key = ("agent_steps", "mine", "ab_00000")
    for _ in range(3):
        trial.train()
    assert seen[key] == 3 * 1280
    assert seen["stage", "mine", "ab_00000"] == 1
    stages = {stage: seen["on_stage", "mine", "ab_00000", stage] for stage in ("easy", "hard")}
    assert stages == {"easy": 0, "hard": 1}
    moment = time.time()
    trial.save_checkpoint(str(tmp_path / "checkpoint"))
    assert seen["checkpoint_timestamp_seconds", "mine", "ab_00000"] >= moment
    seen.clear()
    resumed = trainable_of(resolve(values))(values)
    try:
        resumed.load_checkpoint(str(tmp_path / "checkpoint"))
        resumed.train()
    finally:
        resumed.stop()
    assert seen[key] == 4 * 1280


def test_a_run_goes_on_without_metrics(
    trial: FromTrial, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the figures cannot be exported, it is said once."""

    def fail(*given: Any) -> None:
        raise OSError("no agent")

    monkeypatch.setattr(Recorder, "set", fail)
    with caplog.at_level(logging.WARNING, "entrepot"):
        for _ in range(2):
            assert trial.train()[figures.EVAL] is not None
    assert [record.message for record in caplog.records if "metrics" in record.message] == [
        "metrics: not all can be exported, training goes on without them (no agent)"
    ]


def test_only_tunes_trials_are_exported() -> None:
    """An algorithm that someone builds by hand has no names, and exports nothing."""
    callbacks = algorithm_config(load("cue")).callbacks_class
    assert not any(getattr(made, "func", None) is MetricsCallback for made in callbacks)
    named = algorithm_config(load("cue"), TrialName("mine", "1")).callbacks_class
    assert named[-1].func is MetricsCallback


def test_a_loss_that_broke_is_told_from_one_that_was_not_measured() -> None:
    """Not-a-number says of a loss that learning broke, of a module that was not trained, and of a task, nothing."""
    losses = {"policy_loss": math.nan, "mean_kl_loss": 0.1}
    result = {
        "learners": {
            "__all_modules__": {"entropy": 1.0, "num_module_steps_trained": 2},
            "broken": {**losses, "num_module_steps_trained": 1},
            "absent": {**losses, "num_module_steps_trained": math.nan},
            "well": {"policy_loss": 1.0, "vf_explained_var": math.nan, "num_module_steps_trained": 1},
            "limping": {"skipped_steps": 2, "num_module_steps_trained": 1},
        },
        "tasks": {"easy": {"episode_return_mean": math.nan}, "hard": {"episode_return_mean": 2.0}},
        figures.EVAL: 0.5,
        "eval_score_best": 0.6,
    }
    found = {key: value for key, value in samples_of(result, STOP).items() if math.isfinite(value)}
    assert found == {
        ("diverged", "broken"): 1.0,
        ("kl", "broken"): 0.1,
        ("kl_coefficient", "broken"): 0.0,
        ("diverged", "well"): 0.0,
        ("diverged", "limping"): 1.0,
        ("policy_loss", "well"): 1.0,
        ("task_return", "hard"): 2.0,
        ("score", ""): 0.5,
        ("progress", ""): 0.0,
    }


def test_figures_are_kept_alive_as_long_as_the_trial(
    seen: dict[tuple[str, ...], float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray forgets gauges that are not set again: they are, but for what no longer holds, until the trial ends."""
    monkeypatch.setattr(metrics, "REFRESH", 0.05)
    group = SimpleNamespace(num_healthy_remote_env_runners=lambda: 0, num_remote_worker_restarts=lambda: 0)
    algorithm = SimpleNamespace(env_runner_group=group, config=SimpleNamespace(num_env_runners=0))
    callback = MetricsCallback(TrialName("mine", "1"), STOP)
    callback.on_algorithm_init(algorithm=algorithm)

    def train(stage: str, loss: float) -> set[tuple[str, ...]]:
        learned = {"m": {"policy_loss": loss, "num_module_steps_trained": 1}}
        result = {figures.STAGE_NAME: stage, "learners": learned, "tasks": {stage: {"episode_return_mean": 1.0}}}
        callback.on_train_result(algorithm=algorithm, result=result)
        assert seen["on_stage", "mine", "1", stage] == 1.0
        assert not any(math.isnan(value) for value in seen.values())
        time.sleep(0.2)  # a refresh that had begun is over
        seen.clear()
        time.sleep(0.5)
        return {(key[0], *key[3:]) for key in seen}

    first = train("easy", 0.5)
    assert {("on_stage", "easy"), ("policy_loss", "m"), ("task_return", "easy"), ("iteration_seconds",)} <= first
    assert ("checkpoint_timestamp_seconds",) in first
    second = train("hard", math.nan)
    assert second == first - {("on_stage", "easy"), ("policy_loss", "m")} | {
        ("on_stage", "hard"),
        ("task_return", "hard"),
    }
    callback.close()
    time.sleep(0.2)
    seen.clear()
    time.sleep(0.3)
    assert not seen


def test_replay_buffers_are_read_as_rllib_keeps_them() -> None:
    """Rows and capacity of an off-policy algorithm's buffer, whichever it is."""
    buffer = EpisodeReplayBuffer(capacity=100)
    buffer.add(
        SingleAgentEpisode(observations=[0, 1, 2, 3], actions=[0, 0, 0], rewards=[0.0, 0.0, 1.0], len_lookback_buffer=0)
    )
    group = SimpleNamespace(num_healthy_remote_env_runners=lambda: 2, num_remote_worker_restarts=lambda: 1)
    algorithm = SimpleNamespace(
        env_runner_group=group, config=SimpleNamespace(num_env_runners=3), local_replay_buffer=buffer
    )
    found = {name: value for (name, _), value in samples_from(algorithm).items()}
    assert found == {
        "runners_wanted": 3,
        "runners_healthy": 2,
        "runner_restarts": 1,
        "replay_rows": 3,
        "replay_capacity": 100,
    }


def test_exporting_costs_next_to_nothing(ray_local: None, values: dict[str, Any]) -> None:
    """With Ray's real gauges an iteration's figures take well under five milliseconds."""
    trial = trainable_of(resolve(values))(values)
    try:
        result = trial.train()
        callback, times = trial.callbacks[-1], []
        assert isinstance(callback, MetricsCallback)
        for _ in range(20):
            began = time.perf_counter()
            callback.on_train_result(algorithm=trial, result=result)
            times.append(time.perf_counter() - began)
        assert not callback._failed
        assert min(times) < 0.005
    finally:
        trial.stop()
