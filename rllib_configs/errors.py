"""Turns what is wrong with a configuration into one line a mistake: the key, what was given, what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

LONGEST_VALUE = 60
"""Characters of a wrong value that are shown."""


class ConfigError(ValueError):
    """A key or value that is not allowed; its text is one line a mistake."""


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """The line for a key that does not exist.

    Args:
        key: Dotted path as given.
        allowed: Keys that exist at its last level.
    """
    names = sorted(allowed)
    parent, _, name = key.rpartition(".")
    close = get_close_matches(name, names, n=1)
    where = f"{parent}." if parent else ""
    hint = f" (did you mean {where}{close[0]}?)" if close else ""
    return f"{key}: no such key{hint}; allowed are {', '.join(where + n for n in names) or 'none'}"


def describe(error: ValidationError, model: type[BaseModel] | None = None, prefix: str = "") -> list[str]:
    """One line for every mistake pydantic found, in the order of the keys.

    Args:
        error: What pydantic raised.
        model: The model that was validated, to name the keys it allows.
        prefix: Dotted path under which the model lies, such as `env`.
    """
    lines: list[str] = []
    for mistake in error.errors():
        path = [str(part) for part in mistake["loc"] if not _is_type_tag(part)]
        key = ".".join([*filter(None, [prefix]), *path])
        if mistake["type"] == "extra_forbidden":
            lines.append(unknown_key(key, _keys_beside(model, path)))
        elif mistake["type"] == "missing":
            lines.append(f"{key}: got nothing, a value is required")
        elif mistake["type"] == "value_error":
            lines += [_join(key, line) for line in str(mistake["ctx"]["error"]).splitlines()]
        else:
            lines.append(f"{key or 'configuration'}: got {shorten(mistake['input'])}, {_allowed(mistake)}")
    return list(dict.fromkeys(lines))


def shorten(value: Any) -> str:
    """A wrong value as it is shown: its first characters, on one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"


def one_line(error: BaseException) -> str:
    """Any error as one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _join(key: str, text: str) -> str:
    """Puts the key before a validator's own text, unless the text already begins with it or with a field below it."""
    text = " ".join(text.split())
    if not key or text.startswith(f"{key}:"):
        return text
    own = re.match(r"([A-Za-z_][\w.]*): ", text)
    if own is None:
        return f"{key}: {text}"
    return f"{key}: {text[own.end() :]}" if key.endswith(own[1]) else f"{key}.{text}"


def _is_type_tag(part: int | str) -> bool:
    """Whether pydantic added this part of the path to tell the members of a union apart."""
    return isinstance(part, str) and not re.fullmatch(r"\w+", part)


def _allowed(mistake: Any) -> str:
    """`allowed is …`, from pydantic's `Input should be …`."""
    text = str(mistake["msg"]).partition(", unable to")[0]
    if mistake["type"] in ("model_type", "dict_type"):
        return "allowed is a mapping of settings"
    if text.startswith("Input should be "):
        return f"allowed is {text.removeprefix('Input should be ')}"
    return f"which is not allowed: {text[0].lower()}{text[1:]}"


def _keys_beside(model: type[BaseModel] | None, path: list[str]) -> Iterable[str]:
    """The keys that the model allows beside the last part of `path`."""
    for part in path[:-1]:
        model = submodel(model, part)
    return model.model_fields if model is not None else ()


def is_mapping(model: type[BaseModel], name: str) -> bool:
    """Whether a field holds a dictionary of any keys."""
    annotation = model.model_fields[name].annotation
    return annotation is dict or getattr(annotation, "__origin__", None) is dict


def submodel(model: type[BaseModel] | None, name: str) -> type[BaseModel] | None:
    """The model that a field holds, None if it holds something else."""
    if model is None or name not in model.model_fields:
        return None
    annotation = model.model_fields[name].annotation
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
