"""Decides who may do what, and how often: the first thing that happens to a request, before its body is read."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from serve.errors import Forbidden, RateExceeded, Unauthorized
from serve.keys import SCOPES, ApiKey, KeysError, KeysFile, Scope, digest

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked at whether the file of keys has changed."""

_BEARER = "bearer "
_LONGEST = 256
"""Characters of a key that are looked at; a good one has some 50, and hashing a huge one would cost something."""

_OPEN_PATHS = frozenset({"/", "/favicon.ico", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
_OPEN_FOLDERS = ("/page/", "/docs/static/")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    Attributes:
        name: Name of the key; `-` where no keys are asked for.
        models: Models it may ask for; None: all.
    """

    name: str
    models: frozenset[str] | None = None

    def may_ask(self, model: str) -> bool:
        """Whether a model is one that it may ask for."""
        return self.models is None or model in self.models


ANYONE = Caller("-")


def scope_of(method: str, path: str) -> Scope | None:
    """Which scope a request needs.

    Health, the page and the documentation need none: a balancer has no key, and a browser sends none with the address
    of a page (what the page then asks for does need one).
    """
    if path == "/metrics":
        return "metrics"
    if method == "POST":
        # Triton's index is a POST, and only reads.
        return "read" if path.startswith("/v2/repository/") else "infer"
    if path in _OPEN_PATHS or path.startswith(_OPEN_FOLDERS):
        return None
    return "read"


class Guard:
    """Checks keys, scopes and rates. One for each replica, on the thread of its event loop.

    Requests are counted in a token bucket a key. A replica knows nothing of the others, so each gives a key its share,
    `rate / replicas` and `burst / replicas`: over all replicas a key never gets more than its rate, and may get less
    where a client's connections all lead to one replica.

    Args:
        keys: The file of keys; None: everybody may do everything (on loopback only, which the launcher sees to).
        replicas: Replicas that share each key's rate.
        clock: Seconds that only ever grow.

    Raises:
        KeysError: If the file cannot be read. Later on a file that cannot be read is logged and the keys stay as they
            were: revoke a key, do not delete the file.
    """

    def __init__(
        self, keys: KeysFile | None, replicas: int = 1, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = keys
        self._replicas = replicas
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._stamp: tuple[int, ...] | None = None
        self._trouble = ""
        self._look_at = 0.0
        if keys is not None:
            self._stamp = _stamp(keys)
            self._entries = self._load(keys)
            self._look_at = clock() + LOOK_SECONDS

    @property
    def open(self) -> bool:
        """Whether no keys are asked for."""
        return self._file is None

    def check(self, headers: Mapping[str, str], scope: Scope, model: str | None = None) -> Caller:
        """Lets a request pass, or not.

        Args:
            headers: Its headers, names in lower case. The key is in `authorization: Bearer …` or in `x-api-key`.
            scope: What it wants to do.
            model: The model it asks for; None if for none in particular.

        Returns:
            Who makes it.

        Raises:
            Unauthorized: If there is no key, or not a good one.
            Forbidden: If the key is not for this scope or this model.
            RateExceeded: If the key has used up its rate.
        """
        if self._file is None:
            return ANYONE
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        entry = self._entries.get(digest(_key_of(headers)[:_LONGEST]))
        # Which hashes there are may show in the time that a look-up takes, but no hash leads back to its key.
        if entry is None or entry.revoked:
            raise Unauthorized(
                f"key: the one given {'has been revoked' if entry else 'is not known'}, allowed is one made by "
                "`entrepot keys add`"
            )
        if scope not in entry.scopes:
            allowed = ", ".join(each for each in SCOPES if each in entry.scopes)
            raise Forbidden(f"key: got {entry.caller.name!r} for scope {scope!r}, its scopes are {allowed}")
        models = entry.caller.models
        if model is not None and models is not None and model not in models:
            raise Forbidden(
                f"key: got {entry.caller.name!r} for model {model!r}, its models are {', '.join(sorted(models))}"
            )
        if entry.rate is not None:
            tokens = entry.tokens + (now - entry.at) * entry.rate
            entry.at = now
            entry.tokens = tokens = min(tokens, entry.burst)
            if tokens < 1.0:
                raise RateExceeded(
                    f"rate: key {entry.caller.name!r} has used up its {entry.allowed:g} requests a second",
                    (1.0 - tokens) / entry.rate,
                )
            entry.tokens = tokens - 1.0
        return entry.caller

    def _look(self, now: float) -> None:
        """Reads the keys again if their file has changed."""
        self._look_at = now + LOOK_SECONDS
        assert self._file is not None
        try:
            stamp = _stamp(self._file)
            if stamp == self._stamp:
                return
            self._entries = self._load(self._file)
        except KeysError as error:
            if str(error) != self._trouble:  # said once, not every second
                log.error("keys stay as they were: %s", error)
            self._trouble = str(error)
            return
        self._stamp, self._trouble = stamp, ""
        log.info("keys read again: %d of them good", sum(not entry.revoked for entry in self._entries.values()))

    def _load(self, file: KeysFile) -> dict[str, _Entry]:
        """All keys by hash; buckets of keys whose rate has not changed stay as full as they are."""
        entries = {}
        for key in file.read():
            former, entry = self._entries.get(key.sha256), _Entry(key, self._replicas, self._clock())
            if former is not None and (former.rate, former.burst) == (entry.rate, entry.burst):
                entry.tokens, entry.at = former.tokens, former.at
            entries[key.sha256] = entry
        return entries


class _Entry:
    """A key as a replica knows it, and its bucket."""

    __slots__ = ("allowed", "at", "burst", "caller", "rate", "revoked", "scopes", "tokens")

    def __init__(self, key: ApiKey, replicas: int, now: float) -> None:
        self.caller = Caller(key.name, None if key.models is None else frozenset(key.models))
        self.scopes = frozenset(key.scopes)
        self.revoked = key.revoked is not None
        self.allowed = key.rate
        self.rate = None if key.rate is None else key.rate / replicas
        self.burst = max(1.0, key.burst / replicas)
        self.tokens = self.burst
        self.at = now


def _stamp(file: KeysFile) -> tuple[int, ...]:
    """What differs once the file has been written.

    Raises:
        KeysError: If it cannot be looked at.
    """
    try:
        now = file.path.stat()
    except OSError as error:
        raise KeysError(f"keys file: cannot read {file.path} ({error.strerror or error})") from error
    return now.st_mtime_ns, now.st_size, now.st_ino, now.st_mode


def _key_of(headers: Mapping[str, str]) -> str:
    """The key that a request brings.

    Raises:
        Unauthorized: If it brings none.
    """
    given = headers.get("authorization")
    if given is not None and given[: len(_BEARER)].lower() == _BEARER:
        return given[len(_BEARER) :].strip()
    key = headers.get("x-api-key")
    if key is None:
        raise Unauthorized("key: got none, allowed is one in the header `Authorization: Bearer …` or `X-API-Key`")
    return key.strip()
