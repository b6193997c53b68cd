"""Random numbers that make a world in a batch the world alone: one stream a world, keyed by (seed, world, episode)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        levels: What each is keyed by, (seed, world, episode), int64 `[B, 3]`.
        replays: Levels that worlds play in their next episode in place of its own, by world.
    """

    def __init__(self, num_worlds: int, first_world: int = 0) -> None:
        self.seed = 0
        self.first_world = first_world
        self.generators = [np.random.Generator(np.random.SFC64(0)) for _ in range(num_worlds)]
        self.levels = np.zeros((num_worlds, 3), np.int64)
        self.replays: dict[int, tuple[int, int, int]] = {}

    def restart(self, worlds: NDArray[np.int64], episodes: NDArray[np.int64]) -> None:
        """Gives each of `worlds` the stream of its episode `episodes[world]`, or of the level it was told to replay."""
        for world in worlds:
            level = (self.seed, self.first_world + int(world), int(episodes[world]))
            level = self.replays.pop(int(world), level)
            self.levels[world] = level
            # World and episode go into the spawn key: in one tuple with the seed, large seeds could collide with them.
            key = np.random.SeedSequence(level[0], spawn_key=level[1:])
            self.generators[world] = np.random.Generator(np.random.SFC64(key))

    def again(self, world: int) -> np.random.Generator:
        """The stream of a world's episode from its beginning, for what is drawn once an episode and not saved."""
        seed, number, episode = (int(part) for part in self.levels[world])
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(number, episode))))

    def of_task(self, world: int) -> np.random.Generator:
        """A stream of its own for drawing the task of a world's level, so that a domain's draws stay what they are."""
        seed, number, episode = (int(part) for part in self.levels[world])
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, episode, 1)))

    def get_state(self) -> dict[str, Any]:
        """The streams' complete state."""
        return {
            "seed": self.seed,
            "generators": [g.bit_generator.state for g in self.generators],
            "levels": self.levels.copy(),
            "replays": dict(self.replays),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.seed = state["seed"]
        self.levels, self.replays = state["levels"].copy(), dict(state["replays"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.bit_generator.state = saved


def drawn_by(rngs: Sequence[np.random.Generator], draw: Callable[[np.random.Generator], Any]) -> NDArray[Any]:
    """What each world draws from its own stream, `[E, …]`: all that follows is done for all worlds at once."""
    return np.stack([draw(rng) for rng in rngs])
