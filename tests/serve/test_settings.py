"""Settings: what is relative is meant from where the service was started."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from serve.settings import ServeSettings


def test_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas have working folders of their own; files are still those that were meant."""
    (tmp_path / "bundle").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = ServeSettings(
        models=("bundle", "mine=bundle", "trading@champion"), keys_file=Path("keys.json"), log_dir=Path("logs")
    )
    assert settings.models == (f"{tmp_path}/bundle", f"mine={tmp_path}/bundle", "trading@champion")
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert (settings.keys_file, settings.log_dir) == (tmp_path / "keys.json", tmp_path / "logs")


@pytest.mark.parametrize("uri", ["http://mlflow:5000", "sqlite:////data/mlflow.db", "sqlite:///:memory:"])
def test_other_uris_stay(uri: str) -> None:
    """What is absolute, or no file, stays as it is."""
    assert ServeSettings(tracking_uri=uri).tracking_uri == uri


@pytest.mark.parametrize("values", [{"port": 0}, {"replicas": 0}, {"models": ()}, {"colour": "red"}])
def test_wrong_values_are_refused(values: dict[str, object]) -> None:
    """What is not known or not allowed is refused."""
    with pytest.raises(ValidationError):
        ServeSettings.model_validate(values)


def test_every_setting_is_described() -> None:
    """`entrepot serve --help` and the documentation have a sentence for each."""
    assert all(field.description for field in ServeSettings.model_fields.values())
