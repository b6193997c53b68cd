"""What the clients raise, and when they try again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from serve import client_errors as errors


def response(status: int, headers: Mapping[str, str] | None = None, content: bytes = b"") -> httpx.Response:
    return httpx.Response(status, headers=headers, content=content, request=httpx.Request("POST", "http://test/"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequestError),
        (413, errors.InvalidRequestError),
        (401, errors.AuthenticationError),
        (403, errors.AuthenticationError),
        (404, errors.NotFoundError),
        (429, errors.OverloadedError),
        (500, errors.PolicyError),
        (503, errors.UnavailableError),
        (504, errors.UnavailableError),
    ],
)
def test_refusals_have_types_and_say_why(status: int, kind: type[errors.PolicyError]) -> None:
    """The exception has the service's sentence, the status, and the request's id for the log."""
    error = errors.error_of(response(status, {"x-request-id": "r1", "retry-after": "3"}, b'{"error": "seed: got -1"}'))
    assert type(error) is kind
    assert (error.status, error.message, error.request_id, error.retry_after) == (status, "seed: got -1", "r1", 3.0)
    assert str(error) == f"{status}: seed: got -1 (request r1)"


@pytest.mark.parametrize("content", [b"<html>Bad Gateway</html>", b"[]", b"{}", b""])
def test_a_proxy_s_error_is_one_too(content: bytes) -> None:
    """What is not the service's JSON still becomes an exception with the status."""
    error = errors.error_of(response(502, content=content))
    assert type(error) is errors.UnavailableError
    assert "Bad Gateway, without an explanation" in str(error)


def test_no_answer_is_unavailable() -> None:
    """A connection that fails says so."""
    error = errors.error_of(httpx.ConnectError("Connection refused"))
    assert type(error) is errors.UnavailableError
    assert str(error) == "no answer: ConnectError: Connection refused"


@pytest.mark.parametrize(
    ("outcome", "repeatable", "again"),
    [
        (response(429), False, True),
        (response(503), False, True),
        (response(503, {"retry-after": "1"}, b'{"error": "front: no replica is there"}'), False, True),
        (response(404, content=b"Path '/' not found"), False, True),
        (response(404, content=b"<html>Not Found</html>"), False, True),
        (response(404, content=b'{"error": "model: got m"}'), True, False),
        (response(404, {"x-request-id": "r"}, b""), True, False),
        (response(413, content=b"<html>"), True, False),
        (response(502), True, True),
        (response(502), False, False),
        (response(504), True, False),
        (response(500), True, False),
        (response(400), True, False),
        (httpx.ConnectError("refused"), False, True),
        (httpx.ConnectTimeout("slow"), False, True),
        (httpx.ReadError("reset"), True, True),
        (httpx.RemoteProtocolError("closed"), True, True),
        (httpx.ReadError("reset"), False, False),
        (httpx.ReadTimeout("slow"), True, False),
        (httpx.LocalProtocolError("Illegal header value"), True, False),
        (httpx.UnsupportedProtocol("no http"), True, False),
    ],
)
def test_only_what_is_safe_is_tried_again(
    outcome: httpx.Response | httpx.TransportError, repeatable: bool, again: bool
) -> None:
    """What may have been carried out is repeated only if nothing comes of that; what cannot get better never is."""
    assert (errors.Retries().wait(0, outcome, repeatable) is not None) is again


def test_waits_grow_and_end() -> None:
    """Each wait is up to twice the one before, none is longer than the longest, and after the last try none is left."""
    retries = errors.Retries(most=6, backoff=1.0, longest=8.0)
    for _ in range(50):
        waits = [retries.wait(done, response(503), True) for done in range(7)]
        assert waits[6] is None
        for wait, most in zip(waits[:6], (1, 2, 4, 8, 8, 8), strict=True):
            assert wait is not None
            assert most / 2 <= wait <= most


def test_retry_after_is_honoured() -> None:
    """The service's word is waited for, in seconds or until a date; one that is too far off ends the tries."""
    retries = errors.Retries(backoff=0.01, longest=10.0)
    assert retries.wait(0, response(429, {"retry-after": "3"}), True) == 3.0
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=5), usegmt=True)
    assert retries.wait(0, response(429, {"retry-after": date}), True) == pytest.approx(4.5, abs=0.6)
    assert retries.wait(0, response(429, {"retry-after": "11"}), True) is None
    wait = retries.wait(0, response(429, {"retry-after": "soon"}), True)
    assert wait is not None
    assert wait <= 0.01


def test_by_default_waits_outlast_a_front_that_is_being_started_again() -> None:
    """A front that dies is back in 5 s: whoever asks meanwhile is answered after it, not refused before."""
    retries = errors.Retries()
    for _ in range(50):
        waits = [retries.wait(done, httpx.ConnectError("refused"), False) for done in range(retries.most)]
        assert sum(wait or 0.0 for wait in waits) > 5.0


def test_a_front_without_a_service_is_unavailable() -> None:
    """A 404 that is not the service's own says nothing of models."""
    error = errors.error_of(response(404, content=b"Path '/' not found."))
    assert type(error) is errors.UnavailableError
    assert str(error) == "404: Not Found, without an explanation"


@pytest.mark.parametrize("text", ["Mon, 01 Jan 0001 00:00:00 -0000", "nan", "", "-1", "1e999", "\t"])
def test_an_odd_retry_after_harms_nobody(text: str) -> None:
    """Whatever a proxy says there, a wait comes of it, or none."""
    found = errors.retry_after(response(429, {"retry-after": text}))
    assert found is None or found >= 0
