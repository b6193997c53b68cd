"""Storage behind a URI: what it names, whether it can be written to, and which experiments it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from tune import storage as storage_module
from tune.paths import CONFIG, SWEEP
from tune.storage import DRIVER, Storage, StorageError, soon, tune_path, tune_place, tune_root


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("results", "allowed is a URI such as s3://bucket/path or gs://bucket/path, or null"),
        ("s3://", "allowed is a URI such as"),
        ("s3://key:secret@bucket/path", "got a URI with a secret in it"),
    ],
)
def test_what_is_no_uri_is_refused_with_the_other_settings(uri: str, line: str) -> None:
    """The schema sees it, and never repeats a secret."""
    with pytest.raises(ConfigError, match=f"^resources.storage: .*{line}") as caught:
        load("cue", values={"resources.storage": uri})
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("uri", ["nowhere://bucket/path", "s3://bucket/path?colour=blue", "s3:///path"])
def test_a_uri_that_nobody_can_open_is_one_line(uri: str) -> None:
    """The line holds what was given and why it cannot be opened."""
    with pytest.raises(
        ConfigError, match=r"^resources.storage: got .* cannot be opened \(.*\); allowed is a URI"
    ) as caught:
        Storage(uri)
    assert "\n" not in str(caught.value)


def test_checking_leaves_nothing_behind(new_bucket: Callable[[], str]) -> None:
    """A file was written, read and removed."""
    storage = Storage(new_bucket())
    storage.check()
    assert storage.files.get_file_info(FileSelector(storage.root, recursive=True)) == []


def test_a_bucket_that_is_not_there_is_one_line(object_store: str) -> None:
    """Nothing is made up on the way, and the line names the place."""
    storage = Storage(f"s3://no-such-bucket/runs?endpoint_override={object_store}&scheme=http")
    with pytest.raises(StorageError, match=r"^resources.storage: s3://no-such-bucket/runs\S* cannot be used") as caught:
        storage.check()
    assert "\n" not in str(caught.value)


def test_storage_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes longer than the patience is left to itself; what fails in time is told as it is."""
    monkeypatch.setattr(storage_module, "PATIENCE", 0.05)
    storage = Storage("file:///tmp")
    with pytest.raises(StorageError, match=r"file:///tmp does not answer within 0.05 s"):
        soon(storage, threading.Event().wait)
    with pytest.raises(ZeroDivisionError):
        soon(storage, lambda: 1 // 0)


def test_the_latest_experiment_of_a_domain_is_found(new_bucket: Callable[[], str]) -> None:
    """Folders without a configuration are no experiments, and other domains' do not count."""
    storage = Storage(new_bucket())
    assert storage.experiments() == []
    assert storage.latest("cue") is None
    for name, domain in (("b", "cue"), ("a", "cue"), ("t", "trading")):
        storage.write(storage.path(name, DRIVER, CONFIG), f"domain: {domain}\n".encode())
    storage.write(storage.path("zz", "tuner.pkl"), b"")
    assert sorted(storage.experiments()) == ["a", "b", "t"]
    assert storage.latest("trading") == "t"
    assert storage.latest("cue") == [name for name in storage.experiments() if name != "t"][-1]
    storage.write(storage.path("s", DRIVER, CONFIG), b"domain: trading\n")
    storage.write(storage.path("s", DRIVER, SWEEP), b"{}")
    assert storage.latest("trading") == "t"
    assert storage.latest("trading", sweep=True) == "s"
    assert storage.latest("cue", sweep=True) is None
    assert storage.holds("zz")
    assert not storage.holds("y")


def test_tune_is_told_places_it_understands() -> None:
    """With storage, URIs that keep their options behind the path; without it, the folder."""
    folder = Path("/results/mine")
    stored = load("cue", values={"resources.storage": "s3://bucket/runs/?region=eu-west-1"})
    assert tune_root(stored, folder) == "s3://bucket/runs?region=eu-west-1"
    assert tune_place(stored, folder) == "s3://bucket/runs/mine?region=eu-west-1"
    assert tune_path(stored, folder) == "bucket/runs/mine"
    here = load("cue")
    assert (tune_root(here, folder), tune_place(here, folder), tune_path(here, folder)) == (
        "/results",
        "/results/mine",
        "/results/mine",
    )
