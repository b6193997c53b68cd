"""The clients, over connections that fail as connections do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from serve.client import (
    AsyncPolicyClient,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PolicyClient,
    Retries,
    UnavailableError,
)
from serve.models import ServedVersion

Outcome = httpx.Response | Exception
QUICK = Retries(most=3, backoff=0.001, longest=5.0)
ANSWER = orjson.dumps(
    {
        "model_name": "m",
        "model_version": "3",
        "outputs": [{"name": "actions", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -0.5]}],
    }
)


def good() -> httpx.Response:
    return httpx.Response(200, content=ANSWER, headers={"x-request-id": "r9"})


class Wire:
    """A network that does what it was told, in order, and remembers what went over it."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[httpx.Request] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        """Answers a request, or breaks."""
        self.requests.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def both(wire: Wire, ask: Callable[[Any], Any], asynchronous: bool, **options: Any) -> Any:
    """Asks with one client or the other."""
    transport = httpx.MockTransport(wire.handle)
    options = {"retries": QUICK, "transport": transport, **options}
    if not asynchronous:
        with PolicyClient("http://test", **options) as client:
            return ask(client)

    async def run() -> Any:
        async with AsyncPolicyClient("http://test", **options) as client:
            return await ask(client)

    return asyncio.run(run())


def real(url: str, ask: Callable[[Any], Any], asynchronous: bool) -> Any:
    """Asks a real service with one client or the other."""
    if not asynchronous:
        with PolicyClient(f"http://{url}") as client:
            return ask(client)

    async def run() -> Any:
        async with AsyncPolicyClient(f"http://{url}") as client:
            return await ask(client)

    return asyncio.run(run())


pytestmark = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def test_trouble_that_passes_is_not_seen(asynchronous: bool) -> None:
    """A full service, a lost connection and one that is not there yet are tried again, with the same request."""
    wire = Wire(httpx.Response(429), httpx.ReadError("reset"), httpx.ConnectError("refused"), good())
    answer = both(wire, lambda client: client.infer("m", np.zeros((1, 4))), asynchronous)
    assert answer.actions.tolist() == [[0.5, -0.5]]
    assert answer.id == "r9"
    assert len(wire.requests) == 4
    assert len({request.content for request in wire.requests}) == 1


def test_trouble_that_stays_is_said(asynchronous: bool) -> None:
    """After the last try the latest outcome is raised, with its cause."""
    wire = Wire(*[httpx.Response(429, headers={"retry-after": "0"}) for _ in range(4)])
    with pytest.raises(OverloadedError):
        both(wire, lambda client: client.infer("m", [[0.0]]), asynchronous)
    assert len(wire.requests) == 4
    wire = Wire(*[httpx.ConnectError("refused") for _ in range(4)])
    with pytest.raises(UnavailableError) as caught:
        both(wire, lambda client: client.infer("m", [[0.0]]), asynchronous)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


def test_a_mistake_is_not_repeated(asynchronous: bool) -> None:
    """What the service does not take is raised at once."""
    wire = Wire(httpx.Response(400, content=b'{"error": "observations: got shape [1, 1]"}'))
    with pytest.raises(InvalidRequestError, match=r"observations: got shape \[1, 1\]"):
        both(wire, lambda client: client.act("m", {"a": [0.0]}), asynchronous)
    assert len(wire.requests) == 1


def test_a_session_is_not_moved_on_twice(asynchronous: bool) -> None:
    """A request that may have moved a recurrent state on is not sent again; one that surely has not, is."""
    wire = Wire(httpx.ReadError("reset"))
    with pytest.raises(UnavailableError):
        both(wire, lambda client: client.infer("m", [[0.0]], session="s"), asynchronous)
    wire = Wire(httpx.Response(429), good())
    assert both(wire, lambda client: client.infer("m", [[0.0]], session="s"), asynchronous).version == "3"


def test_the_service_s_wait_is_kept(asynchronous: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After is waited for."""
    waits: list[float] = []
    here, really, really_async = threading.get_ident(), time.sleep, asyncio.sleep

    def sleep(seconds: float) -> None:
        if threading.get_ident() == here:  # servers of other tests wait too
            waits.append(seconds)
        else:
            really(seconds)

    async def sleep_async(seconds: float) -> None:
        if threading.get_ident() == here:
            waits.append(seconds)
        else:
            await really_async(seconds)

    monkeypatch.setattr("serve.client.time.sleep", sleep)
    monkeypatch.setattr("serve.client.asyncio.sleep", sleep_async)
    wire = Wire(httpx.Response(429, headers={"retry-after": "2"}), good())
    both(wire, lambda client: client.infer("m", [[0.0]]), asynchronous)
    assert waits == [2.0]


