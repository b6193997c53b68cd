"""Names of what is kept of a team's past, and of what a learner gets of it.

Arrays keep the agents of a world together: `[…, A, …]`, agent `a` always in its place, also where it was not alive.
Three names are those of networks and rollouts: what was allowed, `MASK` `[…, A, M]`; who was there, `ALIVE` `[…, A]`;
whose turn it was, `ACTS` `[…, A]`; and the global state, `STATE` `[…, S]`, which is a world's.
"""

from __future__ import annotations

from algorithms.networks.protocol import ACTION_MASK as MASK
from algorithms.networks.protocol import ALIVE, BEGINS, STATE
from algorithms.rollout import ACTS

__all__ = [
    "ACTIONS",
    "ACTS",
    "ALIVE",
    "BEGAN",
    "BEGINS",
    "COUNTS",
    "DISCOUNTS",
    "ENDED",
    "ENDS",
    "FINAL",
    "FRAMES",
    "MASK",
    "NEXT",
    "OBS",
    "REWARDS",
    "SEQUENCE",
    "STARTS",
    "STATE",
    "TERMINATED",
    "WEIGHTS",
]

OBS = "obs"
"""What each agent saw, float32 `[…, A, D]`."""
ACTIONS = "actions"
"""What each did, as the env got it: within bounds, or choices; `[…, A, K]`."""
REWARDS = "rewards"
"""What each earned; of a learner's rows, summed over `n` steps with their discounts; `[…, A]`."""
TERMINATED = "terminated"
"""Whether an agent's life ended in the step, `[…, A]`."""

ENDED = "ended"
"""Whether a world's episode ended in the step, `[T, B]`."""
FINAL = "final_"
"""Before the names of what was seen when episodes ended, a row an end, in the order of `ENDED`."""
BEGAN = "began"
"""Whether a world began afresh at the first step, so that nothing before leads there, `[B]`."""

NEXT = "next_"
"""Before the names of what a learner's rows end in."""
DISCOUNTS = "discounts"
"""What a row's end counts in its beginning: `gamma^n`, or 0 for an agent whose life ended; `[N, A]`."""
WEIGHTS = "weights"
"""With priorities, what a row counts in means, `[N]`."""
FRAMES = "frames"
"""With priorities, the frame that a row is: its world and place, `[N, 2]`."""

SEQUENCE = "sequence_"
"""Before the names of what was seen in sequences of frames, `[N, R, A, …]`; `BEGINS` `[N, R]`: where episodes do."""
STARTS, ENDS = "starts", "ends"
"""Frame of a sequence in which each transition starts, and in which it ends, `[N * L]`: `L` of each sequence."""
COUNTS = "counts"
"""Which of these transitions are there, and not beyond an end, `[N * L]`."""
