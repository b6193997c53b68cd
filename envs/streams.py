"""Random numbers that make a world in a batch the world alone: one stream a world, keyed by (seed, world, episode)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class WorldStreams:
    """One random generator a world, restarted at every episode from (seed, world, episode).

    Args:
        num_worlds: Number of worlds `B`.
        first_world: Number of the first world in the run as a whole.

    Attributes:
        seed: Seed of the run; takes effect when a world restarts.
        generators: The worlds' generators, `[B]`.
    """

    def __init__(self, num_worlds: int, first_world: int = 0) -> None:
        self.seed = 0
        self.first_world = first_world
        self.generators = [np.random.Generator(np.random.SFC64(0)) for _ in range(num_worlds)]

    def restart(self, worlds: NDArray[np.int64], episodes: NDArray[np.int64]) -> None:
        """Gives each of `worlds` the stream of its episode `episodes[world]`."""
        for world in worlds:
            # World and episode go into the spawn key: in one tuple with the seed, large seeds could collide with them.
            key = np.random.SeedSequence(self.seed, spawn_key=(self.first_world + int(world), int(episodes[world])))
            self.generators[world] = np.random.Generator(np.random.SFC64(key))

    def get_state(self) -> dict[str, Any]:
        """The streams' complete state."""
        return {"seed": self.seed, "generators": [g.bit_generator.state for g in self.generators]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.seed = state["seed"]
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved


class NormalBlocks:
    """Standard normals for every world and step, drawn from the worlds' streams in blocks.

    A generator call costs microseconds however few numbers it returns; a block of 64 steps makes that cost vanish.

    Args:
        streams: The worlds' streams.
        width: Numbers a world needs in one step.
        block: Steps drawn at once.
    """

    def __init__(self, streams: WorldStreams, width: int, block: int = 64) -> None:
        self.streams = streams
        self.block = block
        self._numbers = np.zeros((len(streams.generators), block, width))
        self._cursor = np.full(len(streams.generators), block)

    def restart(self, worlds: NDArray[np.int64]) -> None:
        """Forgets what is left of the worlds' blocks; their next step draws anew from their streams."""
        self._cursor[worlds] = self.block

    def next(self, worlds: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """The next step's numbers, `[B, width]`, or `[len(worlds), width]` for some worlds alone."""
        chosen = np.arange(self._cursor.size) if worlds is None else worlds
        for world in chosen[self._cursor[chosen] == self.block]:
            self.streams.generators[world].standard_normal(out=self._numbers[world])
            self._cursor[world] = 0
        numbers = self._numbers[chosen, self._cursor[chosen]]
        self._cursor[chosen] += 1
        return numbers

    def get_state(self) -> dict[str, Any]:
        """The numbers drawn ahead and how far they are used."""
        return {"numbers": self._numbers.copy(), "cursor": self._cursor.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self._numbers[...] = state["numbers"]
        self._cursor[...] = state["cursor"]
