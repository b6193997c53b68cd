"""Recurrent state from one request of a session to the next: kept a row, so that agents may come and go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from envs.base import FloatArray
from policies.bundle import Inference
from serve.engine import ModuleRows
from serve.protocol.signature import Signature

States = Mapping[str, Mapping[str, FloatArray]]
"""Recurrent states `[H]` by module, then by row: the agent's id, or the row's number."""


def recall(
    rows: Mapping[str, ModuleRows], keys: Mapping[str, Sequence[str]], states: States | None, signature: Signature
) -> dict[str, ModuleRows]:
    """Rows with the states that a session remembers.

    A state that the request brings itself counts more; a row that is not remembered begins a new episode.

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
        if not size or given.state is not None or not known:
            continue
        state = np.zeros((len(given.observations), size), np.float32)
        for row, key in enumerate(keys[module]):
            old = known.get(key)
            if old is not None and old.shape == (size,):
                state[row] = old
        filled[module] = ModuleRows(given.observations, given.masks, state)
    return filled


def remember(
    keys: Mapping[str, Sequence[str]], answers: Mapping[str, Inference], states: States | None
) -> dict[str, dict[str, FloatArray]]:
    """What a session is to remember: the new states, and the old ones of rows that were not asked.

    Args:
        keys: What each row is remembered by.
        answers: The answers by module.
        states: What the session remembered before.
    """
    kept = {module: dict(known) for module, known in (states or {}).items()}
    for module, answer in answers.items():
        if answer.state is not None:
            kept.setdefault(module, {}).update(zip(keys[module], answer.state.copy(), strict=True))
    return kept
