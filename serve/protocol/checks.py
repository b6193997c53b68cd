"""What all protocols ask of JSON and of arrays; each refusal is one sentence that names the field."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serve.errors import BadRequest, TooLarge, UnsupportedMediaType

if TYPE_CHECKING:
    from envs.base import BoolArray, FloatArray
    from serve.protocol.signature import ModuleSignature

MAX_MAGNITUDE = 1e6
"""Largest magnitude of a feature or of a recurrent state: networks were trained on numbers of order 1."""
MAX_SEED = 2**63 - 1
MAX_SESSION = 128
NUMBERS, BOOLEANS = frozenset((float, int)), frozenset((bool,))
_WINDOW = {"gzip": 31, "deflate": 15}
_MAX_MEMBERS = 16
"""Most members of a gzip body (RFC 1952 lets them follow one another): each costs a copy of what is left."""


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """A compressed body, as it was before.

    Args:
        body: The body.
        encoding: What the header `Content-Encoding` says.
        most: Most bytes allowed, unpacked; a few bytes can hold gigabytes of zeros.

    Raises:
        UnsupportedMediaType: If the encoding is neither gzip nor deflate.
        TooLarge: If more comes out than is allowed.
        BadRequest: If the body is not what the header says.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOW:
        raise UnsupportedMediaType(f"content-encoding: got {shown(encoding)}, allowed are gzip, deflate and identity")
    plain = b""
    for _ in range(_MAX_MEMBERS if encoding == "gzip" else 1):
        stream = zlib.decompressobj(_WINDOW[encoding])
        try:
            plain += stream.decompress(body, most + 1 - len(plain))
        except zlib.error:
            raise BadRequest(f"body: got bytes that are not {encoding}, as content-encoding says they are") from None
        if len(plain) > most:
            raise TooLarge(f"body: got more than {most} bytes unpacked, which is the most allowed")
        if not stream.eof:
            raise BadRequest(f"body: got {encoding} that breaks off before its end")
        body = stream.unused_data
        if not body:
            return plain
    allowed = f"up to {_MAX_MEMBERS} members" if encoding == "gzip" else "nothing"
    raise BadRequest(f"body: got {len(body)} more bytes behind the end of {encoding}, allowed is {allowed}")


def json_object(text: bytes, what: str, most: int) -> dict[str, Any]:
    """A JSON object.

    Args:
        text: The text.
        what: What it is, for messages.
        most: Most values allowed: each takes up to a hundred bytes in memory, and as little as two in the text.

    Raises:
        BadRequest: If the text is something else.
        TooLarge: If it has too many values.
    """
    if len(text) > most and (marks := sum(map(text.count, (b",", b":", b"[", b"{")))) > most:
        raise TooLarge(f"{what}: got JSON with {marks} commas, colons and brackets, allowed are {most}")
    try:
        plain = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reason = "no bytes" if not len(text) else str(error)
        raise BadRequest(f"{what}: got no valid JSON ({reason}), allowed is a JSON object") from None
    if type(plain) is not dict:
        raise BadRequest(f"{what}: got JSON of type {kind(plain)}, allowed is an object")
    return plain


def known(given: Mapping[str, Any], allowed: Mapping[str, Any] | Sequence[str], what: str) -> None:
    """Raises BadRequest, naming the first, if there are keys other than those allowed."""
    for key in given:
        if key not in allowed:
            raise BadRequest(f"{what}{shown(key)}: is not known, allowed are {listed(allowed)}")


def flag(value: Any, what: str) -> bool:
    """A boolean.

    Raises:
        BadRequest: If it is none.
    """
    if type(value) is not bool:
        raise BadRequest(f"{what}: got {shown(value)}, allowed are true and false")
    return value


def seed_of(value: Any, what: str = "seed") -> int | None:
    """A seed, or None.

    Raises:
        BadRequest: If it is neither.
    """
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= MAX_SEED:
        raise BadRequest(f"{what}: got {shown(value)}, allowed is a whole number from 0 to {MAX_SEED}")
    return value


