"""The service without HTTP: versions on demand, sessions that keep to their version, canary and shadow counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serve.errors import BadRequest, NotFound, TooManyRequests, Unavailable
from serve.models import Canary, Models, ServedModel, ServedVersion
from serve.service import PolicyService, Reply
from serve.sessions import LocalSessions, Session, SessionStore
from serve.settings import ServeSettings


def body(rows: int = 1, value: float = 0.5, **parameters: object) -> bytes:
    inputs = [{"name": "observations", "datatype": "FP32", "shape": [rows, 11], "data": [value] * 11 * rows}]
    return json.dumps({"inputs": inputs, "parameters": parameters}).encode()


def outputs(reply: Reply) -> dict[str, Any]:
    return {each["name"]: each["data"] for each in json.loads(reply.body)["outputs"]}


def test_unloaded_version_is_fetched(as_model: Callable[..., ServedModel], small_version: ServedVersion) -> None:
    """A pinned version that is not loaded is asked for, and the snapshot that has it answers."""
    asked: list[tuple[str, str]] = []
    more = as_model(small_version, replace(small_version, version="7"))

    async def pin(name: str, which: str) -> Models | None:
        asked.append((name, which))
        return Models({"small": more}) if which == "7" else None

    service = PolicyService(ServeSettings(), Models({"small": as_model(small_version)}), pin=pin)
    assert asyncio.run(service.handle_infer("small", "7", {}, body())).version == "7"
    with pytest.raises(NotFound, match="got '8'"):
        asyncio.run(service.handle_infer("small", "8", {}, body()))
    with pytest.raises(NotFound, match="got 'large'"):
        asyncio.run(service.handle_infer("large", "7", {}, body()))
    assert asked == [("small", "7"), ("small", "8")]


def test_session_keeps_its_version(as_model: Callable[..., ServedModel], recurrent_version: ServedVersion) -> None:
    """After a reload a session goes on with the version that it began with; when that is gone it begins anew."""
    one, two = recurrent_version, replace(recurrent_version, version="2")
    service = PolicyService(ServeSettings(), Models({"recurrent": as_model(one, two)}))

    def ask() -> Reply:
        return asyncio.run(service.handle_infer("recurrent", None, {}, body(session="s")))

    first, second = ask(), ask()
    assert outputs(first)["state"] != outputs(second)["state"]
    service.models = Models({"recurrent": replace(as_model(two, one))})
    third = ask()
    assert third.version == "1"
    assert outputs(third)["state"] not in (outputs(first)["state"], outputs(second)["state"])
    service.models = Models({"recurrent": as_model(two)})
    anew = ask()
    assert anew.version == "2"
    assert outputs(anew)["state"] == outputs(first)["state"]


def test_nobody_goes_on_with_anothers_session(
    recurrent_version: ServedVersion, as_model: Callable[..., ServedModel]
) -> None:
    """The same session id from another key begins anew."""
    service = PolicyService(ServeSettings(), Models({"recurrent": as_model(recurrent_version)}))

    def ask(caller: str) -> object:
        return outputs(asyncio.run(service.handle_infer("recurrent", None, {}, body(session="s"), caller)))["state"]

    first, again, other = ask("ann"), ask("ann"), ask("bob")
    assert again != first
    assert other == first


def test_a_refused_explanation_leaves_its_session(
    recurrent_version: ServedVersion, as_model: Callable[..., ServedModel]
) -> None:
    """A request that asks for too much explanation is refused before its session has gone on."""
    service = PolicyService(ServeSettings(), Models({"recurrent": as_model(recurrent_version)}))

    def ask(steps: int, **more: object) -> Any:
        content = {"observations": [{"ann": [0.5] * 11}] * steps, "session": "s", **more}
        return json.loads(asyncio.run(service.handle_act("recurrent", {}, json.dumps(content).encode(), "r")).body)

    with pytest.raises(BadRequest, match=r"^explain: "):
        ask(1500, explain=1)
    assert ask(1)["state"] == ask(1, session="other")["state"]


def test_pinned_session_gets_its_pin(as_model: Callable[..., ServedModel], recurrent_version: ServedVersion) -> None:
    """A pin counts more than the session's version."""
    two = replace(recurrent_version, version="2")
    service = PolicyService(ServeSettings(), Models({"recurrent": as_model(recurrent_version, two)}))
    asyncio.run(service.handle_infer("recurrent", "2", {}, body(session="s")))
    assert asyncio.run(service.handle_infer("recurrent", "1", {}, body(session="s"))).version == "1"


