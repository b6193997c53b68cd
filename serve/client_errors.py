"""What the clients raise when a call fails, and when they try again instead."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import ClassVar

import httpx
import orjson


class PolicyError(Exception):
    """The service did not answer as asked.

    Attributes:
        status: Status of the response; 0 if there was none.
        message: What the service said, or what is wrong with the request, one sentence.
        request_id: Id of the request, which the service's log has too; "" if there was no response.
        retry_after: When it may be worth trying again [s]; None if nothing was said.
    """

    _UNSAID: ClassVar[str] = "no answer"

    def __init__(
        self, message: str, *, status: int = 0, request_id: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status or self._UNSAID}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.message = message
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class InvalidRequestError(PolicyError):
    """What was sent is not what the policy takes (400, 405, 408, 413, 415), or cannot be sent at all."""

    _UNSAID = "not sent"


class AuthenticationError(PolicyError):
    """The key is missing, wrong, or not for this (401, 403)."""


class NotFoundError(PolicyError):
    """There is no such model, version or route (404)."""


class OverloadedError(PolicyError):
    """The service, or the key, has enough to do, and had after all retries (429)."""


class UnavailableError(PolicyError):
    """The service cannot be reached, is not ready, or takes too long (502, 503, 504, or no answer at all).

    A 404 that is not the service's is one too: the front has lost the service behind it.
    """


_TYPES: dict[int, type[PolicyError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    429: OverloadedError,
}


@dataclass(frozen=True)
class Retries:
    """When to try again, and after how long.

    Attributes:
        most: Tries after the first.
        backoff: Longest wait before the second try [s]; it doubles with each further one. Waits are drawn between half
            of it and all of it, so that clients that were refused together do not come back together.
        longest: Longest wait that is worth it [s].

    By default waits add up to more than the 5 s that a front, or a replica, takes to be back.
    """

    most: int = 7
    backoff: float = 0.1
    longest: float = 10.0

    def wait(self, done: int, outcome: httpx.Response | httpx.TransportError, repeatable: bool) -> float | None:
        """How long to wait before another try [s]; None if there should be none.

        Args:
            done: Tries so far, less one.
            outcome: What came of the latest.
            repeatable: Whether the request may be carried out twice.
        """
        if done >= self.most:
            return None
        if isinstance(outcome, httpx.Response):
            # 429 and 503 are said before anything is done, and so is a 404 by who knows no service to pass it on to;
            # after the others it may have been.
            lost = outcome.status_code == 404 and is_foreign(outcome)
            if outcome.status_code not in (429, 503) and not lost and not (repeatable and outcome.status_code == 502):
                return None
        elif isinstance(outcome, (httpx.LocalProtocolError, httpx.UnsupportedProtocol)):
            return None  # it cannot be sent, however often
        elif not isinstance(outcome, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)) and (
            not repeatable or isinstance(outcome, httpx.TimeoutException)
        ):
            return None
        own = min(self.longest, self.backoff * 2.0**done) * random.uniform(0.5, 1.0)
        told = retry_after(outcome) if isinstance(outcome, httpx.Response) else None
        if told is None:
            return own
        return None if told > self.longest else max(own, told)


def retry_after(response: httpx.Response) -> float | None:
    """When a response says to come back [s], which it may say in seconds or as a date; None if it does not."""
    text = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def is_foreign(response: httpx.Response) -> bool:
    """Whether a refusal is not the service's, but of something on the way: without our id, and without our JSON."""
    return "x-request-id" not in response.headers and _sentence(response) is None


def _sentence(response: httpx.Response) -> str | None:
    """What the service says of a refusal; None if it does not."""
    try:
        return str(orjson.loads(response.content)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def error_of(outcome: httpx.Response | Exception) -> PolicyError:
    """The exception for a response that is a refusal, or for what went wrong before there was one."""
    if isinstance(outcome, httpx.LocalProtocolError):  # what it says may hold the key
        return InvalidRequestError("headers: got a value that HTTP does not allow")
    if isinstance(outcome, httpx.UnsupportedProtocol | httpx.InvalidURL | UnicodeError):
        return InvalidRequestError(f"url: {_said(outcome)}, allowed is http://HOST:PORT or https://HOST")
    if isinstance(outcome, httpx.TransportError):
        return UnavailableError(_said(outcome))
    if isinstance(outcome, httpx.DecodingError):
        return PolicyError(f"the answer cannot be unpacked ({outcome}): is the address that of the service?")
    if not isinstance(outcome, httpx.Response):
        return PolicyError(_said(outcome))
    status = outcome.status_code
    message = _sentence(outcome)
    if message is None:  # from a proxy on the way, not from the service
        message = f"{outcome.reason_phrase or 'refused'}, without an explanation"
    types: dict[int, type[PolicyError]] = {
        401: AuthenticationError,
        403: AuthenticationError,
        404: NotFoundError,
        429: OverloadedError,
    }
    kind = types.get(status) or (InvalidRequestError if 400 <= status < 500 else PolicyError)
    if status in (502, 503, 504) or (status == 404 and is_foreign(outcome)):
        kind = UnavailableError
    return kind(
        message,
        status=status,
        request_id=outcome.headers.get("x-request-id", ""),
        retry_after=retry_after(outcome),
    )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
