"""What all benchmarks share: bars to clear, interleaved repetition, and one JSON format."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from policies.files import write_text


@dataclass(frozen=True)
class Bar:
    """One figure and what it was meant to be.

    Attributes:
        name: What was measured, with its unit.
        value: The figure; a median where there are several runs.
        goal: The least (or, with `at_most`, the greatest) acceptable figure; None for a figure shown beside others.
        at_most: Whether the goal is an upper limit.
        low: Smallest of the runs, or the lower end of the interval; None if there was one run.
        high: Largest of the runs, or the upper end of the interval.
    """

    name: str
    value: float
    goal: float | None = None
    at_most: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return bool(self.value <= self.goal if self.at_most else self.value >= self.goal)


@dataclass(frozen=True)
class BenchmarkResult:
    """What a benchmark found.

    Attributes:
        bars: The figures.
        runs: Everything measured, run by run, JSON-able.
    """

    bars: list[Bar]
    runs: Any = field(default_factory=list)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark by name.

    Attributes:
        summary: One line for a newcomer.
        address: `module:function`; the function takes keyword options and returns a `BenchmarkResult`.
    """

    summary: str
    address: str

    def run(self, **options: Any) -> BenchmarkResult:
        """Runs it."""
        module, _, function = self.address.partition(":")
        result: BenchmarkResult = getattr(import_module(module), function)(**options)
        return result


BENCHMARKS: dict[str, Benchmark] = {
    "signal": Benchmark("What rules, oracles and bounds earn on every stage, before training", "benchmarks.stages:run"),
    "sampling": Benchmark("Agent-steps a second against RLlib's stock runner", "benchmarks.sampling:run"),
    "training": Benchmark("A whole PPO iteration against RLlib and Stable-Baselines3", "benchmarks.training:run"),
    "matrix": Benchmark("every algorithm in every domain, each for the same few minutes", "benchmarks.matrix:run"),
    "off_policy": Benchmark("SAC, MADDPG and QMIX against RLlib's SAC and DQN", "benchmarks.off_policy:run"),
    "spread": Benchmark("Cooperative navigation by every algorithm, over seeds", "benchmarks.spread:run"),
    "scaling": Benchmark("Iterations with 1 to 64 remote runners: real, replayed, on paper", "benchmarks.scaling:run"),
    "agreement": Benchmark("PPO on the stock path and on ours learns to the same score", "benchmarks.agreement:run"),
    "serving": Benchmark("Policies over HTTP against RLlib's example of a deployment", "benchmarks.serving:run"),
    "overload": Benchmark("The service under five times the load it can take", "benchmarks.overload:run"),
    "faults": Benchmark("What faults cost a run on a cluster of three real nodes (root)", "benchmarks.faults:run"),
    "learning": Benchmark("What `make train` teaches, over several seeds", "benchmarks.learning:run"),
    "fairness": Benchmark("How fair allocations are, beside the fairest there is", "benchmarks.fairness:run"),
    "standings": Benchmark("What is learned on held-out seeds beside every rule", "benchmarks.standings:run"),
    "liars": Benchmark("What a tenant gains by asking for more than its team would", "benchmarks.liars:run"),
    "limits": Benchmark("What is learned within a limit on late work", "benchmarks.limits:run"),
    "serial": Benchmark("A serial supply chain whose optimum is known", "benchmarks.serial:run"),
    "stepping": Benchmark("How fast a domain is stepped on one core", "benchmarks.stepping:run"),
    "networks": Benchmark("What is learned on supply networks, beside planners and bounds", "benchmarks.networks:run"),
    "beer_game": Benchmark("The beer game under three demands, and collaboration", "benchmarks.beer_game:run"),
    "yardsticks": Benchmark("Finds levels and bounds of the supply-chain tasks", "benchmarks.yardsticks:run"),
    "mpe2": Benchmark(
        "Cooperative navigation beside mpe2: the same returns, and the pace", "benchmarks.mpe2_check:run"
    ),
    "leaving": Benchmark("Agents that leave early, with and without standardised values", "benchmarks.leaving:run"),
    "messages": Benchmark("What messages among agents cost a forward pass", "benchmarks.messages:run"),
    "newsvendor": Benchmark("What a memory is worth where demand has to be found out", "benchmarks.newsvendor:run"),
    "team": Benchmark("A team of 100 traders learns", "benchmarks.team:run"),
}


def interleave(
    contenders: Mapping[str, Callable[[], float]], repeats: int, *, progress: Callable[[str], None] = print
) -> dict[str, list[float]]:
    """Measures every contender once a round, so that a drifting machine treats all alike.

    Args:
        contenders: Measurements by name; each call returns one figure.
        repeats: Rounds.
        progress: Called with a line after each measurement.

    Returns:
        The figures of each contender, round by round.
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(1, repeats + 1):
        for name, measure in contenders.items():
            figures[name].append(measure())
            progress(f"round {round_number}/{repeats}  {name}: {figures[name][-1]:,.4g}")
    return figures


def ratio_bar(name: str, ours: Sequence[float], theirs: Sequence[float], goal: float | None) -> Bar:
    """The median over rounds of `ours / theirs`, paired round by round, with its smallest and largest."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Bar(name, median(ratios), goal, low=min(ratios), high=max(ratios))


def median_bar(name: str, values: Sequence[float], goal: float | None = None, *, at_most: bool = False) -> Bar:
    """The median over rounds, with the smallest and the largest."""
    return Bar(name, median(values), goal, at_most, min(values), max(values))


def machine() -> str:
    """The machine in words: processor, cores, memory, system and Python."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    memory = psutil.virtual_memory().total / 2**30
    cores, system, python = os.cpu_count(), platform.system(), platform.python_version()
    return f"{processor}, {cores} cores, {memory:.0f} GiB, {system}, Python {python}"


def as_json(name: str, result: BenchmarkResult, command: str) -> dict[str, Any]:
    """The committed form of a result: bars, machine, command, date and runs."""
    return {
        "benchmark": name,
        "bars": [{**asdict(bar), "holds": bar.holds} for bar in result.bars],
        "machine": machine(),
        "command": command,
        "date": date.today().isoformat(),
        "runs": result.runs,
    }


def write_json(path: Path, content: Any) -> None:
    """Writes aside, then renames: a reader never sees half a file.

    Raises:
        OSError: If the folder cannot be written to.
    """
    write_text(path, json.dumps(content, indent=1) + "\n")


def kept(path: Path, asked: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a file holds; where there is none, what it is to hold is made first: long benchmarks go on cell by cell.

    Args:
        path: The file.
        asked: What decides on what it holds, and is written beside it.
        make: Makes it.

    Raises:
        ValueError: If the file is the answer to something else.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"asked": dict(asked), **make()})
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if found.get("asked") != asked:
        raise ValueError(
            f"{path.name}: got what was made for {found.get('asked')}, allowed is {dict(asked)}: delete it"
        )
    return found


def command_line() -> str:
    """The command that is running, as one would type it."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
