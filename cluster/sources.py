"""The repository as it is sent to a cluster: a copy, so that what runs there is of one moment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from cluster.description import ROOT


@contextmanager
def copied(left_out: Sequence[str] = ()) -> Iterator[Path]:
    """Copies what of the repository is sent, for as long as it is needed.

    Args:
        left_out: What to leave out beside what `.rayignore` names, in the same form: shell patterns of names, or of
            paths if they begin with `/`.

    Yields:
        The copy's folder.
    """
    lines = (ROOT / ".rayignore").read_text(encoding="utf-8").splitlines()
    patterns = [*left_out, *(line.rstrip("/ ") for line in lines if line and not line.startswith("#"))]

    def ignored(folder: str, names: list[str]) -> set[str]:
        place = Path("/") / Path(folder).relative_to(ROOT)
        paths = {name: (place / name).as_posix() for name in names}
        return {name for name in names for p in patterns if fnmatch(paths[name] if p.startswith("/") else name, p)}

    with tempfile.TemporaryDirectory(prefix="entrepot-sources-") as folder:
        copy = Path(folder) / "repository"
        shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
        yield copy
