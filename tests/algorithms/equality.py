"""Equality to the bit of what checkpoints hold."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np


def assert_equal(first: Any, second: Any, path: str = "", *, but: Collection[str] = ()) -> None:
    """Asserts that nested values are equal to the bit.

    Args:
        first: Mappings, sequences, arrays and plain values in one another.
        second: What it is held to.
        path: Where in them this is.
        but: Keys that are left out, wherever they are.
    """
    if isinstance(first, dict):
        assert set(first) == set(second), path
        for name in first.keys() - set(but):
            assert_equal(first[name], second[name], f"{path}/{name}", but=but)
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), path
        for place, (left, right) in enumerate(zip(first, second, strict=True)):
            assert_equal(left, right, f"{path}/{place}", but=but)
    elif isinstance(first, np.ndarray):
        np.testing.assert_array_equal(first, second, err_msg=path)
    elif not callable(first):
        assert first == second, path
