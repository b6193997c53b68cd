"""Tests of what a stranger's env answers; through a whole env, in `tests/rllib_configs/test_stages.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Space

from envs.adapters.replies import observation_of, of_reset, of_step, reward_of

BOX = Box(0, 1, (2,), np.float32)


def test_what_is_right_comes_through() -> None:
    """Lists do for tuples, and anything that is a number for a reward."""
    assert of_reset(None, [{"a": 1}, {}]) == ({"a": 1}, {})
    assert of_step(None, ({}, {}, {}, {}, {})) == ({}, {}, {}, {}, {})
    assert reward_of("a", np.float64(0.5)) == 0.5
    np.testing.assert_array_equal(
        observation_of("a", Dict({"x": BOX, "n": Discrete(2)}), {"x": [0, 1], "n": 1}), [0, 1, 0, 1]
    )


@pytest.mark.parametrize(
    ("space", "seen"),
    [
        (BOX, None),
        (BOX, np.zeros(3)),
        (BOX, [0.0, np.inf]),
        (Discrete(3), 7),
        (Discrete(3), "a"),
        (Dict({"x": BOX}), {}),
    ],
)
def test_what_does_not_fit_is_one_line(space: Space[Any], seen: Any) -> None:
    """It names the agent; long values are cut."""
    with pytest.raises(ValueError, match=r"^observation of 'a': got .*, allowed") as caught:
        observation_of("a", space, seen)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"^reset: list returned '(x)+…, allowed are 2 dictionaries"):
        of_reset([], "x" * 500)
