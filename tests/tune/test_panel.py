"""Tests of what is to be typed next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rllib_configs.overrides import load
from tune.finish import Finished
from tune.panel import _next


def commands(uri: str, version: int | None) -> dict[str, str]:
    """What is to be typed after a run whose models are in a registry, or are not."""
    config: Any = load("cue", overrides=[f"tracking.uri={uri}"])
    here = Path.cwd()
    finished = SimpleNamespace(
        config=config, model="cue", version=version, bundle=here / "bundle", report=here / "report.html"
    )
    return dict(_next(cast(Finished, finished)))


@pytest.mark.parametrize(
    ("uri", "version", "said"),
    [
        (f"sqlite:///{Path.cwd()}/mlflow.db", 1, "entrepot serve --models cue@1"),
        ("http://server:5000", 1, "entrepot serve --models cue@1 --tracking-uri http://server:5000"),
        (f"sqlite:///{Path.cwd()}/mine.db", 2, "entrepot serve --models cue@2 --tracking-uri sqlite:///mine.db"),
        ("http://server:5000", None, "entrepot serve --models bundle"),
    ],
)
def test_a_model_is_served_from_where_it_is(uri: str, version: int | None, said: str) -> None:
    """The registry is named where it is not the usual one, and there is a model in it."""
    assert commands(uri, version)["serve it"] == said
