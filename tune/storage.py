"""Storage behind a URI, where all that a run needs to go on can lie, so that any machine can go on with it.

    URI/NAME/           what Tune writes: its own state, and the checkpoints in `trial_…/checkpoint_…`
    URI/NAME/driver/    the experiment's folder as its driver has it, kept in step by `tune.mirror`

The driver's files have a folder of their own: a restored Tune copies every JSON file that lies beside its own, and
writes it back later, older than it has become.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rllib_configs.errors import ConfigError, one_line, shorten
from rllib_configs.schema import ExperimentConfig
from tune.files import FolderError
from tune.paths import CONFIG, SWEEP

DRIVER = "driver"
"""Folder of the driver's files in an experiment's storage."""
PATIENCE = 60.0
"""Seconds in which storage must answer before anything is started; Google's library would try for 15 minutes."""
OBJECT_STORES = ("s3", "gcs", "abfs")
"""File systems without folders, as pyarrow calls them."""
LONGEST_CAUSE = 200


class StorageError(FolderError):
    """Storage that cannot be used; its text is one line."""


class Storage:
    """The folder of all experiments that a URI names.

    Args:
        uri: As `pyarrow.fs` reads it, such as `s3://bucket/path`.

    Attributes:
        uri: The same, without a slash at its end.
        files: The file system.
        root: The folder's path in it.

    Raises:
        ConfigError: If the URI names nothing that can be stored to.
    """

    def __init__(self, uri: str) -> None:
        from pyarrow.fs import FileSystem  # takes a while to import

        base, mark, query = uri.partition("?")
        self.uri = f"{base.rstrip('/')}{mark}{query}"
        try:
            self.files, root = FileSystem.from_uri(self.uri)
        except (ValueError, OSError, NotImplementedError) as error:
            raise ConfigError(
                f"resources.storage: got {shorten(uri)}, which cannot be opened ({_cause(error)}); allowed is a URI "
                "such as s3://bucket/path or gs://bucket/path"
            ) from error
        self.root = root.rstrip("/")

    def place(self, name: str) -> str:
        """URI of an experiment, as Tune takes it."""
        base, mark, query = self.uri.partition("?")
        return f"{base}/{name}{mark}{query}"

    def path(self, *parts: str) -> str:
        """Path in the file system."""
        return "/".join([self.root, *parts])

    def check(self) -> None:
        """Writes a file, reads it and removes it.

        Raises:
            StorageError: If any of that fails.
        """
        path, token = self.path(f".probe-{secrets.token_hex(8)}"), secrets.token_bytes(16)
        with self.telling():
            self.write(path, token)
            try:
                found = self.read(path)
            finally:
                self.files.delete_file(path)
            if found != token:
                raise OSError("what was written is not what is read")

    def experiments(self) -> list[str]:
        """Names of the experiments there are, the oldest first.

        Raises:
            StorageError: If storage cannot be read.
        """
        from pyarrow.fs import FileSelector

        with self.telling():
            listed = self.files.get_file_info(FileSelector(self.root, allow_not_found=True))
            names = [info.base_name for info in listed if not info.is_file]
            configs = self.files.get_file_info([self.path(name, DRIVER, CONFIG) for name in names])
        found = [(info.mtime_ns, name) for info, name in zip(configs, names, strict=True) if info.is_file]
        return [name for _, name in sorted(found)]

    def latest(self, domain: str, *, sweep: bool = False) -> str | None:
        """Name of the domain's latest training run, or sweep; None if there is none."""
        for name in reversed(self.experiments()):
            with self.telling():
                if self.files.get_file_info(self.path(name, DRIVER, SWEEP)).is_file != sweep:
                    continue
                tree = yaml.safe_load(self.read(self.path(name, DRIVER, CONFIG)))
            if isinstance(tree, dict) and tree.get("domain") == domain:
                return name
        return None

    def holds(self, name: str) -> bool:
        """Whether there is anything of an experiment of that name."""
        from pyarrow.fs import FileSelector

        with self.telling():
            return bool(self.files.get_file_info(FileSelector(self.path(name), allow_not_found=True)))

    def read(self, path: str) -> bytes:
        """Content of a file."""
        with self.files.open_input_stream(path) as stream:
            content: bytes = stream.read()
        return content

    def write(self, path: str, content: bytes) -> None:
        """Writes a file; an object store replaces one that is there as a whole or not at all."""
        if self.files.type_name not in OBJECT_STORES:
            self.files.create_dir(path.rpartition("/")[0], recursive=True)
        with self.files.open_output_stream(path) as stream:
            stream.write(content)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Turns what the file system raises into a StorageError."""
        try:
            yield
        except StorageError:
            raise
        except (OSError, ValueError) as error:
            raise StorageError(f"resources.storage: {self.uri} cannot be used ({_cause(error)})") from error


def storage_of(config: ExperimentConfig) -> Storage | None:
    """The storage that a configuration names, if it names one."""
    return None if config.resources.storage is None else Storage(config.resources.storage)


def tune_root(config: ExperimentConfig, folder: Path) -> str:
    """What holds Tune's part of all experiments: storage's URI, or the folder of results."""
    storage = storage_of(config)
    return str(folder.parent) if storage is None else storage.uri


def tune_place(config: ExperimentConfig, folder: Path) -> str:
    """Tune's part of an experiment: a URI in storage, or the experiment's folder."""
    storage = storage_of(config)
    return str(folder) if storage is None else storage.place(folder.name)


def tune_path(config: ExperimentConfig, folder: Path) -> str:
    """The same as paths of checkpoints begin with it, which lack the URI's scheme."""
    storage = storage_of(config)
    return str(folder) if storage is None else storage.path(folder.name)


def soon(storage: Storage, call: Callable[[], Any]) -> Any:
    """What `call` returns or raises.

    Raises:
        StorageError: If it does neither within `PATIENCE`; it is then left to itself.
    """
    outcome: list[tuple[Any, BaseException | None]] = []

    def work() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=work, name="storage", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not outcome:
        raise StorageError(f"resources.storage: {storage.uri} does not answer within {PATIENCE:g} s")
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def _cause(error: BaseException) -> str:
    text = one_line(error)
    return text if len(text) <= LONGEST_CAUSE else f"{text[: LONGEST_CAUSE - 1]}…"
