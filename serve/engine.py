"""Runs rows of observations through policies: requests that are ready together share one call of the runtime.

Nothing waits for company. Requests whose bytes came in the same turn of the event loop are parsed one after the
other, and the call that they share runs when the last of them has handed in its rows. Where turns have had one request
each, the first of a turn runs at once, and only those that come beside it share a call. Calls of many rows run in
threads (the runtime lets go of the interpreter's lock), so that small ones pass them by. Whole worlds share no call:
what agents that need each other see is never beside what another request brought.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from policies.bundle import Inference
from serve.models import ServedVersion
from serve.protocol.rows import ModuleRows

_PARTS = tuple(field.name for field in fields(Inference))


class _Call:
    """Rows that wait for their turn, and where the answer goes."""

    __slots__ = ("future", "rows", "seed", "size")

    def __init__(self, rows: ModuleRows, seed: int | None, future: asyncio.Future[Inference]) -> None:
        self.rows = rows
        self.seed = seed
        self.size = len(rows.observations)
        self.future = future


_Key = tuple[ServedVersion, str, bool, bool]


class Engine:
    """Answers rows, many requests at a time. For the thread of one event loop.

    Args:
        big_rows: Calls of more rows than this run in a thread; also the most rows that requests share one call with.
        threads: Threads for them.
        on_batch: Told of each call of the runtime: the version, its rows, and how many requests shared it.

    Attributes:
        pool: The threads, for other work that would hold up the event loop.
    """

    def __init__(
        self,
        *,
        big_rows: int = 512,
        threads: int = 1,
        on_batch: Callable[[ServedVersion, int, int], None] = lambda version, rows, requests: None,
    ) -> None:
        self._big_rows = big_rows
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="policy")
        self._on_batch = on_batch
        self._waiting: dict[_Key, list[_Call]] = {}
        self._alone: list[tuple[_Key, _Call]] = []
        self._due = False
        self._arrived = 0
        self._lonely = True
        self._rng = np.random.default_rng()  # NumPy locks it for each draw: threads may share it

    async def answer(
        self,
        version: ServedVersion,
        rows: Mapping[str, ModuleRows],
        *,
        deterministic: bool = True,
        seed: int | None = None,
    ) -> dict[str, Inference]:
        """Answers what one request asks.

        Args:
            version: The version that answers.
            rows: What is asked, by module; shapes must fit, which the protocol sees to.
            deterministic: Take the most likely actions instead of sampling.
            seed: Seed of the samples, if they are to be the same again. The rows then share no call, and each module
                draws by itself, so that the same seed gives the same actions whoever else asks, and whatever else.

        Returns:
            The answers by module, in the order asked.

        Raises:
            ValueError: If rows do not fit the module.
        """
        loop = asyncio.get_running_loop()
        self._arrived += 1
        if not self._due:
            self._due = True
            loop.call_soon(self._run)
            if self._lonely and all(len(given.observations) <= self._big_rows for given in rows.values()):
                return {
                    module: self._at_once(version, module, given, deterministic, seed) for module, given in rows.items()
                }
        futures = {
            module: self._hand_in(loop, version, module, given, deterministic, seed) for module, given in rows.items()
        }
        # A future that has failed holds its error, and the error this frame: no name here may hold the future.
        if len(futures) == 1:
            (module,) = futures
            return {module: await futures.pop(module)}
        modules = tuple(futures)
        found = await asyncio.gather(*[futures.pop(module) for module in modules])
        return dict(zip(modules, found, strict=True))

    def close(self) -> None:
        """Lets the threads end."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def _hand_in(
        self,
        loop: asyncio.AbstractEventLoop,
        version: ServedVersion,
        module: str,
        rows: ModuleRows,
        deterministic: bool,
        seed: int | None,
    ) -> asyncio.Future[Inference]:
        call = _Call(rows, seed, loop.create_future())
        key = (version, module, deterministic, rows.state is None)
        if rows.alive is not None or (not deterministic and seed is not None):
            self._alone.append((key, call))
        else:
            calls = self._waiting.get(key)
            if calls is None:
                self._waiting[key] = [call]
            else:
                calls.append(call)
        return call.future

    def _at_once(
        self,
        version: ServedVersion,
        module: str,
        rows: ModuleRows,
        deterministic: bool,
        seed: int | None,
    ) -> Inference:
        self._on_batch(version, len(rows.observations), 1)
        return self._infer(version, module, rows, deterministic, seed)

    def _run(self) -> None:
        """Runs all that has been handed in since the last turn."""
        waiting, alone = self._waiting, self._alone
        self._waiting, self._alone, self._due = {}, [], False
        self._lonely, self._arrived = self._arrived <= 1, 0
        for key, calls in waiting.items():
            for together in self._shared(calls):
                self._start(key, together)
        for key, call in alone:
            if not call.future.done():
                self._start(key, [call])

    def _shared(self, calls: list[_Call]) -> list[list[_Call]]:
        """Who shares a call with whom: up to `big_rows` rows, in the order handed in; big ones are alone."""
        if len(calls) == 1:
            return [] if calls[0].future.done() else [calls]
        batches: list[list[_Call]] = []
        batch: list[_Call] = []
        rows = 0
        for call in calls:
            if call.future.done():  # cancelled while it waited
                continue
            if batch and rows + call.size > self._big_rows:
                batches.append(batch)
                batch, rows = [], 0
            batch.append(call)
            rows += call.size
        if batch:
            batches.append(batch)
        return batches

    def _start(self, key: _Key, calls: list[_Call]) -> None:
        """Runs a call here, or in a thread if it is big."""
        rows = sum(call.size for call in calls) if len(calls) > 1 else calls[0].size
        self._on_batch(key[0], rows, len(calls))
        if rows <= self._big_rows:
            _deliver(calls, self._outcomes(key, calls))
            return
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self.pool, self._outcomes, key, calls)
        running.add_done_callback(lambda done: _deliver(calls, _outcomes_of(done, calls)))

    def _outcomes(self, key: _Key, calls: Sequence[_Call]) -> list[Inference | Exception]:
        """What comes of each call: an answer or the error that is its own. Runs in any thread."""
        version, module, deterministic, _ = key
        try:
            if len(calls) == 1:
                call = calls[0]
                return [self._infer(version, module, call.rows, deterministic, call.seed)]
            whole = self._infer(version, module, _joined([call.rows for call in calls]), deterministic, None)
        except Exception as error:
            if len(calls) == 1:
                return [_alone(error)]
            return [outcome for call in calls for outcome in self._outcomes(key, [call])]
        arrays: list[Any] = [getattr(whole, part) for part in _PARTS]
        outcomes: list[Inference | Exception] = []
        start = 0
        for call in calls:
            stop = start + call.size
            own: Any = [None if array is None else array[start:stop] for array in arrays]
            outcomes.append(Inference(*own))
            start = stop
        return outcomes

    def _infer(
        self,
        version: ServedVersion,
        module: str,
        rows: ModuleRows,
        deterministic: bool,
        seed: int | None,
    ) -> Inference:
        recurrent: dict[str, Any] = {} if rows.state is None else {"state": rows.state}
        return version.policy.infer(
            module,
            rows.observations,
            rows.masks,
            alive=rows.alive,
            deterministic=deterministic,
            rng=None if deterministic else self._rng if seed is None else _seeded(seed, module),
            **recurrent,
        )


