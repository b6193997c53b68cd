"""The repository as it is sent to a cluster: a copy, so that what runs there is of one moment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

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
    patterns = [*left_out, *_ignored()]

    def ignored(folder: str, names: list[str]) -> set[str]:
        place = PurePosixPath("/") / Path(folder).relative_to(ROOT).as_posix()
        return {name for name in names if _matches(place / name, patterns)}

    with tempfile.TemporaryDirectory(prefix="entrepot-sources-") as folder:
        copy = Path(folder) / "repository"
        shutil.copytree(ROOT, copy, ignore=ignored, symlinks=True)
        yield copy


def is_sent(path: Path) -> bool:
    """Whether a file here is one that is sent."""
    if not path.resolve().is_relative_to(ROOT):
        return False
    place = PurePosixPath("/") / path.resolve().relative_to(ROOT).as_posix()
    patterns = _ignored()
    return not any(_matches(each, patterns) for each in (place, *place.parents))


def _ignored() -> list[str]:
    """The patterns in `.rayignore`."""
    lines = (ROOT / ".rayignore").read_text(encoding="utf-8").splitlines()
    return [line.rstrip("/ ") for line in lines if line and not line.startswith("#")]


def _matches(place: PurePosixPath, patterns: Sequence[str]) -> bool:
    return any(fnmatch(str(place) if pattern.startswith("/") else place.name, pattern) for pattern in patterns)
