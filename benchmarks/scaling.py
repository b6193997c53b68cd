"""How sampling and whole iterations scale with remote runners: one and two for real, more by replay and on paper.

A machine of two cores has room for two runners. With more, what matters is the main process, which fetches all
rollouts, joins them, learns from them and sends weights to everyone. So 4, 16 and 64 runners are played by processes
that wait as long as a real one samples, and then hand over what a real one sampled: all that the main process does is
done for real. Beside it stands a model on paper, whose parameters are measured with one and two runners.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from statistics import median
from typing import Any

import ray

from benchmarks.harness import Bar, BenchmarkResult, median_bar
from benchmarks.replay import Recording
from benchmarks.scaling_model import GIGABIT, Parameters, predict
from tune.launch import hush

REPLAY = "replay"
"""What an algorithm is called whose runners are replayed."""
LOCAL, WEAK, STRONG = "local", "weak", "strong"
"""No remote runners; the same worlds for each of them; the same worlds for all together."""
LINKS: dict[str, float | None] = {"one node": None, "10 Gbit/s": 10 * GIGABIT, "1 Gbit/s": GIGABIT}
"""Where the model puts the runners: beside the main process, or each on a node of its own; bandwidths are assumed."""
HERE = "as measured"
"""The model of what was measured here, where all that are replayed share a core."""
REAL = 2
"""The most runners that are real."""
CPUS = 8
"""What Ray is told of CPUs: the runners of all contenders wait in their processes while others are measured."""
Figures = dict[str, list[dict[str, float]]]
"""Seconds by part, iteration by iteration, of each contender."""


def run(
    *,
    domain: str = "trading",
    worlds: int = 64,
    steps: int = 64,
    sizes: Sequence[int] = (4, 16, 64),
    samples: int = 12,
    repeats: int = 5,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Measures iterations as `entrepot train` runs them, without curriculum and evaluations.

    The main process keeps to the last core; remote runners have the others in turn, the last one as well where they
    are more: the main process waits while they sample.

    Args:
        domain: The domain.
        worlds: Worlds of a runner (weak scaling), or of all together (strong scaling): a multiple of 2 and `sizes`.
        steps: Steps of a rollout.
        sizes: Numbers of runners that are replayed.
        samples: Times that each real rollout is timed alone.
        repeats: Rounds in which all contenders take turns.
        progress: Called with a line after each measurement.

    Returns:
        Iterations of all contenders, and how near the model comes to those that are replayed.

    Raises:
        ValueError: If the worlds cannot be dealt out, or so few runners need no replay.
    """
    if any(runners <= REAL for runners in sizes):
        raise ValueError(f"sizes: got {list(sizes)}, allowed are numbers above {REAL}: fewer runners are real")
    for runners in (REAL, *sizes):
        if worlds % runners:
            raise ValueError(f"worlds: got {worlds}, allowed is a multiple of 2 and of sizes, {list(sizes)}")
    cores = sorted(os.sched_getaffinity(0))
    hush()
    os.sched_setaffinity(0, {cores[-1]})
    try:
        with _ray():
            found = _measure(domain, worlds, steps, list(sizes), samples, repeats, cores, progress)
    finally:
        os.sched_setaffinity(0, set(cores))
    figures, parameters = found
    return result_of(figures, parameters, worlds=worlds, steps=steps, domain=domain)


@contextmanager
def _ray() -> Iterator[None]:
    """A Ray of its own, or the one that this process has."""
    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",
        num_cpus=CPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        configure_logging=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