def session_of(value: Any, what: str = "session") -> str | None:
    """Name of a session, or None.

    Raises:
        BadRequest: If it is neither.
    """
    if value is None:
        return None
    if type(value) is not str or not 0 < len(value) <= MAX_SESSION or not value.isprintable():
        raise BadRequest(f"{what}: got {shown(value)}, allowed are 1 to {MAX_SESSION} printable characters")
    return value


def numbers(data: Any, what: str) -> NDArray[np.float64]:
    """Numbers from JSON, in one list or in lists of equal length; float64 `[X]` or `[X, Y]`.

    Raises:
        BadRequest: If something is not a number, or the lists are ragged.
    """
    return _array(data, NUMBERS, np.float64, what, "numbers")


def booleans(data: Any, what: str) -> BoolArray:
    """Booleans from JSON, in one list or in lists of equal length; `[X]` or `[X, Y]`.

    Raises:
        BadRequest: If something is not a boolean, or the lists are ragged.
    """
    return _array(data, BOOLEANS, np.bool_, what, "true and false")


def _array(data: Any, types: frozenset[type], dtype: Any, what: str, allowed: str) -> NDArray[Any]:
    """Lists of certain types only.

    NumPy is not left to find out the types: it would take "1.5" for a number, and a list of numbers with one long
    string among them for a table of strings that long.
    """
    if type(data) is not list:
        raise BadRequest(f"{what}: got {shown(data)}, allowed is a list of {allowed}")
    nested = bool(data) and type(data[0]) is list
    for row in data if nested else (data,):
        if type(row) is not list or not types.issuperset(map(type, row)):
            odd = next((each for each in row if type(each) not in types), row) if type(row) is list else row
            raise BadRequest(f"{what}: got {shown(odd)}, allowed are {allowed}, in one list or in lists of one length")
    if nested and any(len(row) != len(data[0]) for row in data):
        raise BadRequest(f"{what}: got lists of different lengths, allowed are {allowed} in lists of one length")
    return np.array(data, dtype)


def in_bounds(array: NDArray[Any]) -> bool:
    """Whether all numbers are finite and no larger than `MAX_MAGNITUDE`."""
    if not array.size:
        return True
    # Two passes without a temporary array; written so that NaN, which compares false, fails.
    return bool(array.max() <= MAX_MAGNITUDE and array.min() >= -MAX_MAGNITUDE)


def out_of_bounds(array: NDArray[Any]) -> tuple[int, int, str]:
    """Row and column of the first number that `in_bounds` minds, and the number."""
    row, column = np.argwhere(~(np.abs(array) <= MAX_MAGNITUDE))[0]
    return int(row), int(column), f"{float(array[row, column]):g}"


def allowed_range() -> str:
    """The bounds in words."""
    return f"allowed is {-MAX_MAGNITUDE:g} to {MAX_MAGNITUDE:g}"


def stuck_row(masks: BoolArray, signature: ModuleSignature) -> tuple[int, int] | None:
    """Row and branch of the first mask that leaves a branch without any choice; None if all can act."""
    if signature.branches is None or not len(masks):
        return None
    free = np.logical_or.reduceat(masks, signature.branches, axis=1)
    if free.all():
        return None
    row, branch = np.argwhere(~free)[0]
    return int(row), int(branch)


def as_float32(array: NDArray[Any]) -> FloatArray:
    """The array as the runtime takes it: float32, in one piece."""
    return np.ascontiguousarray(array, np.float32)


def listed(names: Mapping[str, Any] | Sequence[str], most: int = 12) -> str:
    """Names in a sentence; the first few of many."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "") or "none"


def kind(value: Any) -> str:
    """What JSON calls a value."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")


def shown(value: Any) -> str:
    """A value in a sentence: as JSON writes it if it is short, else what it is."""
    if isinstance(value, str) and len(value) > 60:
        return f"a string of {len(value)} characters"
    if isinstance(value, list | dict):
        return f"an {kind(value)} of {len(value)}"
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        return repr(value)[:60]
