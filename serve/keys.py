"""API keys at rest: a file of names, hashes and rights. The keys themselves are shown once and kept nowhere."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from policies.files import write_text

Scope = Literal["infer", "read", "metrics"]
"""What a key may be for: asking policies, reading about models, scraping figures."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
PREFIX = "ek_"
_SECRET_BYTES = 32
"""So many that guessing is hopeless, and a plain, fast hash is enough where passwords need a slow one."""


class KeysError(ValueError):
    """The file of keys cannot be read or written, or not as asked; the message is one line."""


class ApiKey(BaseModel):
    """A key, without the key itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$", description="Who uses it; stands in the access log."
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the key.")
    scopes: tuple[Scope, ...] = Field(("infer", "read"), min_length=1, description="What it is for.")
    models: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None, min_length=1, description="Models it may ask for; None: all."
    )
    rate: float | None = Field(
        None, gt=0, le=1e9, description="Requests it may make, in the long run [1/s]; None: no limit."
    )
    burst: int = Field(100, ge=1, description="Requests it may make at once, after a rest.")
    created: str = Field(description="When it was made, ISO 8601.")
    revoked: str | None = Field(None, description="When it was revoked, ISO 8601; None: it is good.")


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[1] = 1
    keys: tuple[ApiKey, ...] = ()


class KeysFile:
    """The file of keys. Changes by several processes at once follow each other; readers see all of one or nothing.

    Args:
        path: The file; it need not exist to begin with.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()

    def read(self) -> tuple[ApiKey, ...]:
        """All keys, revoked ones too, the oldest first.

        Raises:
            KeysError: If the file cannot be read, is malformed, or others than its owner may change it.
        """
        try:
            with self.path.open("rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                text = stream.read()
        except OSError as error:
            raise KeysError(f"keys file: cannot read {self.path} ({error.strerror or error})") from error
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise KeysError(
                f"keys file: {self.path} has mode {stat.S_IMODE(mode):o}, allowed is 600: nobody else may write it"
            )
        try:
            keys = _Content.model_validate_json(text).keys
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(key) for key in first["loc"]) or "JSON"
            raise KeysError(f"keys file: {self.path} is malformed at {where} ({first['msg']})") from error
        for what in ("name", "sha256"):
            seen = [getattr(key, what) for key in keys]
            if len(set(seen)) < len(seen):
                raise KeysError(f"keys file: {self.path} has two keys of the same {what}, allowed is one")
        return keys

    def add(
        self,
        name: str,
        *,
        scopes: Sequence[str] = ("infer", "read"),
        models: Sequence[str] | None = None,
        rate: float | None = None,
        burst: int = 100,
    ) -> str:
        """Makes a key; the file is made with it if there is none.

        Args:
            name: Who will use it; no other key has the name.
            scopes: Some of `infer`, `read` and `metrics`.
            models: Models it may ask for; None for all.
            rate: Requests it may make, in the long run [1/s]; None for no limit.
            burst: Requests it may make at once, after a rest.

        Returns:
            The key. It cannot be had again.

        Raises:
            KeysError: If a value is not allowed, the name is taken, or the file cannot be written.
        """
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        try:
            key = ApiKey.model_validate(
                {
                    "name": name,
                    "sha256": digest(secret),
                    "scopes": tuple(dict.fromkeys(scopes)),
                    "models": None if models is None else tuple(dict.fromkeys(models)),
                    "rate": rate,
                    "burst": burst,
                    "created": _now(),
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0])
            raise KeysError(f"{field}: got {first['input']!r}, allowed is: {first['msg']}") from error
        with self._changing() as keys:
            if any(other.name == name for other in keys):
                raise KeysError(f"name: got {name!r}, which another key has; allowed is a new one")
            keys.append(key)
        return secret

    def revoke(self, name: str) -> ApiKey:
        """Ends a key for good; running services notice within a second.

        Raises:
            KeysError: If there is no such key, or it has been revoked before.
        """
        with self._changing() as keys:
            good = [key.name for key in keys if key.revoked is None]
            if name not in good:
                raise KeysError(f"name: got {name!r}, allowed are {', '.join(good) or 'none: there are no keys'}")
            place = next(index for index, key in enumerate(keys) if key.name == name)
            keys[place] = keys[place].model_copy(update={"revoked": _now()})
            return keys[place]

    @contextmanager
    def _changing(self) -> Iterator[list[ApiKey]]:
        """All keys, to be changed; they are written back in the end, unless something is raised."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path.with_name(self.path.name + ".lock"), "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = list(self.read()) if self.path.exists() else []
                yield keys
                write_text(self.path, _Content(keys=tuple(keys)).model_dump_json(indent=1) + "\n", mode=0o600)
        except OSError as error:
            raise KeysError(f"keys file: cannot write {self.path} ({error.strerror or error})") from error


def digest(key: str) -> str:
    """SHA-256 of a key, as the file has it."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
