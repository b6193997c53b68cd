"""What a request comes down to: rows of observations for a module, a row an agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envs.base import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class ModuleRows:
    """What a request asks one module.

    Attributes:
        observations: Float32 `[N, D]`.
        masks: Action masks, bool `[N, M]`, true where allowed; None: everything is.
        state: Recurrent state, float32 `[N, H]`, where the module has one; None: the state of a new episode.
        alive: Who is there, bool `[N]`, where the module reads whole worlds: rows come world by world, each with all
            agents; None where it reads each row by itself.
    """

    observations: FloatArray
    masks: BoolArray | None = None
    state: FloatArray | None = None
    alive: BoolArray | None = None