def test_session_of_a_policy_without_memory(local_service: PolicyService) -> None:
    """A session means nothing to a policy without memory, and costs nothing."""
    one = asyncio.run(local_service.handle_infer("small", None, {}, body(session="s")))
    other = asyncio.run(local_service.handle_infer("small", None, {}, body()))
    assert outputs(one) == outputs(other)
    assert asyncio.run(local_service.sessions.get("small/s")) is None


@pytest.fixture
def two_versions(
    small_version: ServedVersion,
    as_version: Callable[..., ServedVersion],
    make_bundle: Callable[..., Path],
    tmp_path: Path,
) -> tuple[ServedVersion, ServedVersion]:
    """Two versions of `small` that act differently."""
    return small_version, as_version(make_bundle(tmp_path / "other", seed=1), "small", "2")


def counters_of(service: PolicyService, name: str) -> dict[tuple[str, ...], float]:
    return {labels: count for (of, labels), count in service.own_snapshot().counters.items() if of == name}


def test_canary_is_counted(
    as_model: Callable[..., ServedModel], two_versions: tuple[ServedVersion, ServedVersion]
) -> None:
    """Answers say which version gave them, and the canary's are counted."""
    model = replace(as_model(*two_versions), canary=Canary("2", 50))
    service = PolicyService(ServeSettings(), Models({"small": model}))

    async def ask() -> list[str]:
        return [(await service.handle_infer("small", None, {}, body())).version for _ in range(100)]

    versions = asyncio.run(ask())
    assert counters_of(service, "entrepot_canary_requests") == {("small", "2"): versions.count("2")}
    assert 20 < versions.count("2") < 80


def test_shadow_is_compared(
    as_model: Callable[..., ServedModel], two_versions: tuple[ServedVersion, ServedVersion]
) -> None:
    """The shadow never answers; its actions are compared with those given, samples are not."""
    model = replace(as_model(*two_versions), shadow="2")
    service = PolicyService(ServeSettings(), Models({"small": model}))

    async def ask() -> set[str]:
        versions = set()
        for deterministic in (True, True, False):
            reply = await service.handle_infer("small", None, {}, body(4, deterministic=deterministic))
            versions.add(reply.version)
            await asyncio.sleep(0.05)
        return versions

    assert asyncio.run(ask()) == {"1"}
    labels = ("small", "1", "2")
    assert counters_of(service, "entrepot_shadow_requests") == {labels: 2}
    assert counters_of(service, "entrepot_shadow_rows") == {labels: 8}
    assert counters_of(service, "entrepot_shadow_differing_rows") == {labels: 8}
    assert counters_of(service, "entrepot_shadow_difference")[labels] > 0


def test_shadow_of_another_shape_only_counts(
    as_model: Callable[..., ServedModel], small_version: ServedVersion, team_version: ServedVersion
) -> None:
    """A shadow that cannot read what is asked is counted as failing, and the request is answered all the same."""
    strange = replace(team_version, name="small", version="9")
    model = replace(as_model(small_version, strange), shadow="9")
    service = PolicyService(ServeSettings(), Models({"small": model}))

    async def ask() -> str:
        reply = await service.handle_infer("small", None, {}, body())
        await asyncio.sleep(0.05)
        return reply.version

    assert asyncio.run(ask()) == "1"
    found = counters_of(service, "entrepot_shadow_failures") | counters_of(service, "entrepot_shadow_requests")
    assert sum(found.values()) == 1


def test_swap_is_seen_by_the_next_request(
    as_model: Callable[..., ServedModel], two_versions: tuple[ServedVersion, ServedVersion]
) -> None:
    """A request under way keeps its version; the next one has the new snapshot."""
    one, two = two_versions
    service = PolicyService(ServeSettings(), Models({"small": as_model(one)}))

    async def ask() -> list[str]:
        under_way = [asyncio.ensure_future(service.handle_infer("small", None, {}, body())) for _ in range(3)]
        await asyncio.sleep(0)
        service.models = Models({"small": as_model(two)}, 2)
        late = await service.handle_infer("small", None, {}, body())
        return [reply.version for reply in await asyncio.gather(*under_way)] + [late.version]

    assert asyncio.run(ask()) == ["1", "1", "1", "2"]


