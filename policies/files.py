"""Files that are written aside and renamed, so that nobody ever reads half of one, and nothing half-written stays."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Writes a text file aside, through to the disk, then renames it.

    Args:
        path: The file; its folder is made if there is none. One that is replaced keeps its owner, if that may be
            said: root, who changes a service's file, must not shut the service out.
        text: What it is to hold.
        mode: Who may read and write it.

    Raises:
        OSError: If the folder cannot be written to; what stood at `path` before still does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(aside, mode)
        with suppress(FileNotFoundError, PermissionError):
            former = path.stat()
            os.chown(aside, former.st_uid, former.st_gid)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
