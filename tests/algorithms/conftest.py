"""What the tests of algorithms share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture
def build() -> Iterator[Callable[[Any], Any]]:
    """Builds algorithms, and stops them in the end."""
    built: list[Any] = []

    def make(config: Any) -> Any:
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()
