"""How many requests a replica takes on: so many at once, so many in line, and the others are told to come back."""

from __future__ import annotations

import asyncio
from collections import deque

from serve.errors import TooManyRequests


class Admission:
    """Places for requests. For the thread of one event loop.

    Args:
        places: Requests worked on at once.
        line: Requests that wait for a place; more are refused.
        patience: How long a request waits for a place, or for its refusal [s].
        retry_after: When who is refused is told to come back [s].
        does: What the service does, for the refusal; `{}` stands for the places.

    Attributes:
        refused: Requests refused so far.
    """

    def __init__(
        self,
        places: int,
        line: int,
        patience: float,
        retry_after: float,
        does: str = "works on {} requests at once",
    ) -> None:
        self._places = places
        self._line = line
        self._patience = patience
        self._retry_after = retry_after
        self._does = does.format(places)
        self._taken = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self.refused = 0

    @property
    def in_flight(self) -> int:
        """Requests that have a place."""
        return self._taken

    @property
    def queued(self) -> int:
        """Requests that wait for one."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether there is no place, not even in line."""
        return self._taken >= self._places and len(self._waiting) >= self._line

    def enter(self) -> bool:
        """Takes a place if one is free and nobody waits for it."""
        if self._taken < self._places and not self._waiting:
            self._taken += 1
            return True
        return False

    async def wait(self) -> None:
        """Takes a place as soon as one is free, first come, first served.

        Raises:
            TooManyRequests: If none is within the patience, or the line is full.
        """
        if self.enter():
            return
        if self.full:
            await self.refuse()
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(turn)
        timer = loop.call_later(self._patience, self._give_up, turn)
        try:
            if not await turn:
                self.refused += 1
                raise self._refusal()
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.result():
                self.leave()  # had been given its place in the same moment
            else:
                self._step_out(turn)
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Gives a place back, to the first in line if there is one."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(True)  # the place passes on
                return
        self._taken -= 1

    async def refuse(self) -> None:
        """Refuses a request, but not at once: who comes back at once would cost more than who is served.

        Raises:
            TooManyRequests: Always.
        """
        self.refused += 1
        await asyncio.sleep(self._patience)
        raise self._refusal()

    def _refusal(self) -> TooManyRequests:
        return TooManyRequests(
            f"load: the service {self._does} and has {self._line} in line; come back later",
            self._retry_after,
        )

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            turn.set_result(False)
            self._step_out(turn)

    def _step_out(self, turn: asyncio.Future[bool]) -> None:
        if turn in self._waiting:
            self._waiting.remove(turn)