def test_the_key_goes_with_every_request(asynchronous: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken from the argument, or else from the environment, and is a bearer token."""
    monkeypatch.setenv("ENTREPOT_KEY", "ek_environment")
    for given, sent in (("ek_given", "Bearer ek_given"), (None, "Bearer ek_environment")):
        wire = Wire(good())
        both(wire, lambda client: client.infer("m", [[0.0]]), asynchronous, key=given)
        assert wire.requests[0].headers["authorization"] == sent


def test_health_is_a_yes_or_no(asynchronous: bool) -> None:
    """Whether the service is there and ready is asked once, and never raises."""
    for outcome, healthy in (
        (httpx.Response(200), True),
        (httpx.Response(503), False),
        (httpx.ConnectError("refused"), False),
    ):
        assert both(Wire(outcome), lambda client: client.live(), asynchronous) is healthy
    assert both(Wire(httpx.Response(503)), lambda client: client.ready(), asynchronous) is False


def test_an_act_is_read(asynchronous: bool) -> None:
    """All fields that the service answers are there, the others are None."""
    content = orjson.dumps(
        {"model": "m", "version": "3", "request_id": "r", "actions": {"a": {"X": 0.5}}, "log_probs": {"a": -1.0}}
    )
    wire = Wire(httpx.Response(200, content=content))
    answer = both(wire, lambda client: client.act("m", {"a": {"x": 1.0}}, version=3, explain=5), asynchronous)
    assert orjson.loads(wire.requests[0].content) == {
        "observations": {"a": {"x": 1.0}},
        "version": "3",
        "deterministic": True,
        "explain": 5,
    }
    assert (answer.model, answer.version, answer.actions) == ("m", "3", {"a": {"X": 0.5}})
    assert answer.values is None


def test_a_client_needs_neither_ray_nor_the_policies(asynchronous: bool) -> None:
    """Whoever calls the service imports no more than httpx, NumPy and orjson."""
    name = "AsyncPolicyClient" if asynchronous else "PolicyClient"
    heavy = ("ray", "torch", "onnxruntime", "policies", "envs", "pydantic")
    code = f"import sys; from serve.client import {name}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_real_service_understands_it(asynchronous: bool, local_url: str, small_version: ServedVersion) -> None:
    """Binary, JSON and named observations give the policy's own actions; masks, versions and explanations arrive."""
    golden = small_version.manifest.golden["shared"]
    seen = np.array(golden.observations, np.float32)
    mask = np.tile([True, False, True], (len(seen), 1))
    wanted = small_version.policy.infer("shared", seen, mask).actions

    def ask(how: Callable[[Any], Any]) -> Any:
        return real(local_url, how, asynchronous)

    tensors = {"observations": seen, "action_mask": mask}
    for binary in (True, False):
        answer = ask(lambda client, binary=binary: client.infer("small", tensors, version=1, binary=binary))
        np.testing.assert_allclose(answer.actions, wanted, rtol=0, atol=1e-6)
        assert set(answer.outputs) == {"actions", "log_probs", "values"}
        assert answer.id
    names = small_version.policy.spaces_of("shared").layout.names
    acted = ask(
        lambda client: client.act(
            "small", {"bob": dict(zip(names, seen[0], strict=True))}, action_masks={"bob": mask[0]}, explain=3
        )
    )
    assert list(acted.actions["bob"].values()) == pytest.approx(wanted[0].tolist(), abs=1e-6)
    assert len(acted.explanations["bob"]) == 3
    assert ask(lambda client: client.live()) is ask(lambda client: client.ready()) is True
    assert [model["name"] for model in ask(lambda client: client.policies())] == ["small", "team", "recurrent"]
    assert ask(lambda client: client.policy("small"))["version"] == "1"
    assert ask(lambda client: client.metadata("small", 1))["inputs"][0]["shape"] == [-1, 11]
    assert "binary_tensor_data" in ask(lambda client: client.server())["extensions"]


def test_the_real_service_s_refusals_are_typed(asynchronous: bool, local_url: str) -> None:
    """What the service says of a mistake is in the exception."""
    with pytest.raises(InvalidRequestError, match=r"observations.*\[1, ?3\].*11"):
        real(local_url, lambda client: client.infer("small", [[0.0] * 3]), asynchronous)
    with pytest.raises(NotFoundError, match="model: got 'nobody'"):
        real(local_url, lambda client: client.infer("nobody", [[0.0]]), asynchronous)


def test_a_session_remembers(asynchronous: bool, local_url: str) -> None:
    """Of a recurrent policy two steps of a session are what its state, carried by the client, gives."""
    row = np.linspace(-1, 1, 11, dtype=np.float32)[None]
    session = f"client-{asynchronous}"

    def ask(**more: Any) -> Any:
        inputs = {"observations": row} | ({"state": more.pop("state")} if "state" in more else {})
        return real(local_url, lambda client: client.infer("recurrent", inputs, **more), asynchronous)

    first, second = ask(session=session), ask(session=session)
    carried = ask(state=first.outputs["state"])
    assert not np.allclose(first.actions, second.actions)
    np.testing.assert_allclose(carried.actions, second.actions, rtol=0, atol=1e-6)
