"""Settings of torch that belong to a process or to a stretch of work, not to an object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

MatmulPrecision = Literal["highest", "high", "medium"]


def use_threads(threads: int) -> None:
    """Sets torch's threads in this process.

    One a process is the fastest where several processes share the machine: on two busy cores, two threads a process
    made a PPO update ten times slower. RLlib switches torch to deterministic operations when it seeds, which also
    fills every new tensor with NaN; nothing here reads memory before it is written, so that is switched off again.
    """
    torch.set_num_threads(threads)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def matmul_precision(precision: MatmulPrecision) -> Iterator[None]:
    """Multiplies float32 matrices at the given internal precision, inside the block only."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
