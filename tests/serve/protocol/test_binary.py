"""Binary tensor data: the same numbers as JSON, and byte counts that must add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.errors import BadRequest
from serve.models import ServedVersion
from serve.protocol import v2
from serve.protocol.binary import LENGTH_HEADER
from serve.settings import ServeSettings

LIMITS = ServeSettings()


def packed(arrays: dict[str, np.ndarray], pad: int = 0, **more: Any) -> tuple[bytes, dict[str, str]]:
    """A request with all inputs as binary data; `pad` spaces make the JSON longer."""
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": "BOOL" if array.dtype == np.bool_ else "FP32",
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in arrays.items()
    ]
    text = orjson.dumps({"inputs": inputs, **more}) + b" " * pad
    return text + b"".join(array.tobytes() for array in arrays.values()), {LENGTH_HEADER: str(len(text))}


def parsed(version: ServedVersion, body: bytes, headers: dict[str, str]) -> v2.InferRequest:
    return v2.parse(v2.load(body, headers, LIMITS), version, LIMITS)


def example(rows: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "action_mask": rng.random((rows, 3)) < 0.7,
        "observations": rng.standard_normal((rows, 11)).astype(np.float32),
    }


@given(pad=st.integers(0, 8), rows=st.integers(1, 40))
def test_tensors_arrive_to_the_bit(small_version: ServedVersion, pad: int, rows: int) -> None:
    """Whatever address the bytes begin at, the arrays are those that were sent, and the bundle takes them."""
    arrays = example(rows)
    request = parsed(small_version, *packed(arrays, pad))
    found = request.rows["shared"]
    np.testing.assert_array_equal(found.observations, arrays["observations"])
    np.testing.assert_array_equal(found.masks, arrays["action_mask"])
    assert found.observations.flags.aligned
    answer = small_version.policy.infer("shared", found.observations, found.masks)
    wanted = small_version.policy.infer("shared", arrays["observations"], arrays["action_mask"])
    np.testing.assert_array_equal(answer.actions, wanted.actions)


def unpacked(body: bytes, headers: list[tuple[bytes, bytes]]) -> dict[str, np.ndarray]:
    """The outputs of a binary response, by name."""
    length = int(dict(headers)[LENGTH_HEADER.encode()])
    plain, rest, found = orjson.loads(body[:length]), body[length:], {}
    for output in plain["outputs"]:
        dtype = {"FP32": "<f4", "INT64": "<i8"}[output["datatype"]]
        if "data" in output:
            array = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            array, rest = np.frombuffer(rest[:size], dtype), rest[size:]
        found[output["name"]] = array.reshape(output["shape"])
    assert not rest
    return found


@pytest.mark.parametrize(
    "wanted",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": name, "parameters": {"binary_data": True}} for name in ("values", "actions")]},
        {
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "values", "parameters": {"binary_data": False}}, {"name": "actions"}],
        },
    ],
)
def test_outputs_come_as_bytes(small_version: ServedVersion, wanted: dict[str, Any]) -> None:
    """All outputs, or those asked for, follow the JSON in its order; others stay in it."""
    request = parsed(small_version, *packed(example(), **wanted))
    answer = small_version.policy.infer("shared", request.rows["shared"].observations, request.rows["shared"].masks)
    body, headers = v2.render(request, {"shared": answer}, small_version)
    assert (b"content-type", b"application/octet-stream") in headers
    found = unpacked(body, headers)
    np.testing.assert_array_equal(found["actions"], answer.actions)
    np.testing.assert_array_equal(found["values"], answer.values)


def test_integers_come_as_eight_bytes(team_version: ServedVersion) -> None:
    """Discrete actions are INT64."""
    seen = {"first.observations": example()["observations"]}
    request = parsed(team_version, *packed(seen, parameters={"binary_data_output": True}))
    answer = team_version.policy.infer("first", seen["first.observations"])
    found = unpacked(*v2.render(request, {"first": answer}, team_version))
    assert found["first.actions"].dtype == np.int64
    np.testing.assert_array_equal(found["first.actions"], answer.actions)


@pytest.mark.parametrize("length", ["-1", "1e3", "", "99999999", "٣", "9" * 5000])
def test_length_header_must_be_a_length(small_version: ServedVersion, length: str) -> None:
    """The header is a number of bytes that the body has."""
    body, _ = packed(example())
    with pytest.raises(BadRequest, match=r"^inference-header-content-length: got"):
        parsed(small_version, body, {LENGTH_HEADER: length})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b, h: (b[:-1], h), r"^observations.binary_data_size: got 176, but 175 bytes are left"),
        (lambda b, h: (b + b"x", h), r"^body: got 1 bytes more than"),
        (lambda b, h: (b.replace(b":176", b":172"), h), r"^observations.binary_data_size: got 172, allowed is 176"),
        (lambda b, h: (b.replace(b":176", b":-76"), h), r"^observations.binary_data_size: got -76"),
        (lambda b, h: (b.replace(b":176}", b":17.}"), h), r"^body: got no valid JSON"),
        (lambda b, h: (b, {LENGTH_HEADER: "5"}), r"^body: got no valid JSON"),
    ],
)
def test_byte_counts_must_add_up(small_version: ServedVersion, change: Any, message: str) -> None:
    """Too few bytes, too many, or a size that is not the shape's, are named."""
    with pytest.raises(BadRequest, match=message):
        parsed(small_version, *change(*packed(example())))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e6])
def test_bytes_must_be_numbers_in_bounds(small_version: ServedVersion, value: float) -> None:
    """NaN, infinities and huge numbers, which bytes can hold, are refused with their place."""
    arrays = example()
    arrays["observations"][2, 5] = value
    with pytest.raises(BadRequest, match=r"^observations.data\[2\]\[5\]: got (nan|inf|-inf|2e\+06), allowed is"):
        parsed(small_version, *packed(arrays))


def test_data_twice_is_refused(small_version: ServedVersion) -> None:
    """A tensor has its data in the JSON or behind it."""
    seen = example()["observations"]
    body, headers = packed({"observations": seen})
    text = body[: int(headers[LENGTH_HEADER])].replace(b'"shape"', b'"data":[],"shape"')
    with pytest.raises(BadRequest, match=r"^observations.data: is given beside binary_data_size"):
        parsed(small_version, text + seen.tobytes(), {LENGTH_HEADER: str(len(text))})
