"""Versions come from where a registry may keep them, and only what a bundle has."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from policies.bundle import BundleError, load_bundle
from policies.download import bundle_folder


@pytest.mark.parametrize(
    "source",
    [
        "http://evil.example/endless",
        "ftp://evil.example/x",
        "sftp://evil.example/x",
        "runs:/0123/bundle",
        "models:/other/1",
        "mlflow-artifacts://evil.example/x",
    ],
)
def test_other_peoples_servers_are_not_asked(tmp_path: Path, source: str) -> None:
    """Whoever registers a version chooses its source: only folders and the registry's own stores are read."""
    with pytest.raises(BundleError, match=r"got the source '.*', allowed are folders, and stores of mlflow-artifacts"):
        bundle_folder(source, tmp_path, "http://registry.example:5000")


def test_folders_are_read_where_they_lie(tmp_path: Path) -> None:
    """What lies on this machine is not copied before it is checked."""
    for source in (tmp_path.as_uri(), str(tmp_path)):
        assert bundle_folder(source, tmp_path / "aside", "sqlite:///mlflow.db") == tmp_path


class Store:
    """Stands in for MLflow's stores: the files of a folder, whose sizes may be said to be others."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
        self.asked: list[str] = []
        self._folder = folder
        monkeypatch.setattr("mlflow.artifacts.list_artifacts", self._list)
        monkeypatch.setattr("mlflow.artifacts.download_artifacts", self._download)

    def _list(self, *, artifact_uri: str, tracking_uri: str) -> list[Any]:
        entries = [SimpleNamespace(path=f"b/{name}", file_size=size, is_dir=False) for name, size in self.sizes.items()]
        return [*entries, SimpleNamespace(path="b/more", file_size=None, is_dir=True)]

    def _download(self, *, artifact_uri: str, dst_path: str, tracking_uri: str) -> None:
        name = artifact_uri.removeprefix("mlflow-artifacts:/b/")
        self.asked.append(name)
        shutil.copy(self._folder / name, dst_path)


def test_only_the_files_of_a_bundle_are_downloaded(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else lies there stays there."""
    (plain / "huge").write_text("…")
    store = Store(plain, monkeypatch)
    (tmp_path / "aside").mkdir()
    found = bundle_folder("mlflow-artifacts:/b", tmp_path / "aside", "http://registry.example:5000")
    assert load_bundle(found, verify=True).name == "plain"
    assert sorted(store.asked) == ["manifest.json", "policy.onnx"]


def test_sizes_are_asked_for_first(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too large, or is not there, is not downloaded."""
    store = Store(plain, monkeypatch)
    store.sizes["manifest.json"] = 10**12
    with pytest.raises(BundleError, match=r"manifest.json has 1000000000000 bytes, allowed are at most"):
        bundle_folder("mlflow-artifacts:/b", tmp_path, "http://registry.example:5000")
    del store.sizes["manifest.json"]
    with pytest.raises(BundleError, match=r"cannot read mlflow-artifacts:/b/manifest.json"):
        bundle_folder("mlflow-artifacts:/b", tmp_path, "http://registry.example:5000")
    assert not store.asked
