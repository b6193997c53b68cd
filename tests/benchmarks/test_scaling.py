"""Tests of the scaling benchmark: the model by hand, and runners that replay, at sizes that take no time."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import ray

from algorithms.rollout import EpisodeRecord, Rollout
from benchmarks.replay import Recording, Replayed
from benchmarks.scaling import LOCAL, result_of, run
from benchmarks.scaling_model import Parameters, expected_maximum, predict

PARAMETERS = Parameters(
    sampling={8: [0.1], 4: [0.06]},
    handing_over={8: 0.01, 4: 0.005},
    rollout_bytes={8: 1000, 4: 500},
    rows={8: 80, 4: 40},
    call=0.001,
    fetching=1e-6,
    joining=1e-5,
    update=1e-3,
    weights=0.02,
    weight_bytes=200,
    rest=0.03,
)


def test_the_model_is_what_one_computes_by_hand():
    """Two runners with 8 worlds each: every part of the iteration."""
    there = predict(PARAMETERS, 2, 8)
    assert there.sampling == pytest.approx(0.1 + 0.01)
    assert there.transfer == pytest.approx(2 * 0.001 + 2000 * 1e-6)
    assert there.joining == pytest.approx(160 * 1e-5)
    assert there.update == pytest.approx(160 * 1e-3)
    assert there.weights == pytest.approx(0.02 + 0.001)
    assert there.total == pytest.approx(0.11 + 0.004 + 0.0016 + 0.16 + 0.021 + 0.03)


def test_a_network_adds_the_time_of_its_bytes():
    """Rollouts come in and weights go out through one link."""
    here, there = predict(PARAMETERS, 2, 8), predict(PARAMETERS, 2, 8, bandwidth=1e4)
    assert there.transfer - here.transfer == pytest.approx(2000 / 1e4)
    assert there.weights - here.weights == pytest.approx(400 / 1e4)
    assert there.total - here.total == pytest.approx(0.24)


def test_runners_on_one_core_hand_over_one_after_another():
    """As all replayed ones do; that is all that changes."""
    apart, together = predict(PARAMETERS, 2, 8), predict(PARAMETERS, 2, 8, runners_a_core=2)
    assert together.sampling - apart.sampling == pytest.approx(0.01)
    assert together.total - apart.total == pytest.approx(0.01)


def test_the_slowest_of_many_is_slower_than_one():
    """The mean for one draw, and towards the largest value for many."""
    samples = [1.0, 2.0, 3.0]
    assert expected_maximum(samples, 1) == pytest.approx(2.0)
    assert expected_maximum(samples, 2) == pytest.approx((1 + 2 * 3 + 3 * 5) / 9)
    assert expected_maximum(samples, 100) == pytest.approx(3.0)


def figures(parameters):
    """Iterations as the model has them."""
    found = {LOCAL: [{"total": 0.3, "update": 0.1}]}
    for name, runners, worlds in (("weak 1", 1, 8), ("weak 2", 2, 8), ("strong 2", 2, 4)):
        found[name] = [{"total": predict(parameters, runners, worlds).total, "update": 0.1}]
    return found


def test_a_model_that_is_right_has_no_error():
    """Measured iterations that are as predicted hold the bar; a slower learner than measured does not."""
    right = result_of(figures(PARAMETERS), PARAMETERS, worlds=8)
    assert right.bars[-1].value == pytest.approx(0.0)
    assert right.bars[-1].holds
    wrong = result_of(figures(replace(PARAMETERS, update=2e-3)), PARAMETERS, worlds=8)
    assert wrong.bars[-1].holds is False
    values = {bar.name: bar.value for bar in right.bars}
    assert values["strong 2 [agent-steps/s]"] == pytest.approx(80 / predict(PARAMETERS, 2, 4).total)
    assert values["what one runner can sample, alone [agent-steps/s]"] == pytest.approx(800)
    assert values["what the learner can learn from, alone [agent-steps/s]"] == pytest.approx(1000)


def test_worlds_must_be_dealt_out_evenly():
    """Strong scaling gives each runner as many."""
    with pytest.raises(ValueError, match="worlds: got 6, allowed is a multiple of 2 and of sizes, \\[4\\]"):
        run(worlds=6, sizes=[4])
    with pytest.raises(ValueError, match="sizes: got \\[2\\], allowed are numbers above 2"):
        run(sizes=[2])


def test_a_replayed_rollout_arrives_as_a_rollout():
    """Rows, steps and episodes are those of the recording, and the recording is a copy."""
    rows = {"obs": np.arange(6.0).reshape(3, 2), "actions": np.zeros(3)}
    episode = EpisodeRecord("stage", 1.5, 7, {"turnover": 0.5})
    recording = Recording.of(Rollout(1, {"shared": rows}, 3, [episode]), [0.1])
    rows["obs"][:] = 0
    arrived = pickle.loads(pickle.dumps(Replayed(5, recording)))
    assert isinstance(arrived, Rollout)
    assert (arrived.worker_index, arrived.num_env_steps, arrived.episodes) == (5, 3, [episode])
    np.testing.assert_array_equal(arrived.batches["shared"]["obs"], np.arange(6.0).reshape(3, 2))
    assert (recording.rows, recording.size) == (3, 9 * 8)


def test_replaying_needs_neither_torch_nor_ray():
    """Its module loads nothing that is large: 64 processes of it fit on one machine."""
    check = "import sys, benchmarks.replay; print([name for name in ('torch', 'ray') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", check], text=True).strip() == "[]"


def stopped(pool):
    """Whether all runners of a pool are stopped, which takes the system a moment."""
    processes = [psutil.Process(process) for process in pool._processes]
    deadline = time.monotonic() + 10
    while {process.status() for process in processes} != {"stopped"} and time.monotonic() < deadline:
        time.sleep(0.01)
    return {process.status() for process in processes} == {"stopped"}


def test_an_algorithm_trains_on_replayed_rollouts(ray_local):
    """Three runners hand over what one real one sampled; the processes that play them stay without torch."""
    from benchmarks.scaling_parts import (
        Pool,
        Sampler,
        bytes_of_weights,
        configuration,
        replaying,
        time_of_a_call,
        time_of_delivery,
    )

    config = configuration("cue", runners=0, worlds=64, steps=16, frozen=True)
    config.minibatch_size = 64
    config.validate()
    sampler = Sampler.remote(config, [4, 2], 0)
    recordings = {worlds: ray.get(sampler.record.remote(worlds, 2)) for worlds in (4, 2)}
    assert [recordings[worlds].rows for worlds in (4, 2)] == [2 * 4 * 16, 2 * 2 * 16]
    stored, fetched = time_of_delivery(sampler, 4, 2)
    assert stored >= 0
    assert fetched > 0
    algorithm = config.copy(copy_frozen=False).build_algo()
    with Pool(4, recordings, 0) as pool:
        assert stopped(pool)
        algorithm.env_runner_group.reset(pool.runners[:3])
        with pool.awake(3):
            assert 0 < time_of_a_call(algorithm, 2) < 10
        assert bytes_of_weights(algorithm) > 1000
        for worlds in (4, 2):
            seconds = replaying(algorithm, pool, 3, worlds)()
            assert set(seconds) == {"sampling", "joining", "update", "weights", "rest", "total"}
            assert seconds["sampling"] >= min(recordings[worlds].seconds)
            assert sum(seconds.values()) == pytest.approx(2 * seconds["total"])
            lifetime = algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"))
            assert lifetime == 3 * 16 * (4 if worlds == 4 else 4 + 2)
        assert stopped(pool)
    loaded = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: [name for name in ("torch", "ray.rllib") if name in __import__("sys").modules],
        local_env_runner=False,
    )
    assert loaded == [[], [], []]
    algorithm.stop()
    ray.kill(sampler)
