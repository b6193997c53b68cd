"""Nothing half-written is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from policies import files
from policies.files import write_text


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full in the middle of a write, the old content stands and nothing lies beside it."""
    path = tmp_path / "a.json"
    write_text(path, "old")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_is_for_whom_it_is_meant(tmp_path: Path, mode: int) -> None:
    """The folder is made, and the file has the mode that was asked for, whatever it had before."""
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        write_text(path, text, mode=mode)
        assert path.read_text() == text
        assert path.stat().st_mode & 0o777 == mode
        path.chmod(0o640)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_file_that_is_replaced_keeps_its_owner(tmp_path: Path) -> None:
    """What root changes for a service stays the service's."""
    path = tmp_path / "keys.json"
    write_text(path, "one", mode=0o600)
    os.chown(path, 12345, 23456)
    write_text(path, "two", mode=0o600)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 23456)
    assert path.read_text() == "two"