def test_served_versions_are_shown(as_model: Callable[..., ServedModel], small_version: ServedVersion) -> None:
    """The figures say which versions are loaded, and what they are called."""
    service = PolicyService(ServeSettings(), Models({"small": as_model(replace(small_version, aliases=("champion",)))}))
    gauges = service.own_snapshot().gauges
    assert gauges["entrepot_served", ("small", "1", "champion")] == 1


def act(service: PolicyService, agents: list[str], **fields: object) -> dict[str, Any]:
    plain = {"observations": {agent: [0.5] * 11 for agent in agents}, "session": "s", **fields}
    found: dict[str, Any] = json.loads(
        asyncio.run(service.handle_act("recurrent", {}, json.dumps(plain).encode(), "id")).body
    )
    return found


@pytest.fixture
def recurrent(as_model: Callable[..., ServedModel], recurrent_version: ServedVersion) -> Models:
    """A snapshot of one recurrent model."""
    return Models({"recurrent": as_model(recurrent_version)})


def test_a_state_for_one_agent_leaves_the_others_theirs(recurrent: Models) -> None:
    """An agent that brings a state goes on from it, and its companions from what the session remembers."""
    service, other = PolicyService(ServeSettings(), recurrent), PolicyService(ServeSettings(), recurrent)
    for each in (service, other):
        act(each, ["ann", "bob"])
    mixed = act(service, ["ann", "bob"], state={"ann": [0.0] * 4})["state"]
    assert mixed["bob"] == act(other, ["ann", "bob"])["state"]["bob"]
    assert mixed["ann"] == act(PolicyService(ServeSettings(), recurrent), ["ann"])["state"]["ann"]


def test_overlapping_requests_of_a_session_are_all_remembered(recurrent: Models) -> None:
    """Two requests for different agents of one session, under way together, lose nothing of each other."""

    class Slow(LocalSessions):
        async def get(self, key: str) -> Session | None:
            found = await super().get(key)
            await asyncio.sleep(0.02)
            return found

    service = PolicyService(ServeSettings(), recurrent, sessions=Slow(SessionStore(10.0, 3)))

    async def ask() -> set[str]:
        plain = [{"observations": {agent: [0.5] * 11}, "session": "s"} for agent in ("ann", "bob")]
        await asyncio.gather(*(service.handle_act("recurrent", {}, json.dumps(each).encode(), "id") for each in plain))
        session = await service.sessions.get("\0".join(("", "recurrent", "s")))
        assert session is not None
        return set(session.states["shared"])

    assert asyncio.run(ask()) == {"ann", "bob"}


def test_sessions_are_bounded_by_agents(recurrent: Models) -> None:
    """Agents whose names the client makes up fill a session only so far, and their names are only so long."""
    service = PolicyService(ServeSettings(max_session_rows=2), recurrent)
    act(service, ["ann", "bob"])
    with pytest.raises(BadRequest, match=r"^session: got more .* allowed are 2"):
        act(service, ["zoe"])
    with pytest.raises(BadRequest, match="name of 129 characters, allowed are 128"):
        act(service, ["z" * 129])


def test_few_versions_are_fetched_at_once(as_model: Callable[..., ServedModel], small_version: ServedVersion) -> None:
    """Requests for one version share the work, other versions than the bound allows must wait, and nonsense is none."""
    asked: list[str] = []
    go = asyncio.Event()

    async def pin(name: str, which: str) -> Models | None:
        asked.append(which)
        await go.wait()
        return Models({"small": as_model(small_version, replace(small_version, version="7"))})

    service = PolicyService(ServeSettings(max_pinning=1), Models({"small": as_model(small_version)}), pin=pin)

    async def ask() -> None:
        for wrong in ("a b", "x" * 257, "../7", ""):
            with pytest.raises(NotFound):
                await service.choose("small", wrong)
        first = [asyncio.ensure_future(service.choose("small", "7")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests, match="'8' is not loaded"):
            await service.choose("small", "8")
        go.set()
        assert {choice.version.version for choice in await asyncio.gather(*first)} == {"7"}
        with pytest.raises(Unavailable, match="'8' cannot be had just now"):
            await service.choose("small", "8")
        assert asked == ["7", "8"]

    asyncio.run(ask())
