"""Folders of services under the system's temporary one: of those that run they stay, of killed ones they go."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from serve.scratch import PREFIX, clear, own_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of the test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_killed_services_leave_nothing(temporary: Path) -> None:
    """The next service clears what one left that was killed, and leaves alone what one has that runs."""
    script = (
        "from serve.scratch import own_folder\n"
        "with own_folder() as folder:\n"
        "    (folder / 'node').mkdir()\n"
        "    print(folder, flush=True)\n"
        "    input()\n"
    )
    others = [
        subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    killed, runs = (Path(each.stdout.readline().strip()) for each in others if each.stdout)
    assert (killed / "node").is_dir()
    others[0].kill()
    others[0].wait()
    try:
        with own_folder() as folder:
            assert folder.parent == temporary
            assert not killed.exists()
            assert (runs / "node").is_dir()
            clear()  # its own is one of a running service too
            assert folder.is_dir()
        assert not folder.exists()
    finally:
        others[1].communicate("\n", timeout=30)
    assert list(temporary.iterdir()) == []


def test_what_is_not_known_stays(temporary: Path) -> None:
    """A folder that is being made, or of something else, is left alone."""
    made, other = temporary / f"{PREFIX}abc", temporary / "other"
    made.mkdir()
    other.mkdir()
    (other / "lock").touch()
    (temporary / f"{PREFIX}link").symlink_to(other)
    clear()
    assert made.is_dir()
    assert (other / "lock").is_file()