def _seeded(seed: int, module: str) -> np.random.Generator:
    """A module's own source of randomness; modules run side by side, so none may draw from another's."""
    return np.random.default_rng([seed, crc32(module.encode())])


def _joined(rows: Sequence[ModuleRows]) -> ModuleRows:
    """Rows of several requests as one; who gave no mask allows everything."""
    observations = np.concatenate([each.observations for each in rows])
    state = None if rows[0].state is None else np.concatenate([each.state for each in rows if each.state is not None])
    width = next((each.masks.shape[1] for each in rows if each.masks is not None), None)
    if width is None:
        return ModuleRows(observations, None, state)
    masks: list[NDArray[np.bool_]] = [
        np.ones((len(each.observations), width), np.bool_) if each.masks is None else each.masks for each in rows
    ]
    return ModuleRows(observations, np.concatenate(masks), state)


def _outcomes_of(
    done: asyncio.Future[list[Inference | Exception]], calls: Sequence[_Call]
) -> Sequence[Inference | Exception]:
    """What came out of a thread; if it could not run, the same error for all."""
    if done.cancelled():
        return [RuntimeError("the service is closing")] * len(calls)
    error = done.exception()
    if error is not None:
        return [RuntimeError(str(error))] * len(calls)
    return done.result()


def _alone(error: Exception) -> Exception:
    """An error that is to be kept: without the frames that it came through, which hold rows, but with their names."""
    error.add_note(traceback.format_exc())
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _deliver(calls: Sequence[_Call], outcomes: Sequence[Inference | Exception]) -> None:
    """Hands each request its own, unless it has gone."""
    for call, outcome in zip(calls, outcomes, strict=True):
        if call.future.done():
            continue
        if isinstance(outcome, Exception):
            call.future.set_exception(outcome)
        else:
            call.future.set_result(outcome)
