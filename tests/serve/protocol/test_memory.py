"""What a session remembers, row by row."""

from __future__ import annotations

import numpy as np

from policies.bundle import Inference
from serve.models import ServedVersion
from serve.protocol.memory import recall, remember
from serve.protocol.rows import ModuleRows
from serve.protocol.signature import signature_of

SEEN = np.zeros((2, 11), np.float32)


def answer(state: np.ndarray) -> Inference:
    """An answer with a next state."""
    return Inference(np.zeros((2, 3), np.float32), np.zeros(2, np.float32), None, np.zeros((2, 6), np.float32), state)


def test_rows_are_remembered_by_their_keys(recurrent_version: ServedVersion) -> None:
    """A row finds its own state wherever it stands now; newcomers begin at zero; what is new goes to the store."""
    signature = signature_of(recurrent_version.policy)
    state = np.arange(8, dtype=np.float32).reshape(2, 4)
    kept = remember({"shared": ["ann", "bob"]}, {"shared": answer(state)})
    rows = recall({"shared": ModuleRows(SEEN)}, {"shared": ["bob", "zoe"]}, kept, signature)
    np.testing.assert_array_equal(rows["shared"].state, [state[1], np.zeros(4)])
    later = remember({"shared": ["bob", "zoe"]}, {"shared": answer(state + 10)})
    assert set(later["shared"]) == {"bob", "zoe"}
    np.testing.assert_array_equal(later["shared"]["bob"], state[0] + 10)
    np.testing.assert_array_equal(kept["shared"]["bob"], state[1])


def test_states_that_do_not_fit_are_dropped(recurrent_version: ServedVersion, small_version: ServedVersion) -> None:
    """A state of another width begins anew; a module without state gets none."""
    memory = {"shared": {"ann": np.ones(3, np.float32)}}
    keys = {"shared": ["ann", "bob"]}
    rows = recall({"shared": ModuleRows(SEEN)}, keys, memory, signature_of(recurrent_version.policy))
    assert rows["shared"].state is not None
    assert not rows["shared"].state.any()
    plain = recall({"shared": ModuleRows(SEEN)}, keys, memory, signature_of(small_version.policy))
    assert plain["shared"].state is None
