"""Folders and JSON files of an experiment."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

from policies.files import write_text

LEAST_FREE = 64 * 2**20
"""Bytes that must be free where results go, before anything is started."""


class FolderError(OSError):
    """A folder that cannot hold results; its text is one line."""

    def __str__(self) -> str:
        return str(self.args[0])


def ready_folder(folder: Path) -> Path:
    """Makes a folder and checks that results can be written to it.

    Args:
        folder: Where results will go.

    Returns:
        Its absolute path.

    Raises:
        FolderError: If it cannot be made, is not writable, or its disk is full.
    """
    folder = folder.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written to ({error.strerror}); choose another folder") from error
    if free < LEAST_FREE:
        raise FolderError(
            f"{folder}: got {free / 2**20:.0f} MiB free, at least {LEAST_FREE / 2**20:.0f} MiB are needed on its disk"
        )
    return folder


def write_json(path: Path, content: Any) -> None:
    """Writes JSON aside, then renames it; NaN and infinities become null."""
    write_text(path, json.dumps(jsonable(content), indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Reads JSON; None if there is no such file or it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def jsonable(value: Any) -> Any:
    """Plain values only, without NaN or infinities, which JSON does not know."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
