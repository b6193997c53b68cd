"""Keeps the driver's folder of an experiment in step with storage, and brings it to a machine that lacks it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rllib_configs.schema import ExperimentConfig
from tune.events import Event, EventKind, Listener
from tune.files import read_json, write_json
from tune.paths import settle
from tune.storage import DRIVER, Storage, StorageError, storage_of

logger = logging.getLogger("entrepot")

STAMP = ".storage.json"
"""File that counts how often a folder was brought in step, in the folder and in storage."""
EVERY = 10.0
"""Least seconds between two steps, except at checkpoints and at the end."""
AT_ONCE = (EventKind.CHECKPOINT, EventKind.TRAINED, EventKind.FAILED, EventKind.FINISHED)


class Mirror:
    """Keeps the driver's folder of one experiment in step with storage, and fetches it where it is missing or older.

    How often it was brought in step is counted in both places. The folder is older where storage's count is higher,
    which holds whatever the machines' clocks say.

    Args:
        storage: Where it is kept.
        folder: The experiment's folder here.
    """

    def __init__(self, storage: Storage, folder: Path) -> None:
        self._storage, self._folder = storage, folder
        stamp = read_json(folder / STAMP) or {}
        self._count = int(stamp.get("count", 0))
        self._known: dict[str, list[int]] = dict(stamp.get("files", {}))
        self._last = -EVERY
        self._failing = False

    def hear(self, event: Event) -> None:
        """Listens to the experiment: at checkpoints and ends at once, else every few seconds, all is brought in step.

        What fails is told once, tried again next time, and never costs training.
        """
        if event.kind not in AT_ONCE and time.monotonic() - self._last < EVERY:
            return
        try:
            self.push()
            self._failing = False
        except StorageError as error:
            if not self._failing:
                logger.warning("%s; training goes on, and it is tried again", error)
            self._failing = True
        self._last = time.monotonic()

    def push(self) -> None:
        """Writes to storage what has changed here.

        Raises:
            StorageError: If storage cannot be written to.
        """
        changed = {name: mark for name, mark in self._written() if self._known.get(name) != mark}
        if not changed:
            return
        with self._storage.telling():
            for name in changed:
                self._storage.write(self._path(name), (self._folder / name).read_bytes())
            self._storage.write(self._path(STAMP), json.dumps({"count": self._count + 1}).encode())
        self._remember(self._count + 1, changed)

    def pull(self) -> bool:
        """Fetches the driver's files if the folder here is missing or older; returns whether it did.

        Raises:
            StorageError: If storage cannot be read.
        """
        from pyarrow.fs import FileSelector

        with self._storage.telling():
            count = self._count_there()
            if count <= self._count:
                return False
            there = self._storage.files.get_file_info(FileSelector(self._path(), recursive=True))
            names = {info.path.removeprefix(self._path("")) for info in there if info.is_file} - {STAMP}
            for name in sorted(names):
                self._fetch(name)
        self._remember(count, {name: mark for name, mark in self._written() if name in names})
        return True

    def fetch_checkpoint(self, name: str) -> None:
        """Copies a checkpoint into the folder unless it is there already.

        Args:
            name: Its path below the experiment, such as `trial_x/checkpoint_000001`.

        Raises:
            StorageError: If it cannot be read.
        """
        from pyarrow.fs import copy_files

        target = self._folder / name
        if target.is_dir():
            return
        aside = target.with_name(f".{target.name}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        with self._storage.telling():
            copy_files(self._storage.path(self._folder.name, name), str(aside), source_filesystem=self._storage.files)
        aside.rename(target)

    def _count_there(self) -> int:
        """How often storage was brought in step; 0 if it never was."""
        if not self._storage.files.get_file_info(self._path(STAMP)).is_file:
            return 0
        return int(json.loads(self._storage.read(self._path(STAMP)))["count"])

    def _path(self, *names: str) -> str:
        return self._storage.path(self._folder.name, DRIVER, *names)

    def _fetch(self, name: str) -> None:
        """Copies one file here, aside at first."""
        target = self._folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}")
        aside.write_bytes(self._storage.read(self._path(name)))
        os.replace(aside, target)

    def _written(self) -> Iterator[tuple[str, list[int]]]:
        """The driver's own files here, by name below the folder, each with when it was changed and its size."""
        for path in sorted(self._folder.rglob("*")):
            name = path.relative_to(self._folder)
            if any(part.startswith((".", "checkpoint_")) for part in name.parts) or not path.is_file():
                continue
            status = path.stat()
            yield name.as_posix(), [status.st_mtime_ns, status.st_size]

    def _remember(self, count: int, files: dict[str, list[int]]) -> None:
        self._count = count
        self._known.update(files)
        write_json(self._folder / STAMP, {"count": count, "files": self._known})


def mirror_of(config: ExperimentConfig, folder: Path) -> Mirror | None:
    """What keeps an experiment's folder in step, where its configuration names storage."""
    storage = storage_of(config)
    return None if storage is None else Mirror(storage, folder)


@contextmanager
def kept(config: ExperimentConfig, folder: Path) -> Iterator[list[Listener]]:
    """Keeps an experiment's folder in step with its storage, if it has any, while the context lasts.

    Yields:
        Who must listen to the experiment meanwhile.

    Raises:
        StorageError: If storage cannot be written to at the beginning or at the end.
    """
    settle(folder)
    mirror = mirror_of(config, folder)
    if mirror is None:
        yield []
        return
    mirror.push()
    try:
        yield [mirror.hear]
    except BaseException:
        with suppress(OSError):  # what went wrong is more important
            mirror.push()
        raise
    mirror.push()
