# ruff: noqa: N818, these are answers rather than errors of the program, and are called what HTTP calls them
"""What a request can be refused with: a status, one sentence, and headers that say what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import orjson

_LONGEST = 2000
"""Most characters of a sentence: names in it are chosen by whoever asks."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is left of a `ServiceError` when it has been caught.

    An error holds its traceback, that holds frames, and these hold bodies: whoever keeps the error keeps all of it, and
    a frame that keeps it is a ring, which only the cyclic collector frees.

    Attributes:
        status: Status code of the response.
        reason: Why, in a word, for the metrics.
        message: The sentence.
        headers: Headers of the response, besides those that every response has.
    """

    status: int
    reason: str
    message: str
    headers: dict[str, str]

    def body(self) -> bytes:
        """JSON of the response: `{"error": message}`, as the Open Inference Protocol wants it."""
        return orjson.dumps({"error": self.message})


class ServiceError(Exception):
    """A request is refused.

    Args:
        message: One sentence naming the field, what was given and what is allowed.
        headers: Headers of the response, besides those that every response has.

    Attributes:
        status: Status code of the response.
        message: The sentence.
        headers: Headers of the response.
        reason: Why, in a word, for the metrics.
    """

    status: ClassVar[int] = 500
    reason: ClassVar[str] = "invalid"

    def __init__(self, message: str, headers: dict[str, str] | None = None) -> None:
        if len(message) > _LONGEST:
            message = f"{message[:_LONGEST]}…"
        super().__init__(message)
        self.message = message
        self.headers: dict[str, str] = headers or {}

    def refusal(self) -> Refusal:
        """The answer, without the error and what hangs on it."""
        return Refusal(self.status, self.reason, self.message, self.headers)


class BadRequest(ServiceError):
    """What was sent is not what the route takes."""

    status = 400


class Unauthorized(ServiceError):
    """No key, or one that is not known."""

    status = 401
    reason = "key"

    def __init__(self, message: str) -> None:
        super().__init__(message, {"www-authenticate": "Bearer"})


class Forbidden(ServiceError):
    """The key may not do this."""

    status = 403
    reason = "key"


class NotFound(ServiceError):
    """No such route, model or version."""

    status = 404
    reason = "unknown"


class MethodNotAllowed(ServiceError):
    """The route knows other methods only."""

    status = 405


class RequestTimedOut(ServiceError):
    """The client took too long to send its request."""

    status = 408
    reason = "timeout"


class TooLarge(ServiceError):
    """The body is larger than the service takes."""

    status = 413


class UnsupportedMediaType(ServiceError):
    """The body is encoded in a way that the service does not read."""

    status = 415


class TooManyRequests(ServiceError):
    """The service has enough to do.

    Args:
        message: One sentence.
        retry_after: When to try again [s].
    """

    status = 429
    reason = "load"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message, {"retry-after": str(max(1, ceil(retry_after)))})
        self.retry_after = retry_after


class RateExceeded(TooManyRequests):
    """The key has used up its rate, however little the service has to do."""

    reason = "rate"


class Failed(ServiceError):
    """The service is at fault."""

    status = 500
    reason = "failure"


class Unavailable(ServiceError):
    """Not yet ready, or no longer."""

    status = 503
    reason = "not_ready"


class TimedOut(ServiceError):
    """The service took too long to answer."""

    status = 504
    reason = "timeout"
