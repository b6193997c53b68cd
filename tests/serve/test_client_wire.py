"""What the clients say and hear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from serve import client_wire as wire
from serve.client_errors import InvalidRequestError, PolicyError

ASKED: dict[str, Any] = {
    "version": None,
    "deterministic": True,
    "seed": None,
    "session": None,
    "outputs": None,
    "binary": True,
}


def response(status: int, headers: Mapping[str, str] | None = None, content: bytes = b"") -> httpx.Response:
    return httpx.Response(status, headers=headers, content=content, request=httpx.Request("POST", "http://test/"))


def test_a_binary_request_has_its_arrays_behind_the_json() -> None:
    """Float rows and boolean masks follow the JSON as bytes, with sizes that say where each ends."""
    observations, mask = np.arange(6.0).reshape(2, 3), [[1, 0], [0, 1]]
    call = wire.infer("trading", {"observations": observations, "action_mask": mask}, **ASKED)
    end = int(call.headers[wire.HEADER_LENGTH])
    head = orjson.loads(call.content[:end])
    assert [(each["name"], each["datatype"], each["shape"]) for each in head["inputs"]] == [
        ("observations", "FP32", [2, 3]),
        ("action_mask", "BOOL", [2, 2]),
    ]
    assert [each["parameters"]["binary_data_size"] for each in head["inputs"]] == [24, 4]
    assert head["parameters"] == {"deterministic": True, "binary_data_output": True}
    assert np.frombuffer(call.content[end : end + 24], "<f4").tolist() == observations.ravel().tolist()
    assert call.content[end + 24 :] == b"\1\0\0\1"


def test_a_json_request_is_all_json() -> None:
    """Without binary data everything that was asked for is in the body, in plain numbers."""
    asked = {**ASKED, "binary": False, "seed": 7, "session": "s", "deterministic": False, "outputs": ["actions"]}
    call = wire.infer("a b/c", np.ones((1, 2), np.float32), **{**asked, "version": 3})
    assert call.path == "/v2/models/a%20b%2Fc/versions/3/infer"
    assert orjson.loads(call.content) == {
        "parameters": {"deterministic": False, "seed": 7, "session": "s"},
        "inputs": [{"name": "observations", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 1.0]}],
        "outputs": [{"name": "actions", "parameters": {"binary_data": False}}],
    }


def test_masks_of_modules_are_booleans_too() -> None:
    """The datatype follows from the name behind the module's."""
    call = wire.infer("m", {"a.observations": [[0.0]], "a.action_mask": [[True]]}, **{**ASKED, "binary": False})
    assert [each["datatype"] for each in orjson.loads(call.content)["inputs"]] == ["FP32", "BOOL"]


def test_an_answer_may_mix_binary_and_json() -> None:
    """Each tensor is read from where it is, with its type and shape."""
    outputs = [
        {"name": "actions", "datatype": "INT64", "shape": [2, 1], "parameters": {"binary_data_size": 16}},
        {"name": "log_probs", "datatype": "FP32", "shape": [2], "data": [-0.5, -1.5]},
        {"name": "values", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
    ]
    head = orjson.dumps({"model_name": "m", "model_version": "3", "id": "i", "outputs": outputs})
    tail = np.array([4, 5], "<i8").tobytes() + np.array([0.5, 2.5], "<f4").tobytes()
    call = wire.infer("m", [[0.0]], **ASKED)
    answer = call.read(response(200, {wire.HEADER_LENGTH: str(len(head))}, head + tail))
    assert (answer.model, answer.version, answer.id) == ("m", "3", "i")
    assert answer.actions.tolist() == [[4], [5]]
    assert answer.actions.dtype == np.int64
    assert answer.outputs["log_probs"].tolist() == [-0.5, -1.5]
    assert answer.outputs["values"].tolist() == [0.5, 2.5]


def test_an_act_request_takes_arrays_anywhere() -> None:
    """Arrays and NumPy's numbers become JSON wherever they stand, and what is not given is left out."""
    observations = {"a": np.arange(4, dtype=np.float32)[::2], "b": {"x": np.float32(0.5)}}
    call = wire.act("m", {"observations": observations, "seed": None, "action_masks": {"a": np.array([True])}})
    assert call.path == "/v1/policies/m/act"
    assert orjson.loads(call.content) == {
        "observations": {"a": [0.0, 2.0], "b": {"x": 0.5}},
        "action_masks": {"a": [True]},
    }


def test_an_answer_that_is_not_json_is_no_answer() -> None:
    """Asking something else than the service ends in an exception of ours."""
    with pytest.raises(PolicyError, match="is the address that of the service"):
        wire.get("/v2").read(response(200, content=b"<html>"))


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"outputs": [{}]}', b'{"outputs": {"a": 1}}'])
@pytest.mark.parametrize("call", [wire.infer("m", [[1.0]], **ASKED), wire.act("m", {}), wire.policies()])
def test_an_answer_from_elsewhere_is_no_answer(call: wire.Call[Any], content: bytes) -> None:
    """A 200 that is not what the route answers ends in an exception of ours too."""
    with pytest.raises(PolicyError, match="is the address that of the service"):
        call.read(response(200, content=content))
    if call.path.endswith("/infer"):
        with pytest.raises(PolicyError):
            call.read(response(200, {wire.HEADER_LENGTH: "many"}, content))


@pytest.mark.parametrize("name", ["", ".", "..", "\ud800", None, 7, b"m"])
def test_a_name_that_is_no_part_of_a_path_is_refused(name: Any) -> None:
    """Before anything is sent, by what it is: the model or the version."""
    for make in (wire.model_path, wire.policy_path):
        with pytest.raises(InvalidRequestError, match=r"^not sent: model: got .*, allowed is a name"):
            make(name)
    if isinstance(name, str):
        with pytest.raises(InvalidRequestError, match=r"^not sent: version: got "):
            wire.model_path("m", name)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([[0.0], [0.0, 1.0]], "'observations': "),
        ([["a"]], "'observations': could not convert string to float"),
        ({"a.action_mask": [[True], []]}, "'a.action_mask': .* allowed are true and false"),
        ({"x": object()}, "'x': "),
        ({"\ud800": [[0.0]]}, "'inputs': got what JSON cannot say"),
        ({7: [[0.0]], "observations": [[10**400]]}, "'observations': "),
    ],
)
def test_inputs_that_are_no_arrays_are_refused(inputs: Any, message: str) -> None:
    """The message names the tensor."""
    with pytest.raises(InvalidRequestError, match=f"^not sent: {message}"):
        wire.infer("m", inputs, **ASKED)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("observations", {"a": object()}),
        ("session", "\ud800"),
        ("state", 1j),
        ("observations", {"a": {1, 2, "\udfff"}}),
    ],
)
def test_fields_that_json_cannot_say_are_refused(field: str, value: Any) -> None:
    """The message names the field."""
    with pytest.raises(InvalidRequestError, match=f"^not sent: '{field}': got what JSON cannot say"):
        wire.act("m", {"explain": 3, field: value})
