"""Admission: so many at once, so many in line, and refusals that cost little and come slowly."""

from __future__ import annotations

import asyncio
import time

import pytest

from serve.admission import Admission
from serve.errors import TooManyRequests


def test_places_then_line_then_refusal() -> None:
    """Two at once, three in line; the sixth is refused, and told when to come back."""

    async def run() -> None:
        admission = Admission(2, 3, 0.05, 1.5)
        assert admission.enter()
        assert admission.enter()
        assert not admission.enter()
        waiting = [asyncio.ensure_future(admission.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        assert (admission.in_flight, admission.queued, admission.full) == (2, 3, True)
        with pytest.raises(TooManyRequests) as caught:
            await admission.wait()
        assert caught.value.headers == {"retry-after": "2"}
        assert caught.value.message.startswith("load: ")
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())


def test_first_come_first_served() -> None:
    """Places pass on in the order of the line, and none is lost or made."""

    async def run() -> list[int]:
        admission = Admission(1, 10, 5.0, 1.0)
        assert admission.enter()
        order: list[int] = []

        async def work(index: int) -> None:
            await admission.wait()
            order.append(index)
            await asyncio.sleep(0)
            assert admission.in_flight == 1
            admission.leave()

        tasks = [asyncio.ensure_future(work(index)) for index in range(5)]
        await asyncio.sleep(0)
        admission.leave()
        await asyncio.gather(*tasks)
        assert (admission.in_flight, admission.queued) == (0, 0)
        return order

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_patience_ends() -> None:
    """Who has waited long enough is refused, and is out of line."""

    async def run() -> float:
        admission = Admission(1, 10, 0.05, 1.0)
        assert admission.enter()
        began = time.monotonic()
        with pytest.raises(TooManyRequests):
            await admission.wait()
        assert (admission.in_flight, admission.queued, admission.refused) == (1, 0, 1)
        admission.leave()
        assert admission.enter()
        return time.monotonic() - began

    assert asyncio.run(run()) >= 0.05


def test_refusal_takes_its_time() -> None:
    """A refusal is not given at once: clients that come back at once would eat the time of those that are served."""

    async def run() -> float:
        admission = Admission(1, 0, 0.1, 1.0)
        assert admission.enter()
        began = time.monotonic()
        results = await asyncio.gather(*[admission.wait() for _ in range(50)], return_exceptions=True)
        assert all(isinstance(result, TooManyRequests) for result in results)
        return time.monotonic() - began

    assert 0.1 <= asyncio.run(run()) < 1.0


@pytest.mark.parametrize("moment", ["waiting", "given"])
def test_cancelled_in_line_loses_no_place(moment: str) -> None:
    """A request that goes away while it waits, or just as it gets its place, leaves as many places as there were."""

    async def run() -> None:
        admission = Admission(1, 5, 5.0, 1.0)
        assert admission.enter()
        gone = asyncio.ensure_future(admission.wait())
        await asyncio.sleep(0)
        if moment == "given":
            admission.leave()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        if moment == "waiting":
            admission.leave()
        assert (admission.in_flight, admission.queued) == (0, 0)
        assert admission.enter()
        assert not admission.enter()

    asyncio.run(run())
