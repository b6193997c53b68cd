"""What `benchmarks.scaling` measures with: an algorithm that times its parts, and a runner that is asked alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from statistics import median
from typing import Any

import ray

from algorithms.ppo import PPO, PPOConfig
from algorithms.rollout import Rollout
from algorithms.runner import BatchedEnvRunner
from benchmarks.replay import Recording, ReplayRunner
from rllib_configs.build import build_algorithm_config
from rllib_configs.overrides import load


class TimedPPO(PPO):
    """PPO that notes how long the parts of its last iteration took.

    Attributes:
        seconds: By part [s]: `sampling` until all rollouts are in the main process, `joining`, `update`, `weights`.
        quiet: What the update happens in.
    """

    quiet: Callable[[], AbstractContextManager[None]] = nullcontext

    def setup(self, config: Any) -> None:
        """Called by RLlib."""
        self.seconds: dict[str, float] = {}
        super().setup(config)
        update = self._timed("update", self.learner_group.update)

        def quietly(**kwargs: Any) -> Any:
            with self.quiet():
                return update(**kwargs)

        self.learner_group.update = quietly

    def sample_runners(self) -> list[Rollout]:
        """As PPO's."""
        return self._timed("sampling", super().sample_runners)()

    def _train_batch(self, rollouts: Sequence[Rollout]) -> Any:
        return self._timed("joining", super()._train_batch)(rollouts)

    def send_weights(self, workers: list[int] | None = None) -> None:
        """As PPO's."""
        self._timed("weights", super().send_weights)(workers)

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            result = function(*args, **kwargs)
            self.seconds[part] = time.perf_counter() - began
            return result

        return call

    def iteration(self) -> dict[str, float]:
        """Trains one iteration; returns how long its parts took, what is left as `rest`, and their `total` [s]."""
        began = time.perf_counter()
        self.train()
        total = time.perf_counter() - began
        return {**self.seconds, "rest": total - sum(self.seconds.values()), "total": total}


def configuration(domain: str, *, runners: int, worlds: int, steps: int, frozen: bool = False) -> PPOConfig:
    """PPO as `entrepot train` sets it up for a domain, without curriculum and evaluations.

    Args:
        domain: The domain.
        runners: Remote runners.
        worlds: Worlds of each, or of the local one.
        steps: Steps of a rollout.
        frozen: Whether learning leaves the weights as good as unchanged: replayed rollouts are those of other weights
            the sooner, the more is learned from them. It takes as long.
    """
    values = {
        "curriculum": None,
        "evaluation.interval": 0,
        "runners.num_env_runners": runners,
        "runners.worlds": worlds,
        "runners.rollout_length": steps,
    }
    experiment = load(domain, values=values)
    config: PPOConfig = build_algorithm_config(experiment)
    config.algo_class = TimedPPO
    config.debugging(log_level="ERROR")
    if frozen:
        config.training(lr=1e-12)
    return config


def pin_runners(algorithm: PPO, cores: Sequence[int]) -> None:
    """Gives remote runner `i` the core `cores[i - 1]`, from the first again where there are more runners."""

    def pin(runner: Any) -> None:
        os.sched_setaffinity(0, {cores[(runner.worker_index - 1) % len(cores)]})

    algorithm.env_runner_group.foreach_env_runner(pin, local_env_runner=False)


@ray.remote(num_cpus=0)
class Sampler:
    """Real runners in one process, asked one at a time, on a core of their own.

    Args:
        config: Their configuration, validated.
        worlds: How many worlds each has.
        core: The core.
    """

    def __init__(self, config: PPOConfig, worlds: Sequence[int], core: int) -> None:
        os.sched_setaffinity(0, {core})
        self._runners: dict[int, BatchedEnvRunner] = {}
        for number in worlds:
            sized = config.copy(copy_frozen=False)
            sized.num_envs_per_env_runner = number
            self._runners[number] = BatchedEnvRunner(config=sized, worker_index=1, num_workers=1)
        self._last: dict[int, Recording] = {}

    def record(self, worlds: int, times: int) -> Recording:
        """Samples so many times after a first time that does not count."""
        runner, seconds = self._runners[worlds], []
        rollout = runner.sample()
        for _ in range(times):
            began = time.perf_counter()
            rollout = runner.sample()
            seconds.append(time.perf_counter() - began)
        self._last[worlds] = Recording.of(rollout, seconds)
        return self._last[worlds]

    def again(self, worlds: int) -> Recording:
        """Hands the last recording over once more."""
        return self._last[worlds]

    def ping(self) -> None:
        """Answers."""


