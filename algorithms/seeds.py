"""Random numbers without state: every use has a generator of its own, keyed by what it is for.

Nothing needs to be saved with a checkpoint, and a resumed run draws what it would have drawn.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Use(IntEnum):
    """What random numbers are for. The values are part of the keys: never change them."""

    ACTIONS = 1
    MINIBATCHES = 2
    RESTARTED_WORLDS = 3
    LIMITS = 4
    REPLAY = 5
    LEARNING = 6


def derived_seed(use: Use, *key: int) -> int:
    """A seed in [0, 2^63) that depends on nothing but its key of non-negative integers."""
    return int(np.random.SeedSequence((int(use), *key)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(use: Use, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator that depends on nothing but its key of non-negative integers."""
    return torch.Generator(device).manual_seed(derived_seed(use, *key))
