"""Tests of saying what went wrong in one line."""

from __future__ import annotations

from typing import Any

from tune.causes import cause_of


def test_the_workers_own_error_is_found_in_the_traces() -> None:
    """Of Ray's and Tune's wrapped traces one line is left."""

    class RayTaskError(RuntimeError):
        """Like Ray's: the trace is the text, and the worker's error the cause."""

        cause: Any = None

    error = RayTaskError("Traceback …\n  File x\nValueError: wrapped\n  File y\nValueError: policies:\ngot 'x'")
    assert cause_of(error) == "ValueError: policies: got 'x'"
    error.cause = ValueError("policies: got 'x', allowed are shared")
    assert cause_of(error) == "policies: got 'x', allowed are shared"
