"""The repository as it is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cluster import sources
from cluster.description import ROOT


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with all that must stay here."""
    root = tmp_path / "repository"
    kept = ["entrepot.py", "benchmarks/results/a.json", "serve/keys.py"]
    secret = ["keys.json", "cluster/monitoring/targets/serving.key", "mlflow.db", "results/mine/config.yaml"]
    for name in [*kept, *secret, ".venv-bench/bin/python", "envs/__pycache__/a.pyc", ".git/config", "scratch/a.txt"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / ".rayignore").write_text((ROOT / ".rayignore").read_text())
    monkeypatch.setattr(sources, "ROOT", root)
    return root


def test_a_copy_is_what_is_sent(repository: Path) -> None:
    """Nothing secret and nothing large is in it, whatever changes later; it is gone afterwards."""
    with sources.copied(["scratch"]) as copy:
        (repository / "entrepot.py").write_text("half a thought")
        files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
        assert files == {".rayignore", "entrepot.py", "benchmarks/results/a.json", "serve/keys.py"}
        assert (copy / "entrepot.py").read_text() == "entrepot.py"
    assert not copy.exists()


def test_which_files_are_sent(repository: Path, tmp_path: Path) -> None:
    """Those that are in the copy; what lies elsewhere, or in a folder that stays here, is not."""
    assert sources.is_sent(repository / "serve/keys.py")
    assert not sources.is_sent(repository / "results/mine/config.yaml")
    assert not sources.is_sent(repository / "keys.json")
    (tmp_path / "mine.yaml").touch()
    assert not sources.is_sent(tmp_path / "mine.yaml")


def test_every_way_of_sending_keeps_secrets_back() -> None:
    """Ray's packager, the launcher's rsync, the image and git all leave keys out."""
    lists = [
        (ROOT / name).read_text() for name in (".rayignore", ".gitignore", "cluster/kuberay/Dockerfile.dockerignore")
    ]
    for text in lists:
        assert {"keys.json", "targets"} <= {line.rpartition("/")[2] for line in text.splitlines()}
    for path in (ROOT / "cluster").glob("*.yaml"):
        assert {"keys.json", "targets"} <= set(yaml.safe_load(path.read_text())["rsync_exclude"]), path.name