def time_of_delivery(sampler: Any, worlds: int, times: int) -> tuple[float, float]:
    """What a rollout costs beside its sampling, where nothing crosses the network.

    Args:
        sampler: A `Sampler` that has recorded one.
        worlds: Its number of worlds.
        times: Trials.

    Returns:
        Until it is in Ray's store, without the call itself; and then until it is in this process [s], medians.
    """
    stored, fetched = [], []
    for _ in range(times):
        began = time.perf_counter()
        ray.get(sampler.ping.remote())
        called = time.perf_counter()
        rollout = sampler.again.remote(worlds)
        ray.wait([rollout])
        ready = time.perf_counter()
        ray.get(rollout)
        fetched.append(time.perf_counter() - ready)
        stored.append((ready - called) - (called - began))
    return max(0.0, median(stored)), median(fetched)


class Pool:
    """Runners that replay, all of them on one core; they are stopped unless it is their turn.

    An actor of Ray's takes a hundredth of a core even while it waits (64 of them: half a core, and a good part of what
    shares its caches), which on a cluster would be the core of another machine.

    Args:
        number: How many.
        recordings: What they replay, by number of worlds.
        core: The core.

    Attributes:
        runners: Their handles.
    """

    def __init__(self, number: int, recordings: dict[int, Recording], core: int) -> None:
        shared = ray.put(recordings)
        self.runners = [ray.remote(num_cpus=0)(ReplayRunner).remote(index, core) for index in range(1, number + 1)]
        ray.get([runner.load.remote(shared) for runner in self.runners])
        self._processes = ray.get([runner.process.remote() for runner in self.runners])
        self._signal(number, signal.SIGSTOP)

    @contextmanager
    def awake(self, count: int) -> Iterator[None]:
        """Lets the first so many run."""
        self._signal(count, signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(count, signal.SIGSTOP)

    @contextmanager
    def asleep(self, count: int) -> Iterator[None]:
        """Stops the first so many for a while."""
        self._signal(count, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(count, signal.SIGCONT)

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        """Lets all of them run, so that they can be ended."""
        self._signal(len(self.runners), signal.SIGCONT)

    def _signal(self, count: int, number: signal.Signals) -> None:
        for process in self._processes[:count]:
            with suppress(ProcessLookupError):  # it may have ended
                os.kill(process, number)


def replaying(algorithm: TimedPPO, pool: Pool, runners: int, worlds: int) -> Callable[[], dict[str, float]]:
    """An iteration of an algorithm whose runners, the first of a pool, replay rollouts of so many worlds each.

    They wait stopped while the algorithm learns.
    """

    def iteration() -> dict[str, float]:
        with pool.awake(runners):
            ray.get([runner.choose.remote(worlds) for runner in pool.runners[:runners]])
            algorithm.quiet = lambda: pool.asleep(runners)
            return algorithm.iteration()

    return iteration


def time_of_a_call(algorithm: PPO, times: int) -> float:
    """What it takes to call all remote runners and to have their answers, a runner [s], the median."""
    group, seconds = algorithm.env_runner_group, []
    for _ in range(times + 1):  # the first does not count
        began = time.perf_counter()
        answers = group.foreach_env_runner("ping", local_env_runner=False)
        seconds.append((time.perf_counter() - began) / len(answers))
    return median(seconds[1:])


def bytes_of_weights(algorithm: PPO) -> int:
    """Bytes of what runners are sent after an update."""
    return sum(array.nbytes for module in algorithm.learner_group.get_weights().values() for array in module.values())
