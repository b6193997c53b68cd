"""However a call fails, it raises a `PolicyError` that names what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.client import (
    AsyncPolicyClient,
    InvalidRequestError,
    PolicyClient,
    PolicyError,
    Retries,
    UnavailableError,
)

QUICK = Retries(most=2, backoff=0.001)
pytestmark = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def call(
    asynchronous: bool,
    ask: Callable[[Any], Any],
    outcome: httpx.Response | Exception | None = None,
    url: str = "http://test",
    *,
    close: bool = False,
    **options: Any,
) -> Any:
    """Asks over a network where each request comes to the same; over none that is there, if that is None."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None
        return httpx.Response(outcome.status_code, headers=outcome.headers, stream=outcome.stream)

    if outcome is not None:
        options["transport"] = httpx.MockTransport(handle)

    async def run() -> Any:
        client = AsyncPolicyClient(url, retries=QUICK, **options)
        if close:
            await client.close()
        async with client if not close else AsyncPolicyClient("http://test"):
            return await ask(client)

    if asynchronous:
        return asyncio.run(run())
    client = PolicyClient(url, retries=QUICK, **options)
    if close:
        client.close()
    return ask(client)


def infer(client: Any) -> Any:
    return client.infer("m", [[0.0]])


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://[::1", "", "http://\ud800"])
def test_an_address_that_is_none(asynchronous: bool, url: str) -> None:
    """It is said at once that the URL is wrong, and not tried again; health says so too."""
    for ask in (infer, lambda client: client.live()):
        with pytest.raises(InvalidRequestError, match=r"^not sent: url: .*allowed is http://HOST:PORT"):
            call(asynchronous, ask, url=url)
        with pytest.raises(InvalidRequestError, match=r"^not sent: url: .*label too long"):
            call(asynchronous, ask, UnicodeError("label too long"))


@pytest.mark.parametrize("key", ["ek_kéy", "ek_k\ney", "\ud800", " ek "])
def test_a_key_that_no_header_can_hold(asynchronous: bool, key: str) -> None:
    """It is refused before anything is sent, and not shown."""
    with pytest.raises(InvalidRequestError, match=r"^not sent: key: ") as caught:
        call(asynchronous, infer, httpx.Response(200), key=key)
    assert key not in str(caught.value)


def test_a_closed_client(asynchronous: bool) -> None:
    """Whoever closed it is told, whatever is asked."""
    for ask in (infer, lambda client: client.policies(), lambda client: client.ready()):
        with pytest.raises(PolicyError, match="client has been closed"):
            call(asynchronous, ask, httpx.Response(200), close=True)


def test_certificates_that_are_none(asynchronous: bool, tmp_path: Path) -> None:
    """The file is named, whether it is not there or holds something else."""
    (tmp_path / "odd.pem").write_text("nothing")
    for name in ("none.pem", "odd.pem"):
        with pytest.raises(InvalidRequestError, match=rf"^not sent: ca_file: got .*{name}"):
            call(asynchronous, infer, ca_file=tmp_path / name)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.infer("\ud800", [[0.0]]),
        lambda client: client.infer("m", [[0.0]], version="\ud800"),
        lambda client: client.infer("m", [["x"]]),
        lambda client: client.act("\ud800", {}),
        lambda client: client.act("m", {"a": object()}),
        lambda client: client.act("m", {}, session="\ud800"),
        lambda client: client.policy(""),
        lambda client: client.metadata("m", ".."),
    ],
)
def test_a_request_that_cannot_be_sent(asynchronous: bool, ask: Callable[[Any], Any]) -> None:
    """What is wrong with it is said by the client, as the service would."""
    with pytest.raises(InvalidRequestError, match=r"^not sent: "):
        call(asynchronous, ask, httpx.Response(200))


@pytest.mark.parametrize("headers", [{"content-encoding": "gzip"}, {"content-type": "text/html; charset=nonsense"}])
@pytest.mark.parametrize(
    "ask",
    [infer, lambda client: client.act("m", {}), lambda client: client.policies(), lambda client: client.server()],
)
def test_an_answer_that_is_none(asynchronous: bool, ask: Callable[[Any], Any], headers: dict[str, str]) -> None:
    """What cannot be unpacked or read is from elsewhere."""
    with pytest.raises(PolicyError, match="is the address that of the service"):
        call(asynchronous, ask, httpx.Response(200, headers=headers, stream=httpx.ByteStream(b"\xff\xfe<html>")))


def test_a_front_without_a_service_is_tried_again(asynchronous: bool) -> None:
    """Its plain 404 is no word on the model: after the last try the service is unavailable."""
    plain = httpx.Response(404, stream=httpx.ByteStream(b"Path '/v2' not found"))
    with pytest.raises(UnavailableError, match=r"^404: Not Found"):
        call(asynchronous, infer, plain)
    with pytest.raises(UnavailableError, match=r"^503: "):
        call(asynchronous, infer, httpx.Response(503, headers={"retry-after": "0"}))
