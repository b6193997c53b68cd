"""Recurrent state from one request of a session to the next: kept a row, so that agents may come and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serve.protocol.rows import ModuleRows
from serve.protocol.signature import Signature

if TYPE_CHECKING:
    from envs.base import BoolArray, FloatArray
    from policies.bundle import Inference

States = Mapping[str, Mapping[str, NDArray[np.float32]]]
"""Recurrent states `[H]` by module, then by row: the agent's id, or the row's number."""


@dataclass(frozen=True, slots=True)
class MixedRows(ModuleRows):
    """Rows of which only some bring a state.

    Attributes:
        brought: Whether a row brings its state, bool `[N]`; the state of the others is zero.
    """

    brought: BoolArray | None = None


def recall(
    rows: Mapping[str, ModuleRows], keys: Mapping[str, Sequence[str]], states: States | None, signature: Signature
) -> dict[str, ModuleRows]:
    """Rows with the states that a session remembers.

    A state that a row brings itself counts more; a row that is not remembered begins a new episode.

    Args:
        rows: What the request asks, by module.
        keys: What each row is remembered by.
        states: What the session remembers.
        signature: What the modules take.
    """
    filled = dict(rows)
    for module, given in rows.items():
        size = signature.modules[module].state_size
        known = (states or {}).get(module)
        brought = given.brought if isinstance(given, MixedRows) else None
        if not size or not known or (given.state is not None and brought is None):
            continue
        state = np.zeros((len(given.observations), size), np.float32) if given.state is None else given.state.copy()
        for row, key in enumerate(keys[module]):
            old = known.get(key)
            if old is not None and old.shape == (size,) and (brought is None or not brought[row]):
                state[row] = old
        filled[module] = ModuleRows(given.observations, given.masks, state, given.alive)
    return filled


def remember(keys: Mapping[str, Sequence[str]], answers: Mapping[str, Inference]) -> dict[str, dict[str, FloatArray]]:
    """What a session is to remember anew: the states of the rows that were asked.

    Args:
        keys: What each row is remembered by.
        answers: The answers by module.
    """
    return {
        module: dict(zip(keys[module], answer.state.copy(), strict=True))
        for module, answer in answers.items()
        if answer.state is not None
    }
