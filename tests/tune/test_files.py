"""Nothing half-written is left behind, and unusable folders are told in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tune import history
from tune.figures import ITERATION, SECONDS
from tune.files import FolderError, jsonable, read_json, ready_folder, write_json


def test_json_holds_no_nan(tmp_path: Path) -> None:
    """NaN and infinities become null, NumPy values plain ones."""
    write_json(
        tmp_path / "a.json", {"a": float("nan"), "b": [np.float32(1.5), np.inf], "c": np.arange(2), "d": {1: "x"}}
    )
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": [1.5, None], "c": [0, 1], "d": {"1": "x"}}
    assert jsonable(Path("x")) == "x"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """A file in the way is named, whoever runs this."""
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError) as caught:
        ready_folder(tmp_path / "file" / "results")
    line = str(caught.value)
    assert str(tmp_path / "file" / "results") in line
    assert "cannot be written to" in line
    assert "\n" not in line


def test_a_full_disk_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says how much is free and how much is needed."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(FolderError, match="got 1 MiB free, at least 64 MiB"):
        ready_folder(tmp_path / "new")


def test_unreadable_json_is_no_json(tmp_path: Path) -> None:
    """A file that is missing or cut off reads as nothing."""
    (tmp_path / "half.json").write_text('{"a": ')
    assert read_json(tmp_path / "half.json") is None
    assert read_json(tmp_path / "none.json") is None


def test_history_keeps_the_last_of_repeated_iterations(tmp_path: Path) -> None:
    """A restored run repeats iterations: the later line counts, and a line cut off by a kill is left out."""
    for iteration, seconds in ((1, 1.0), (2, 2.0), (3, 3.0), (2, 2.5)):
        history.append(tmp_path, {ITERATION: iteration, SECONDS: seconds, "config": {"big": 1}})
    with (tmp_path / history.NAME).open("a") as stream:
        stream.write('{"training_itera')
    rows = history.read(tmp_path)
    assert [(row[ITERATION], row[SECONDS]) for row in rows] == [(1, 1.0), (2, 2.5), (3, 3.0)]
    assert set(rows[0]) == {ITERATION, SECONDS}
    assert history.read(tmp_path / "nowhere") == []
