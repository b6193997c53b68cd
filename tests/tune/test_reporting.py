"""The callback that writes the flat figures."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from tune import figures
from tune.reporting import FiguresCallback


def reported(callback: FiguresCallback, learners: dict[str, Any]) -> dict[str, Any]:
    """A result of an iteration, as the callback leaves it."""
    result = {"learners": learners, "num_agent_steps_sampled_lifetime": 10, "agent_steps_per_s": 5.0}
    callback.on_train_result(algorithm=SimpleNamespace(finished_episodes=[]), result=result)
    return result


def test_gradient_steps_that_were_left_out_add_up() -> None:
    """Over modules and iterations, a restored run going on counting; a module that did not learn says not-a-number."""
    callback = FiguresCallback()
    assert reported(callback, {"all": {"skipped_steps": 0}})[figures.SKIPPED] == 0
    learners = {"a": {"skipped_steps": 2}, "b": {"skipped_steps": 1}, "__all_modules__": {"skipped_steps": 9}}
    assert reported(callback, learners)[figures.SKIPPED] == 3
    restored = FiguresCallback()
    restored.set_state(callback.get_state())
    assert reported(restored, {"a": {"skipped_steps": math.nan}, "b": {"skipped_steps": 4}})[figures.SKIPPED] == 7
