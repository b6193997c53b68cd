"""The settings of a network."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from algorithms.networks.config import NetworkConfig


def test_sizes_follow_the_kind() -> None:
    """The thin network has one layer of 64, the flat one stock RLlib's two of 256, unless sizes are given."""
    assert NetworkConfig().sizes == (64,)
    assert NetworkConfig(kind="flat").sizes == (256, 256)
    assert NetworkConfig(kind="flat", hidden_sizes=(8,)).sizes == (8,)


def test_every_field_is_described() -> None:
    """Each setting says what it does."""
    assert all(field.description for field in NetworkConfig.model_fields.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "deep"},
        {"hidden": (64,)},
        {"hidden_sizes": ()},
        {"hidden_sizes": (0,)},
        {"initial_log_std": 2.0},
        {"clip": 0},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    """An unknown key or an impossible value raises an error that names it."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        NetworkConfig(**wrong)  # type: ignore[arg-type]


def test_settings_survive_a_dump() -> None:
    """A dump, which travels in RLlib's model_config, gives the same settings back."""
    config = NetworkConfig(kind="flat", hidden_sizes=(3, 4), std="network", central_critic=True)
    assert NetworkConfig.model_validate(config.model_dump(mode="json")) == config
