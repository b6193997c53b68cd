"""The engine: shared calls give what lone ones give, and nobody's trouble is anybody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from policies.bundle import Inference
from serve.engine import Engine
from serve.models import ServedVersion
from serve.protocol.rows import ModuleRows

SHARED = "shared"


class Counting:
    """An engine that takes down its calls."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[tuple[int, int]] = []
        self.engine = Engine(on_batch=lambda version, rows, requests: self.calls.append((rows, requests)), **options)


@pytest.fixture
def counting() -> Iterator[Callable[..., Counting]]:
    """Makes engines, and closes them."""
    made: list[Counting] = []

    def make(**options: Any) -> Counting:
        made.append(Counting(**options))
        return made[-1]

    yield make
    for each in made:
        each.engine.close()


def rows_of(count: int, seed: int = 0, width: int = 11) -> ModuleRows:
    return ModuleRows(np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32))


def same(one: Inference, other: Inference) -> None:
    np.testing.assert_allclose(one.actions, other.actions, atol=1e-6)
    np.testing.assert_allclose(one.log_probs, other.log_probs, atol=1e-5)
    assert one.values is not None
    assert other.values is not None
    np.testing.assert_allclose(one.values, other.values, atol=1e-5)


def test_requests_of_one_turn_share_a_call(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """Twenty requests take two calls, the first's and one for the rest, and each gets its own rows' answers."""
    made = counting()
    asked = [rows_of(1 + index % 3, index) for index in range(20)]

    async def ask() -> list[dict[str, Inference]]:
        return await asyncio.gather(*[made.engine.answer(small_version, {SHARED: rows}) for rows in asked])

    answers = asyncio.run(ask())
    assert [requests for _, requests in made.calls] == [1, 19]
    for rows, answer in zip(asked, answers, strict=True):
        same(answer[SHARED], small_version.policy.infer(SHARED, rows.observations))


def test_after_a_busy_turn_all_share(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """Where the last turn had several requests, the first of the next waits for the others too."""
    made = counting()

    async def ask() -> None:
        for _ in range(3):
            await asyncio.gather(*[made.engine.answer(small_version, {SHARED: rows_of(2)}) for _ in range(4)])

    asyncio.run(ask())
    assert [requests for _, requests in made.calls] == [1, 3, 4, 4]


def test_lone_request_runs_at_once(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """Alone, a request is answered without giving the event loop a turn."""
    made = counting()

    async def ask() -> bool:
        coroutine = made.engine.answer(small_version, {SHARED: rows_of(1)})
        with pytest.raises(StopIteration):
            coroutine.send(None)
        return True

    assert asyncio.run(ask())
    assert made.calls == [(1, 1)]


def test_masks_given_and_not_share(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """Who gives no mask is not masked by the others' masks."""
    made = counting()
    shut = ModuleRows(rows_of(1).observations, np.zeros((1, 3), np.bool_))

    async def ask() -> list[dict[str, Inference]]:
        asked = [rows_of(1), shut, rows_of(1)]
        return await asyncio.gather(*[made.engine.answer(small_version, {SHARED: rows}) for rows in asked])

    free, masked, other = (answer[SHARED].actions for answer in asyncio.run(ask()))
    assert (masked == 0).all()
    assert (free != 0).all()
    np.testing.assert_allclose(free, other, atol=1e-6)


def test_seed_gives_the_same_whoever_asks(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """A seeded request gets the same bits alone and in company."""
    made = counting()

    async def ask(company: int) -> Inference:
        mine = made.engine.answer(small_version, {SHARED: rows_of(3)}, deterministic=False, seed=7)
        others = [
            made.engine.answer(small_version, {SHARED: rows_of(2, seed)}, deterministic=False)
            for seed in range(company)
        ]
        return (await asyncio.gather(*others, mine))[-1][SHARED]

    alone, among = asyncio.run(ask(0)), asyncio.run(ask(9))
    np.testing.assert_array_equal(alone.actions, among.actions)
    np.testing.assert_array_equal(alone.log_probs, among.log_probs)


def test_seed_gives_the_same_whatever_else_is_asked(
    counting: Callable[..., Counting], team_version: ServedVersion
) -> None:
    """A module's samples hang on the seed alone, not on the other modules, their order, or who runs in a thread."""
    few, many = rows_of(2), rows_of(100)

    def ask(engine: Engine, rows: dict[str, ModuleRows]) -> dict[str, Inference]:
        return asyncio.run(engine.answer(team_version, rows, deterministic=False, seed=7))

    here, threaded = counting().engine, counting(big_rows=50).engine
    alone = ask(here, {"first": few})
    for among in (
        ask(here, {SHARED: many, "first": few}),
        ask(here, {"first": few, SHARED: many}),
        ask(threaded, {SHARED: many, "first": few}),
    ):
        np.testing.assert_array_equal(among["first"].actions, alone["first"].actions)
        np.testing.assert_array_equal(among["first"].log_probs, alone["first"].log_probs)


def test_unseeded_samples_differ(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """Without a seed two requests for the same rows get other samples."""
    made = counting()

    async def ask() -> list[dict[str, Inference]]:
        return await asyncio.gather(
            *[made.engine.answer(small_version, {SHARED: rows_of(1)}, deterministic=False) for _ in range(3)]
        )

    one, two, three = (answer[SHARED].actions for answer in asyncio.run(ask()))
    assert not np.array_equal(one, two)
    assert not np.array_equal(two, three)


def test_failing_request_fails_alone(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """Rows of the wrong width, which the protocol would have refused, harm nobody who shares their call."""
    made = counting()

    async def ask() -> list[Any]:
        asked = [rows_of(1), rows_of(1), rows_of(1, width=12), rows_of(1)]
        return await asyncio.gather(
            *[made.engine.answer(small_version, {SHARED: rows}) for rows in asked], return_exceptions=True
        )

    answers = asyncio.run(ask())
    assert isinstance(answers[2], ValueError)
    for index in (0, 1, 3):
        same(answers[index][SHARED], small_version.policy.infer(SHARED, rows_of(1).observations))


def test_cancelled_request_is_left_out(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """A request that gave up while it waited is not run, and the others are answered."""
    made = counting()

    async def ask() -> list[Any]:
        first = asyncio.ensure_future(made.engine.answer(small_version, {SHARED: rows_of(1)}))
        tasks = [asyncio.ensure_future(made.engine.answer(small_version, {SHARED: rows_of(1)})) for _ in range(3)]
        asyncio.get_running_loop().call_soon(tasks[1].cancel)
        return await asyncio.gather(first, *tasks, return_exceptions=True)

    answers = asyncio.run(ask())
    assert isinstance(answers[2], asyncio.CancelledError)
    assert [isinstance(answer, dict) for answer in answers] == [True, True, False, True]


def test_big_call_lets_small_ones_pass(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """A call of many rows runs in a thread: small requests are answered before it."""
    made = counting(big_rows=64)
    order: list[str] = []

    async def ask(name: str, rows: ModuleRows) -> Inference:
        answer = (await made.engine.answer(small_version, {SHARED: rows}))[SHARED]
        order.append(name)
        return answer

    big = rows_of(60_000)

    async def both() -> Inference:
        return (await asyncio.gather(ask("big", big), ask("small", rows_of(1))))[0]

    answer = asyncio.run(both())
    assert order == ["small", "big"]
    same(answer, small_version.policy.infer(SHARED, big.observations))


def test_shared_calls_are_bounded(counting: Callable[..., Counting], small_version: ServedVersion) -> None:
    """Requests share calls of at most `big_rows` rows."""
    made = counting(big_rows=10)

    async def ask() -> None:
        await asyncio.gather(*[made.engine.answer(small_version, {SHARED: rows_of(4)}) for _ in range(6)])

    asyncio.run(ask())
    assert [rows for rows, _ in made.calls] == [4, 8, 8, 4]


def test_modules_and_states(
    counting: Callable[..., Counting], team_version: ServedVersion, recurrent_version: ServedVersion
) -> None:
    """Several modules are answered in one request; recurrent rows with and without state keep apart."""
    made = counting()
    team = {"shared": rows_of(2), "cid": rows_of(1, width=8), "dan": rows_of(1, width=8)}
    state = np.full((1, 4), 0.5, np.float32)

    async def ask() -> list[dict[str, Inference]]:
        fresh, going = rows_of(1), ModuleRows(rows_of(1).observations, None, state)
        return await asyncio.gather(
            made.engine.answer(
                team_version, {module: team[module] for module in team_version.modules if module in team}
            ),
            *[made.engine.answer(recurrent_version, {SHARED: rows}) for rows in (fresh, going, fresh, going)],
        )

    first, *others = asyncio.run(ask())
    assert {len(answer.actions) for answer in first.values()} <= {1, 2}
    new, gone = others[0][SHARED], others[1][SHARED]
    assert new.state is not None
    assert gone.state is not None
    assert not np.allclose(new.state, gone.state)
    wanted = recurrent_version.policy.infer(SHARED, rows_of(1).observations, state=state)
    assert wanted.state is not None
    np.testing.assert_allclose(gone.state, wanted.state, atol=1e-6)
