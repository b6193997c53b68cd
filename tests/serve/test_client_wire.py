"""What the clients say and hear."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

from serve import client_wire as wire

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


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, wire.InvalidRequestError),
        (413, wire.InvalidRequestError),
        (401, wire.AuthenticationError),
        (403, wire.AuthenticationError),
        (404, wire.NotFoundError),
        (429, wire.OverloadedError),
        (500, wire.PolicyError),
        (503, wire.UnavailableError),
        (504, wire.UnavailableError),
    ],
)
def test_refusals_have_types_and_say_why(status: int, kind: type[wire.PolicyError]) -> None:
    """The exception has the service's sentence, the status, and the request's id for the log."""
    error = wire.error_of(response(status, {"x-request-id": "r1", "retry-after": "3"}, b'{"error": "seed: got -1"}'))
    assert type(error) is kind
    assert (error.status, error.message, error.request_id, error.retry_after) == (status, "seed: got -1", "r1", 3.0)
    assert str(error) == f"{status}: seed: got -1 (request r1)"


@pytest.mark.parametrize("content", [b"<html>Bad Gateway</html>", b"[]", b"{}", b""])
def test_a_proxy_s_error_is_one_too(content: bytes) -> None:
    """What is not the service's JSON still becomes an exception with the status."""
    error = wire.error_of(response(502, content=content))
    assert type(error) is wire.UnavailableError
    assert "Bad Gateway, without an explanation" in str(error)


def test_no_answer_is_unavailable() -> None:
    """A connection that fails says so."""
    error = wire.error_of(httpx.ConnectError("Connection refused"))
    assert type(error) is wire.UnavailableError
    assert str(error) == "no answer: ConnectError: Connection refused"


def test_an_answer_that_is_not_json_is_no_answer() -> None:
    """Asking something else than the service ends in an exception of ours."""
    with pytest.raises(wire.PolicyError, match="is the address that of the service"):
        wire.get("/v2").read(response(200, content=b"<html>"))


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b'{"outputs": [{}]}', b'{"outputs": {"a": 1}}'])
@pytest.mark.parametrize("call", [wire.infer("m", [[1.0]], **ASKED), wire.act("m", {}), wire.policies()])
def test_an_answer_from_elsewhere_is_no_answer(call: wire.Call[Any], content: bytes) -> None:
    """A 200 that is not what the route answers ends in an exception of ours too."""
    with pytest.raises(wire.PolicyError, match="is the address that of the service"):
        call.read(response(200, content=content))
    if call.path.endswith("/infer"):
        with pytest.raises(wire.PolicyError):
            call.read(response(200, {wire.HEADER_LENGTH: "many"}, content))


@pytest.mark.parametrize(
    ("outcome", "repeatable", "again"),
    [
        (response(429), False, True),
        (response(503), False, True),
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
    ],
)
def test_only_what_is_safe_is_tried_again(
    outcome: httpx.Response | httpx.TransportError, repeatable: bool, again: bool
) -> None:
    """What may have been carried out is repeated only if nothing comes of that; what cannot get better never is."""
    assert (wire.Retries().wait(0, outcome, repeatable) is not None) is again


def test_waits_grow_and_end() -> None:
    """Each wait is up to twice the one before, none is longer than the longest, and after the last try none is left."""
    retries = wire.Retries(most=6, backoff=1.0, longest=8.0)
    for _ in range(50):
        waits = [retries.wait(done, response(503), True) for done in range(7)]
        assert waits[6] is None
        for wait, most in zip(waits[:6], (1, 2, 4, 8, 8, 8), strict=True):
            assert wait is not None
            assert most / 2 <= wait <= most


def test_retry_after_is_honoured() -> None:
    """The service's word is waited for, in seconds or until a date; one that is too far off ends the tries."""
    retries = wire.Retries(backoff=0.01, longest=10.0)
    assert retries.wait(0, response(429, {"retry-after": "3"}), True) == 3.0
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=5), usegmt=True)
    assert retries.wait(0, response(429, {"retry-after": date}), True) == pytest.approx(4.5, abs=0.6)
    assert retries.wait(0, response(429, {"retry-after": "11"}), True) is None
    wait = retries.wait(0, response(429, {"retry-after": "soon"}), True)
    assert wait is not None
    assert wait <= 0.01
