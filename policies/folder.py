"""The folder that a bundle is: read within bounds, written whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath

from policies import limits

GRAPH = "policy.onnx"
MANIFEST = "manifest.json"
LARGEST = {MANIFEST: limits.MANIFEST_BYTES, GRAPH: limits.GRAPH_BYTES}
"""The files of a bundle, and how large each may be [bytes]."""


class BundleError(ValueError):
    """A bundle cannot be read, trusted or written; the message is one line."""


def read(folder: Path, name: str) -> bytes:
    """Reads a file of a bundle. Where it is a link, what that leads to is held to the same.

    Raises:
        BundleError: If it cannot be read, is too large, or is a pipe or a device, which might never end.
    """
    file = folder / name
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BundleError(f"bundle: {file} is not a plain file, allowed is one")
            check_size(file, status.st_size)
            return stream.read(status.st_size)
    except OSError as error:
        raise BundleError(f"bundle: cannot read {file} ({error.strerror or error})") from error


def check_size(file: PurePath, size: int) -> None:
    """Raises BundleError if a file of a bundle is larger than it may be [bytes]."""
    if size > (most := LARGEST[file.name]):
        raise BundleError(f"bundle: {file} has {size} bytes, allowed are at most {most}")


def install(path: Path, contents: Mapping[str, bytes]) -> Path:
    """Writes files aside and moves their folder into place, where an older bundle may be.

    Returns:
        The folder, absolute.

    Raises:
        BundleError: If it cannot be written, or holds something that is not a bundle.
    """
    path = path.absolute()
    aside: Path | None = None
    try:
        if path.exists() and not (path / MANIFEST).is_file() and not (path.is_dir() and not any(path.iterdir())):
            raise BundleError(f"bundle: {path} exists and is not a bundle, allowed is a new path or an older bundle")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        aside.chmod(0o755)  # mkdtemp's folders are private; a bundle is read by others
        for name, content in contents.items():
            _write(aside / name, content)
        _move(aside, path)
    except OSError as error:
        raise BundleError(f"bundle: cannot write {path} ({error.strerror or error})") from error
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
    return path


def one_line(error: object) -> str:
    """An error in one line, cut where it is endless."""
    text = " ".join(str(error).split())
    return text if len(text) <= 1000 else f"{text[:1000]}…"


def _write(file: Path, content: bytes) -> None:
    """Writes a file through to the disk, so that a full one is noticed before the bundle is moved into place."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _move(source: Path, target: Path) -> None:
    """Puts a folder in the place of another, which comes back if that fails."""
    if not target.exists():
        source.replace(target)
        return
    former = source.with_name(source.name + ".former")
    target.replace(former)
    try:
        source.replace(target)
    except OSError:
        former.replace(target)
        raise
    shutil.rmtree(former, ignore_errors=True)