def _measure(
    domain: str,
    worlds: int,
    steps: int,
    sizes: list[int],
    samples: int,
    repeats: int,
    cores: list[int],
    progress: Callable[[str], None],
) -> tuple[Figures, Parameters]:
    """Measures the parts alone, then all contenders in turn."""
    from benchmarks import scaling_parts as parts

    config = parts.configuration(domain, runners=0, worlds=worlds, steps=steps, frozen=True)
    config.validate()
    shares = sorted({worlds // runners for runners in (1, 2, *sizes)}, reverse=True)
    sampler = parts.Sampler.remote(config, shares, cores[0])  # type: ignore[attr-defined]
    recordings: dict[int, Recording] = {}
    delivery: dict[int, tuple[float, float]] = {}
    for share in shares:
        recordings[share] = ray.get(sampler.record.remote(share, samples))
        delivery[share] = parts.time_of_delivery(sampler, share, samples)
        size, seconds = recordings[share].size, median(recordings[share].seconds)
        progress(f"a runner with {share} worlds: {size / 2**20:.2f} MiB in {seconds:.4f} s")
    ray.kill(sampler)

    with parts.Pool(max(sizes, default=0), recordings, cores[0]) as pool:
        algorithms = {LOCAL: parts.configuration(domain, runners=0, worlds=worlds, steps=steps).build_algo()}
        contenders: dict[str, Callable[[], dict[str, float]]] = {LOCAL: algorithms[LOCAL].iteration}
        for mode, runners in ((WEAK, 1), (WEAK, 2), (STRONG, 2)):
            name, share = f"{mode} {runners}", worlds if mode == WEAK else worlds // runners
            algorithms[name] = parts.configuration(domain, runners=runners, worlds=share, steps=steps).build_algo()
            parts.pin_runners(algorithms[name], cores)
            contenders[name] = algorithms[name].iteration
        call = 0.0
        for runners in sizes:
            algorithm = algorithms[f"{REPLAY} {runners}"] = config.copy(copy_frozen=False).build_algo()
            algorithm.env_runner_group.reset(pool.runners[:runners])
            with pool.awake(runners):
                call = parts.time_of_a_call(algorithm, samples)
            contenders[f"{WEAK} {runners}"] = parts.replaying(algorithm, pool, runners, worlds)
            contenders[f"{STRONG} {runners}"] = parts.replaying(algorithm, pool, runners, worlds // runners)

        figures: Figures = {name: [] for name in contenders}
        for number in range(repeats + 1):
            for name, iteration in contenders.items():
                seconds_by_part = iteration()
                if number:  # the first iteration allocates, and does not count
                    figures[name].append(seconds_by_part)
                progress(f"round {number}/{repeats}  {name}: {seconds_by_part['total']:.3f} s")
        weight_bytes = parts.bytes_of_weights(algorithms[LOCAL])
    for name, algorithm in algorithms.items():
        if name.startswith(REPLAY):  # they share runners, which the first to stop would end
            algorithm.env_runner_group.reset([])
        algorithm.stop()
    return figures, parameters_of(figures, recordings, delivery, call, weight_bytes)


def parameters_of(
    figures: Figures,
    recordings: Mapping[int, Recording],
    delivery: Mapping[int, tuple[float, float]],
    call: float,
    weight_bytes: int,
) -> Parameters:
    """The model's parameters, from contenders whose runners are real.

    Args:
        figures: Of the real contenders at least.
        recordings: By number of worlds, what one runner samples; the largest is that of weak scaling.
        delivery: By number of worlds, `time_of_delivery`.
        call: Time of a call [s].
        weight_bytes: Bytes of the weights.
    """
    worlds = max(recordings)
    rows = recordings[worlds].rows
    updates = [
        iteration["update"] / (runners * rows)
        for name, runners in ((LOCAL, 1), (f"{WEAK} 1", 1), (f"{WEAK} 2", 2), (f"{STRONG} 2", 1))
        for iteration in figures[name]
    ]
    return Parameters(
        sampling={share: list(recording.seconds) for share, recording in recordings.items()},
        handing_over={share: stored for share, (stored, _) in delivery.items()},
        rollout_bytes={share: recording.size for share, recording in recordings.items()},
        rows={share: recording.rows for share, recording in recordings.items()},
        call=call,
        fetching=delivery[worlds][1] / recordings[worlds].size,
        joining=_median(figures[f"{WEAK} 2"], "joining") / (2 * rows),
        update=median(updates),
        weights=_median(figures[f"{WEAK} 1"], "weights"),
        weight_bytes=weight_bytes,
        rest=_median(figures[f"{WEAK} 1"], "rest"),
    )


def result_of(figures: Figures, parameters: Parameters, *, worlds: int, **settings: Any) -> BenchmarkResult:
    """The bars.

    Args:
        figures: Of all contenders.
        parameters: The model's.
        worlds: Worlds of a runner in weak scaling, of all in strong scaling.
        **settings: What else was measured with.
    """
    bars: list[Bar] = []
    errors: list[float] = []
    model: dict[str, dict[str, dict[str, float]]] = {}
    for name, iterations in figures.items():
        mode, _, number = name.partition(" ")
        runners = int(number or 1)
        share = worlds // runners if mode == STRONG else worlds
        rows = runners * parameters.rows[share]
        totals = [iteration["total"] for iteration in iterations]
        bars.append(median_bar(f"{name} [s an iteration]", totals))
        bars.append(median_bar(f"{name} [agent-steps/s]", [rows / total for total in totals]))
        if mode == LOCAL:
            continue
        papers = {place: predict(parameters, runners, share, bandwidth=bandwidth) for place, bandwidth in LINKS.items()}
        papers[HERE] = predict(parameters, runners, share, runners_a_core=1 if runners <= REAL else runners)
        model[name] = {
            place: {**asdict(paper), "total": paper.total, "agent-steps/s": rows / paper.total}
            for place, paper in papers.items()
        }
        errors.append(abs(papers[HERE].total / median(totals) - 1))
    alone = parameters.rows[worlds] / median(parameters.sampling[worlds])
    bars += [
        Bar("what one runner can sample, alone [agent-steps/s]", alone),
        Bar("what the learner can learn from, alone [agent-steps/s]", 1 / parameters.update),
        Bar("largest error of the model, as a share", max(errors), 0.25, at_most=True),
    ]
    runs = {"seconds": figures, "parameters": asdict(parameters), "model": model, "worlds": worlds, **settings}
    return BenchmarkResult(bars, runs)


def _median(iterations: Sequence[Mapping[str, float]], part: str) -> float:
    return median(iteration[part] for iteration in iterations)
