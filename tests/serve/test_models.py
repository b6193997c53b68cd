"""Snapshots: which version answers, and what is said if none can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from serve.errors import NotFound
from serve.models import Canary, Models, ServedModel, ServedVersion


@pytest.fixture
def model(small_version: ServedVersion) -> ServedModel:
    """`small` in versions 1, 2 and 3; 1 is the champion, 2 is called old."""
    versions = {number: replace(small_version, version=number) for number in ("1", "2", "3")}
    return ServedModel("small", "1", "champion", versions, {"champion": "1", "old": "2"})


def models_of(model: ServedModel) -> Models:
    return Models({model.name: model})


def test_unpinned_gets_the_current_version(model: ServedModel) -> None:
    """Who pins nothing gets the current version, without canary or shadow."""
    choice = models_of(model).choose("small")
    assert (choice.version.version, choice.shadow, choice.canary) == ("1", None, False)


@pytest.mark.parametrize(("which", "number"), [("3", "3"), ("champion", "1"), ("old", "2")])
def test_pins(model: ServedModel, which: str, number: str) -> None:
    """Numbers and aliases lead to their version, whatever the canary."""
    model = replace(model, canary=Canary("2", 100), shadow="3")
    choice = models_of(model).choose("small", which)
    assert choice.version.version == number
    assert choice.shadow is None


def test_unknown_names_are_told_what_there_is(model: ServedModel) -> None:
    """The sentence has what was asked for and all that could have been."""
    with pytest.raises(NotFound, match=r"^version of 'small': got '9', allowed are 1, 2, 3, champion, old$"):
        models_of(model).choose("small", "9")
    with pytest.raises(NotFound, match=r"^model: got 'large', allowed are small$"):
        models_of(model).choose("large")


def test_canary_gets_its_share(model: ServedModel) -> None:
    """Of ten thousand requests without a session a tenth gets a canary of ten percent."""
    models = models_of(replace(model, canary=Canary("2", 10)))
    share = sum(models.choose("small").canary for _ in range(10_000)) / 10_000
    assert 0.08 < share < 0.12


def test_session_stays_with_its_side(model: ServedModel) -> None:
    """All requests of one session get the canary, or none; over many sessions the share is right."""
    models = models_of(replace(model, canary=Canary("2", 25)))
    drawn = {key: {models.choose("small", None, key).canary for _ in range(5)} for key in map(str, range(4000))}
    assert all(len(sides) == 1 for sides in drawn.values())
    share = sum(True in sides for sides in drawn.values()) / len(drawn)
    assert 0.22 < share < 0.28


@pytest.mark.parametrize(("percent", "expected"), [(0, {"1"}), (100, {"2"})])
def test_ends_of_the_share(model: ServedModel, percent: float, expected: set[str]) -> None:
    """Nought is never, a hundred is always."""
    models = models_of(replace(model, canary=Canary("2", percent)))
    assert {models.choose("small").version.version for _ in range(1000)} == expected


def test_canary_or_shadow_that_is_not_loaded_does_nothing(model: ServedModel) -> None:
    """A canary or shadow that is missing, or the current version itself, leaves requests where they were."""
    for number in ("7", "1"):
        choice = models_of(replace(model, canary=Canary(number, 100), shadow=number)).choose("small")
        assert (choice.version.version, choice.shadow, choice.canary) == ("1", None, False)


def test_shadow_is_named(model: ServedModel) -> None:
    """The shadow comes with the choice of who pins nothing."""
    shadow = models_of(replace(model, shadow="3")).choose("small").shadow
    assert shadow is not None
    assert shadow.version == "3"


def test_references(model: ServedModel) -> None:
    """Every loaded version is referred to at least once, and only loaded ones are."""
    model = replace(model, canary=Canary("9", 5), shadow="2")
    assert model.references() == [
        ("current", "1"), ("champion", "1"), ("old", "2"), ("shadow", "2"), ("loaded", "3"),
    ]  # fmt: skip


def test_snapshot_cannot_be_changed(as_model: Callable[..., ServedModel], small_version: ServedVersion) -> None:
    """A snapshot that requests read stays as it is."""
    models = models_of(as_model(small_version))
    with pytest.raises(TypeError):
        models.models["other"] = models.models["small"]  # type: ignore[index]
