"""Bundles are tried in a process with limits, and what comes of it are the bytes that were tried."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from policies import limits, trial
from policies.bundle import BundleError, load_manifest
from policies.trial import tried
from tests.policies.forging import GRAPH, MANIFEST, before, huge, regraphed, signed

SEEN = "m.observations"


def test_sound_bundle_passes_once(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of it and its bytes are returned; the same bytes are not tried twice."""
    found = tried(plain)
    assert (found.name, found.domain, found.sha256) == ("plain", "cue", load_manifest(plain).sha256)
    assert found.files == {name: (plain / name).read_bytes() for name in (GRAPH, MANIFEST)}
    monkeypatch.setattr(trial, "_run", lambda path, size: pytest.fail("tried twice"))
    assert tried(plain) == found


def test_what_is_wrong_is_said(plain: Path) -> None:
    """The one line of the process that tried it is that of the error here."""
    with pytest.raises(BundleError, match=r"^bundle: manifest.json has no golden observations for the module 'm'"):
        tried(signed(plain, lambda found: found["golden"].clear()))


def test_memory_is_limited(plain: Path) -> None:
    """A network that takes little for its golden rows, and too much for as many as a request may bring, is refused."""
    with pytest.raises(BundleError, match=r"takes too much memory with many rows, allowed are \d+ bytes"):
        tried(regraphed(plain, lambda model: huge(model, SEEN, 100_000)))


def test_memory_is_limited_while_it_is_loaded(plain: Path) -> None:
    """A constant of a few bytes that is unpacked into a terabyte is refused."""

    def change(model: onnx.ModelProto) -> None:
        value = helper.make_tensor("t", TensorProto.INT64, [2], [10**6, 3 * 10**5])
        nodes = [
            helper.make_node("Constant", [], ["shape"], value=value),
            helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
            helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
            helper.make_node("Add", [SEEN, "zero"], ["same"]),
        ]
        before(model, SEEN, nodes, "same")

    with pytest.raises(BundleError, match="memory"):
        tried(regraphed(plain, change))


def test_time_is_limited(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose work grows with the square of its rows is quick with golden ones only, and refused."""
    monkeypatch.setattr(limits, "TRIAL_CPU_SECONDS", 1)

    def change(model: onnx.ModelProto) -> None:
        across = helper.make_node("Transpose", [SEEN], ["across"], perm=[1, 0])
        nodes, last = [across], SEEN
        for turn in range(40):
            nodes.append(helper.make_node("MatMul", [last, "across"], [f"square{turn}"]))
            nodes.append(helper.make_node("MatMul", [f"square{turn}", SEEN], [f"back{turn}"]))
            last = f"back{turn}"
        nodes += [
            helper.make_node("Sub", [last, last], ["nothing"]),
            helper.make_node("Add", [SEEN, "nothing"], ["same"]),
        ]
        before(model, SEEN, nodes, "same")

    with pytest.raises(BundleError, match=r"takes more than 1 s of a processor to be tried, allowed is less"):
        tried(regraphed(plain, change))


def test_what_does_not_end_is_ended(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits for ever, and uses no processor, is ended."""
    monkeypatch.setattr(limits, "TRIAL_SECONDS", 0.2)
    _stands_in(monkeypatch, "import time; time.sleep(1000)")
    with pytest.raises(BundleError, match=r"took longer than 0.2 s to be tried, allowed is less"):
        tried(signed(plain, lambda found: found.update(name="slow")))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_what_takes_the_process_along_is_refused(
    plain: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """If the runtime crashes only the process that tries it does."""
    _stands_in(monkeypatch, f"import os; os.kill(os.getpid(), {int(number)})")
    with pytest.raises(BundleError, match=rf"ended the process that tried it \(exit status -{int(number)}\)"):
        tried(signed(plain, lambda found: found.update(name="crash")))


def test_bundle_that_changes_under_way_is_refused(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the process saw other bytes than those that would be served, they are not served."""
    signed(plain, lambda found: found.update(name="before"))
    run = trial._run

    def changed(path: Path, size: int) -> Any:
        signed(plain, lambda found: found.update(name="after"))
        return run(path, size)

    monkeypatch.setattr(trial, "_run", changed)
    with pytest.raises(BundleError, match="changed while it was tried"):
        tried(plain)


def _stands_in(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Has another program run in the place of the one that tries bundles."""
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **options: run([sys.executable, "-c", script], **options))
