"""Joint replay: what teams saw and did, as it happened, in rings that are allocated once.

Every world has a ring of *frames*, one after the other. A frame holds what was seen at a step, what was done and what
it brought; what it led to is the next frame. Where an episode ends, a frame follows in which nothing was done: what was
seen last, from which truncation is bootstrapped. So nothing is kept twice, returns over `n` steps and sequences are
runs of frames, and an observation takes half the memory that pairs of them would. Where worlds begin anew after a
fault, a gap keeps apart what does not belong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyarrow.fs import FileSelector, FileSystem

from algorithms.off_policy.columns import (
    ACTS,
    ALIVE,
    BEGAN,
    BEGINS,
    COUNTS,
    DISCOUNTS,
    ENDED,
    ENDS,
    FINAL,
    FRAMES,
    MASK,
    NEXT,
    OBS,
    REWARDS,
    SEQUENCE,
    STARTS,
    STATE,
    TERMINATED,
    WEIGHTS,
)
from algorithms.off_policy.priorities import Priorities
from envs.base import IntArray

Columned = dict[str, NDArray[Any]]
GAP, PLAYED, LAST = 0, 1, 2
"""What a frame is: nothing, a step that was played, or what was seen when an episode ended."""
SEEN = (OBS, ACTS, ALIVE, MASK, STATE)
"""What there is of a frame in which nothing was done."""
LEAST_FRAMES = 8
PRIORITISED = 12
"""Bytes that priorities take a frame, their running sum included."""
SHARES = "shares"
"""Name of the priorities in a checkpoint."""


class Replay:
    """The latest frames of `W` worlds.

    Args:
        frames: Frames of each world's ring, at most.
        memory: Bytes that all rings take together, at most.
        worlds: Worlds `W` of the whole run.
        priority: How much more often what was wrong is drawn, 0 to 1; 0: all is drawn as often.
        correction: How much of that draws make up for by what they count, 0 to 1.

    Attributes:
        size: Frames of each world's ring, known once the first rollout has come.
        head: Where each world's next frame goes, `[W]`.
        filled: Frames in each world's ring, `[W]`.
        kind: What each frame is, `[W, size]`.
        columns: By module, its arrays, `[W, size, A, …]`; of the world, under `""`, `[W, size, …]`.
        priorities: What is drawn more often, known once the first rollout has come; None where all is drawn as often.
    """

    def __init__(
        self, *, frames: int, memory: int, worlds: int, priority: float = 0.0, correction: float = 1.0
    ) -> None:
        self.priority, self.correction = priority, correction
        self.priorities: Priorities | None = None
        self.frames, self.memory, self.worlds = frames, memory, worlds
        self.size = 0
        self.head: IntArray = np.zeros(worlds, np.int64)
        self.filled: IntArray = np.zeros(worlds, np.int64)
        self.kind = np.zeros((worlds, 0), np.uint8)
        self.columns: dict[str, Columned] = {}

    @property
    def steps(self) -> int:
        """Frames there are, of all worlds."""
        return int(self.filled.sum())

    @property
    def nbytes(self) -> int:
        """Bytes that the rings take."""
        arrays = [array for columns in self.columns.values() for array in columns.values()]
        priorities = PRIORITISED * self.kind.size if self.priority else 0
        return self.kind.nbytes + priorities + sum(array.nbytes for array in arrays)

    # -- writing ---------------------------------------------------------------------------------------------------

    def insert(self, batches: Mapping[str, Columned], first_world: int = 0) -> None:
        """Takes in a rollout of some worlds, one after the other in the rings.

        Args:
            batches: By module, arrays `[T, B, A, …]` as `OffPolicyCollector` makes them.
            first_world: Which of the run's worlds the first one is.
        """
        any_batch = next(iter(batches.values()))
        if not self.size:
            self._allocate(batches)
        ended = any_batch[ENDED]
        steps, count = ended.shape
        worlds = np.arange(first_world, first_world + count)
        self._put_gaps(worlds[any_batch[BEGAN] & (self.filled[worlds] > 0)])
        ends_before = ended.cumsum(axis=0) - ended
        offsets = np.arange(steps)[:, None] + ends_before
        skip = int(max(0, (offsets[-1] + 1 + ended[-1]).max() - self.size))  # a rollout may be longer than the rings
        kept = slice(skip, None)
        rows = np.broadcast_to(worlds, offsets.shape)
        places = (self.head[worlds] + offsets) % self.size
        at = (rows[kept], places[kept])
        end_step, end_world = np.nonzero(ended)
        last = end_step >= skip
        after = (worlds[end_world[last]], (places[end_step[last], end_world[last]] + 1) % self.size)
        self.kind[at], self.kind[after] = PLAYED, LAST
        if self.priorities is not None:
            self.priorities.put(*at, drawable=True)
            self.priorities.put(*after, drawable=False)
        for module, batch in batches.items():
            for name, column in self.columns[module].items():
                column[at] = batch[name][kept]
                if name in SEEN:
                    column[after] = batch[FINAL + name][last]
        for name, column in self.columns[""].items():
            column[at] = any_batch[name][kept]
            column[after] = any_batch[FINAL + name][last]
        added = steps + ended.sum(axis=0)
        before = self.filled[worlds] if not skip else -offsets[skip]  # of what was skipped nothing is there
        self.head[worlds] = (self.head[worlds] + added) % self.size
        self.filled[worlds] = np.minimum(before + added, self.size)

    def _put_gaps(self, worlds: IntArray) -> None:
        """Keeps what comes apart from what was."""
        self.kind[worlds, self.head[worlds]] = GAP
        if self.priorities is not None:
            self.priorities.put(worlds, self.head[worlds], drawable=False)
        self.head[worlds] = (self.head[worlds] + 1) % self.size
        self.filled[worlds] = np.minimum(self.filled[worlds] + 1, self.size)

    def _allocate(self, batches: Mapping[str, Columned]) -> None:
        """Makes the rings, as long as memory allows: the first rollout says what a frame holds."""
        shapes: dict[str, dict[str, tuple[tuple[int, ...], Any]]] = {}
        for module, batch in batches.items():
            names = [name for name in batch if name not in (ENDED, BEGAN, STATE) and not name.startswith(FINAL)]
            shapes[module] = {name: (batch[name].shape[2:], _narrow(batch[name].dtype)) for name in names}
        any_batch = next(iter(batches.values()))
        shapes[""] = {STATE: (any_batch[STATE].shape[2:], np.float32)} if STATE in any_batch else {}
        frame = (
            1
            + PRIORITISED * bool(self.priority)
            + sum(
                int(np.prod(shape)) * np.dtype(kind).itemsize
                for each in shapes.values()
                for shape, kind in each.values()
            )
        )
        self.size = int(min(self.frames, self.memory // (frame * self.worlds)))
        if self.size < LEAST_FRAMES:
            least = LEAST_FRAMES * frame * self.worlds / 2**30
            raise ValueError(
                f"replay_memory: got {self.memory / 2**30:g}, allowed is {least:.3g} or more [GiB]: {LEAST_FRAMES} "
                f"frames of {self.worlds} worlds, {frame} bytes each"
            )
        self.kind = np.zeros((self.worlds, self.size), np.uint8)
        self._prioritise()
        self.columns = {
            module: {name: np.zeros((self.worlds, self.size, *shape), kind) for name, (shape, kind) in each.items()}
            for module, each in shapes.items()
        }

    def _prioritise(self) -> None:
        if self.priority:
            self.priorities = Priorities(self.worlds, self.size, self.priority, self.correction)

    # -- reading ---------------------------------------------------------------------------------------------------

    def sample(self, rows: int, *, gamma: float, steps: int, rng: np.random.Generator) -> dict[str, Columned]:
        """Draws transitions of whole worlds, all that can be had with the same probability unless there are priorities.

        Args:
            rows: Transitions `N`.
            gamma: Discount of a step.
            steps: Steps `n` that a transition has, fewer where the episode or the ring ends before.
            rng: Source of the draws.

        Returns:
            By module, arrays `[N, A, …]`: the columns, those of where it ends under `next_`, rewards summed with their
            discounts, and what the end counts; with priorities also what each counts in means, and which frame it is,
            `[N]` and `[N, 2]`. What is not there to draw from, such as steps that just happened, is left out.
        """
        return self._transitions(*self._draw(rows, rng), gamma, steps)[0]

    def sample_sequences(
        self, rows: int, *, gamma: float, steps: int, length: int, burn_in: int, rng: np.random.Generator
    ) -> dict[str, Columned]:
        """Draws runs of frames, for networks that remember: transitions in a row, and what was seen before them.

        Runs go past ends of episodes; the network starts from nothing there, as it does at a run's first frame, from
        which what it has in mind when the first transition comes is not what it was (Kapturowski et al. 2019, section
        3: hence frames to burn in).

        Args:
            rows: Sequences `N`; the first transition of each is drawn as `sample` does.
            gamma: Discount of a step.
            steps: Steps `n` that a transition has at most.
            length: Transitions `L` of a sequence.
            burn_in: Frames before the first of them.
            rng: Source of the draws.

        Returns:
            By module what `sample` returns, of all transitions, `[N * L, A, …]`, and which of them count; and of the
            sequences, of `R = burn_in + L + n` frames each, what was seen, with `alive` false in frames that are not
            there, where episodes begin, and in which frames transitions start and end.
        """
        worlds, first = self._draw(rows, rng)
        offsets = np.arange(-burn_in, length + steps)
        oldest = self.head[worlds] - self.filled[worlds]
        age = ((first - oldest) % self.size)[:, None] + offsets
        at = (worlds[:, None], (first[:, None] + offsets) % self.size)
        kind = np.where((age >= 0) & (age < self.filled[worlds, None]), self.kind[at], GAP)
        begins = np.ones(kind.shape, np.bool_)
        begins[:, 1:] = kind[:, :-1] != PLAYED
        learned = slice(burn_in, burn_in + length)
        each = (np.repeat(worlds, length), at[1][:, learned].ravel())
        batches, ends = self._transitions(*each, gamma, steps)
        starts = np.tile(np.arange(burn_in, burn_in + length), rows)
        counts = (kind[:, learned].ravel() == PLAYED) & self._leads_on(*each)
        there = kind != GAP
        for module, batch in batches.items():
            columns = self.columns[module]
            for name in (MASK, NEXT + OBS, NEXT + MASK):  # they are in the sequences
                batch.pop(name, None)
            batch |= {SEQUENCE + name: columns[name][at] for name in (OBS, MASK, ALIVE) if name in columns}
            batch[SEQUENCE + ALIVE] &= there[..., None]
            batch[ALIVE] &= counts[:, None]
            batch |= {BEGINS: begins, STARTS: starts, ENDS: starts + (ends - each[1]) % self.size, COUNTS: counts}
        return batches

    def _transitions(
        self, worlds: IntArray, places: IntArray, gamma: float, steps: int
    ) -> tuple[dict[str, Columned], IntArray]:
        """Transitions from given frames, as `sample` returns them, and the places where they end."""
        ends, rewards, discounts = self._walk(worlds, places, gamma, steps)
        batches: dict[str, Columned] = {}
        at, after = (worlds, places), (worlds, ends)
        shared = {name: column[at] for name, column in self.columns[""].items()}
        shared |= {NEXT + name: column[after] for name, column in self.columns[""].items()}
        if self.priorities is not None:
            shared[WEIGHTS] = self.priorities.weights(worlds, places, self.steps)
            shared[FRAMES] = np.stack([worlds, places], axis=1)
        for module, columns in self.columns.items():
            if not module:
                continue
            batch = {name: column[at] for name, column in columns.items() if name not in (REWARDS, TERMINATED)}
            batch |= {NEXT + name: columns[name][after] for name in SEEN if name in columns}
            batches[module] = batch | shared | {REWARDS: rewards[module], DISCOUNTS: discounts[module]}
        return batches, ends

    def _draw(self, rows: int, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
        """Worlds and places of frames that lead somewhere, `[N]` each."""
        spans = np.maximum(self.filled - 1, 0)
        bounds = spans.cumsum()
        if not bounds[-1]:
            raise ValueError("replay: got a sample from nothing, allowed is one once steps were taken")
        worlds, places = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
        left = np.arange(rows)
        while left.size:
            if self.priorities is not None:
                world, place = self.priorities.draw(left.size, rng)
            else:
                drawn = rng.integers(bounds[-1], size=left.size)
                world = np.searchsorted(bounds, drawn, side="right")
                age = drawn - (bounds[world] - spans[world])
                place = (self.head[world] - self.filled[world] + age) % self.size
            worlds[left], places[left] = world, place
            left = left[~self._leads_on(world, place)]
        return worlds, places

    def _leads_on(self, worlds: IntArray, places: IntArray) -> NDArray[np.bool_]:
        """Whether a frame was played, and what it led to is there."""
        following = (places + 1) % self.size
        newest = following == self.head[worlds]
        return (self.kind[worlds, places] == PLAYED) & (self.kind[worlds, following] != GAP) & ~newest

    def _walk(
        self, worlds: IntArray, places: IntArray, gamma: float, steps: int
    ) -> tuple[IntArray, dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Goes on by up to `steps` frames: where that ends; by module, rewards and discounts of the way, `[N, A]`."""
        modules = {module: columns for module, columns in self.columns.items() if module}
        rewards = {module: columns[REWARDS][worlds, places] for module, columns in modules.items()}
        discounts = {
            module: gamma * ~columns[TERMINATED][worlds, places].astype(np.bool_) for module, columns in modules.items()
        }
        discounts = {module: each.astype(np.float32) for module, each in discounts.items()}
        ends = (places + 1) % self.size
        going = np.ones(worlds.size, np.bool_)
        for _ in range(steps - 1):
            going &= self._leads_on(worlds, ends)
            if not going.any():
                break
            at = (worlds[going], ends[going])
            for module, columns in modules.items():
                rewards[module][going] += discounts[module][going] * columns[REWARDS][at]
                discounts[module][going] *= gamma * ~columns[TERMINATED][at]
            ends[going] = (ends[going] + 1) % self.size
        return ends, rewards, discounts

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def save(self, filesystem: FileSystem, folder: str) -> None:
        """Writes what is in the rings to a folder, a file a column, world by world: never is there a second copy."""
        filesystem.create_dir(folder, recursive=True)
        used = int(self.filled.max())
        for name, array in self._files().items():
            kept = array if array.ndim == 1 else array[:, :used]
            header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": kept.shape}
            with filesystem.open_output_stream(f"{folder}/{name}.npy") as file:
                np.lib.format.write_array_header_2_0(file, header)
                for part in [kept] if array.ndim == 1 else kept:
                    file.write(np.ascontiguousarray(part).data)

    def load(self, filesystem: FileSystem, folder: str) -> None:
        """Reads what `save` wrote, in a run with as many worlds.

        Raises:
            ValueError: If it is of another number of worlds.
        """
        paths = {info.base_name[: -len(".npy")]: info.path for info in filesystem.get_file_info(FileSelector(folder))}

        def read(name: str) -> NDArray[Any]:
            with filesystem.open_input_stream(paths.pop(name)) as file:
                return np.lib.format.read_array(file)

        size, *head = read("head").tolist()
        if len(head) != self.worlds:
            raise ValueError(f"replay: got one of {len(head)} worlds, allowed is one of this run's {self.worlds}")
        self.size, self.head, self.filled = size, np.array(head, np.int64), read("filled")
        self.kind, self.columns = self._ring(read("kind")), {"": {}}
        shares = self._ring(read(SHARES)) if SHARES in paths else (self.kind == PLAYED).astype(np.float32)
        self._prioritise()
        if self.priorities is not None:
            self.priorities.shares = shares
        for key in sorted(paths):
            module, _, name = key.rpartition("@")
            self.columns.setdefault(module, {})[name] = self._ring(read(key))

    def _ring(self, used: NDArray[Any]) -> NDArray[Any]:
        """A whole ring from the part of it that was in use."""
        ring = np.zeros((self.worlds, self.size, *used.shape[2:]), used.dtype)
        ring[:, : used.shape[1]] = used
        return ring

    def _files(self) -> Columned:
        files = {"head": np.array([self.size, *self.head]), "filled": self.filled, "kind": self.kind}
        if self.priorities is not None:
            files[SHARES] = self.priorities.shares
        for module, columns in self.columns.items():
            files |= {f"{module}@{name}": column for name, column in columns.items()}
        return files


def _narrow(kind: Any) -> Any:
    """How a column is kept: choices need no 64 bits."""
    return np.int16 if np.issubdtype(kind, np.integer) else kind
