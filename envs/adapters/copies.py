"""Copies of a stranger's envs, looked at before they are relied on.

Many envs pickle by the arguments they were made with (Gymnasium's `EzPickle`), drop what they hold, or hold what cannot
be pickled at all. Such a copy is an env that was never reset, and says so in the middle of a run, if at all.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cloudpickle
import numpy as np

ATOMS = (type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype)
"""Values that are compared by `==`."""
LONGEST_REASON = 200


class CopyError(ValueError):
    """An env that cannot be copied as it stands; its text is one line that says why."""


def packed(envs: Sequence[Any]) -> bytes:
    """Copies of the envs as bytes, for `unpacked`.

    Raises:
        CopyError: If what would be unpacked is not what was packed.
    """
    kind = type(envs[0]).__name__
    try:
        content = cloudpickle.dumps(list(envs))
        copies = unpacked(content)
    except Exception as error:  # whatever a stranger's code raises
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        raise CopyError(f"env: {kind} cannot be copied ({reason})") from None
    for env, copy in zip(envs, copies, strict=True):
        if where := difference(env, copy):
            raise CopyError(f"env: a copy of {kind} is not what was copied ({where})")
    return bytes(content)


def unpacked(content: bytes) -> list[Any]:
    """The envs that were packed."""
    envs: list[Any] = cloudpickle.loads(content)
    return envs


def difference(one: Any, other: Any) -> str:
    """Says where a copy is not what it was copied from, as far as that can be looked into; empty if nowhere.

    Args:
        one: Anything.
        other: Its copy.
    """
    kept: dict[tuple[int, int], tuple[Any, Any]] = {}  # holds on to what is made on the way, so that ids stay unique
    waiting = [("", one, other)]
    while waiting:
        path, a, b = waiting.pop()
        if a is b or (id(a), id(b)) in kept:
            continue
        kept[id(a), id(b)] = (a, b)
        name = path.lstrip(".") or "all of it"
        if type(a).__qualname__ != type(b).__qualname__:
            return f"{name} is {_named(b)}, was {_named(a)}"
        if isinstance(a, ATOMS):
            if a != b and a == a:  # NaN is NaN
                return f"{name} differs"
        elif isinstance(a, np.ndarray) and a.dtype != object:
            if a.shape != b.shape or a.dtype != b.dtype or a.tobytes() != b.tobytes():
                return f"{name} differs"
        else:
            mine, theirs = dict(_parts(a)), dict(_parts(b))
            if odd := next((part for part in mine if part not in theirs), None):
                return f"{(path + odd).lstrip('.')} is missing"
            if odd := next((part for part in theirs if part not in mine), None):
                return f"{(path + odd).lstrip('.')} was not there"
            waiting += [(path + part, mine[part], theirs[part]) for part in reversed(mine)]
    return ""


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What something consists of, each part by its place."""
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType):
        return
    if isinstance(value, types.FunctionType):
        yield from ((f".{place}", cell.cell_contents) for place, cell in _cells(value))
        return
    if isinstance(value, types.MethodType):
        yield from ((".__self__", value.__self__), (".__func__", value.__func__))
        return
    held = _attributes(value)
    yield from ((f".{name}", part) for name, part in held.items())
    if isinstance(value, Mapping):
        # Keys may be objects, equal to themselves alone: then their order tells which is which.
        plain = all(isinstance(key, ATOMS) for key in value)
        for place, (key, part) in enumerate(value.items()):
            yield (f"[{key!r}]" if plain else f"[{place}]", part)
    elif isinstance(value, list | tuple | deque):
        yield from ((f"[{place}]", part) for place, part in enumerate(value))
    elif isinstance(value, np.ndarray):
        yield from ((f"[{place}]", part) for place, part in enumerate(value.ravel()))
    elif isinstance(value, set | frozenset):
        yield (".__len__()", len(value))
    elif not held or type(value).__reduce__ is not object.__reduce__:  # type: ignore[comparison-overlap]
        yield from _reduced(value)


def _cells(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function closes over, but for what it has not closed over yet."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cell.cell_contents  # noqa: B018
        except ValueError:
            continue
        yield name, cell


def _attributes(value: Any) -> dict[str, Any]:
    """An object's attributes, also those in slots."""
    held = dict(getattr(value, "__dict__", None) or {})
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                held[name] = getattr(value, name)
    return held


def _reduced(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object that does not show what it holds, such as a random generator, would be pickled as."""
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:  # it was pickled some other way, or stands for itself
        return
    if isinstance(reduced, tuple):
        yield from ((f".__reduce__()[{place}]", part) for place, part in enumerate(reduced[1:3]))


def _named(value: Any) -> str:
    return f"a {type(value).__name__}" if value is not None else "None"
