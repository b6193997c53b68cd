"""The command line: newcomers get help, mistakes one line and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import entrepot
from benchmarks.harness import BENCHMARKS, Bar, BenchmarkResult

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("train", "sweep", "evaluate", "report", "envs", "bench")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Runs the command line in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["entrepot", *arguments])
        with pytest.raises(SystemExit) as caught:
            entrepot.main()
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return run


def test_help_lists_all_commands(call: Any) -> None:
    """Each command stands there with a line."""
    code, text, _ = call("--help")
    assert code == 0
    for command in COMMANDS:
        assert f" {command} " in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(call: Any, command: str) -> None:
    """Help has an example that can be typed."""
    code, text, _ = call(command, "--help")
    assert code == 0
    assert f"entrepot {command}" in text.partition("Example")[2]


def test_help_imports_nothing_heavy() -> None:
    """Neither Ray nor torch nor MLflow is imported to answer `--help` or to refuse a wrong setting."""
    check = (
        "import sys, runpy\n"
        "try:\n    runpy.run_path('entrepot.py', run_name='__main__')\n"
        "except SystemExit:\n    pass\n"
        "print(sorted({'ray', 'torch', 'mlflow', 'plotly', 'pandas'} & set(sys.modules)), file=sys.stderr)"
    )
    for arguments in (["--help"], ["train", "cue", "--set", "ppo.lr=-1"]):
        done = subprocess.run(
            [sys.executable, "-c", check, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["train", "tradin"],
            "domain: got 'tradin' (did you mean trading?); allowed are cue, energy, newsvendor, resource_allocation, "
            "spread, supply_chain, trading, workforce",
        ),
        (["train", "cue", "--set", "ppo.lr=-1"], "ppo.lr: got -1, allowed is greater than 0"),
        (["train", "cue", "--set", "env.num_agents=0"], "env.num_agents: got 0"),
        (
            ["train", "trading", "--set", "curriculum=null", "--set", "task.market_regime=sideways"],
            "task.market_regime: got 'sideways'",
        ),
        (["train", "cue", "--seed", "-1"], "seed: got -1"),
        (["train", "cue", "--experiment", "../up"], "experiment: got '../up'"),
        (["train", "cue", "--set", "runners.num_env_runners=500"], "runners.num_env_runners: got 500, which needs 501"),
        (["train", "cue", "--resume", "--seed", "3"], "--resume: got it with --seed 3"),
        (["train", "cue", "--resume"], "--resume: there is no training run with cue in"),
        (["sweep", "cue", "--resume"], "--resume: there is no sweep with cue in"),
        (["sweep", "envs.cue:DOMAIN", "--resume"], "--resume: there is no sweep with envs.cue:DOMAIN in"),
        (["sweep", "cue", "--resume", "--space", "a.yaml"], "--resume: got it with --space a.yaml"),
        (
            ["train", "mine"],
            "allowed are cue, energy, newsvendor, resource_allocation, spread, supply_chain, trading, workforce, or "
            "your own package.module:attribute",
        ),
        (["train", "cue", "--config", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["sweep", "cue", "--space", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["evaluate", "nothing"], "policy: got 'nothing', allowed is the folder of a bundle, or MODEL@VERSION"),
        (["evaluate", "."], "bundle: "),
        (["report", "nothing"], "experiment: got 'nothing'"),
        (["envs", "nothing"], "domain: got 'nothing'"),
        (["trian", "cue"], "No such command 'trian'"),
        (["train", "cue", "--sed", "1"], "No such option: --sed"),
        (["train"], "Missing argument 'domain'"),
        (["sweep", "cue", "--samples", "0"], "samples: got 0, allowed is 1 or more"),
        (["evaluate", "x@1", "--episodes", "1"], "episodes: got 1, allowed is 2 or more"),
        (["bench", "sampl"], "benchmark: got 'sampl' (did you mean sampling?)"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(call: Any, tmp_path: Path, arguments: list[str], line: str) -> None:
    """The line names what is wrong; there is no trace, and nothing is left in the folder."""
    code, text, errors = call(*arguments)
    assert code == 2
    assert text == ""
    assert len(errors.splitlines()) == 1
    assert line in errors
    left = [path for path in tmp_path.rglob("*") if path.name != "results"]
    assert not left


def test_a_folder_that_cannot_be_written_is_one_line(call: Any, tmp_path: Path) -> None:
    """A file stands where the results should go."""
    (tmp_path / "taken").write_text("")
    code, _, errors = call("train", "cue", "--set", "resources.results=taken/here")
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert "taken/here: cannot be written to" in errors


def test_debug_shows_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --debug the error itself comes through."""
    monkeypatch.setattr(sys, "argv", ["entrepot", "train", "tradin", "--debug"])
    with pytest.raises(ValueError, match="tradin"):
        entrepot.main()


def test_the_complete_configuration_can_be_shown(call: Any) -> None:
    """What is printed is YAML that --config takes, with the overrides in it."""
    code, text, _ = call("train", "cue", "--show-config", "--set", "ppo.lr=0.25", "--seed", "7")
    assert code == 0
    tree = yaml.safe_load(text)
    assert (tree["ppo"]["lr"], tree["seed"]) == (0.25, 7)
    Path("mine.yaml").write_text(text)
    assert call("train", "cue", "--show-config", "--config", "mine.yaml")[1] == text


def test_environments_are_listed(call: Any) -> None:
    """All of them, and all settings of one."""
    assert "trading" in call("envs")[1]
    assert "env.num_agents" in call("envs", "cue")[1]


def test_a_benchmark_writes_its_bars(call: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The JSON has bars, machine, command, date and runs; a bar that is missed makes the exit code 1."""
    given: dict[str, Any] = {}

    class Fake:
        """A benchmark that takes no time."""

        summary = "nothing"

        def run(self, **options: Any) -> BenchmarkResult:
            """Keeps its options."""
            given.update(options)
            return BenchmarkResult([Bar("speed", 2.0, goal=float(options.get("goal", 1)))], runs=[2.0])

    monkeypatch.setitem(BENCHMARKS, "fake", Fake())  # type: ignore[arg-type]
    assert "fake" in call("bench")[1]
    code, text, _ = call("bench", "fake", "--json", "out/fake.json")
    assert code == 0
    assert "speed" in text
    written = json.loads((tmp_path / "out" / "fake.json").read_text())
    assert {"bars", "machine", "command", "date", "runs"} <= written.keys()
    assert written["bars"][0]["holds"] is True
    assert call("bench", "fake", "--set", "goal=3")[0] == 1
    assert given == {"goal": 3}
