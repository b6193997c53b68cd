"""The Open Inference Protocol: what is asked is what is answered, and what is refused is named."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serve.errors import BadRequest, TooLarge, UnsupportedMediaType
from serve.models import ServedModel, ServedVersion
from serve.protocol import v2
from serve.settings import ServeSettings

LIMITS = ServeSettings(max_rows=32)
WIDTH = 11


def tensor(name: str = "observations", rows: int = 2, width: int = WIDTH, **changes: Any) -> dict[str, Any]:
    """An input that the small model takes, unless changed."""
    data = np.linspace(-1, 1, rows * width).tolist()
    return {"name": name, "shape": [rows, width], "datatype": "FP32", "data": data} | changes


def mask(rows: int = 2, width: int = 3, name: str = "action_mask", **changes: Any) -> dict[str, Any]:
    return {"name": name, "shape": [rows, width], "datatype": "BOOL", "data": [True] * rows * width} | changes


def parsed(version: ServedVersion, body: Any, headers: dict[str, str] | None = None) -> v2.InferRequest:
    """A request, as the service reads it."""
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    return v2.parse(v2.load(text, headers or {}, LIMITS), version, LIMITS)


def answered(version: ServedVersion, request: v2.InferRequest) -> dict[str, Any]:
    """The answers of the bundle itself."""
    return {
        module: version.policy.infer(module, rows.observations, rows.masks, state=rows.state)
        for module, rows in request.rows.items()
    }


def replied(version: ServedVersion, request: v2.InferRequest) -> dict[str, Any]:
    """The response's JSON, outputs by name."""
    body, headers = v2.render(request, answered(version, request), version)
    assert headers == [(b"content-type", b"application/json")]
    plain = orjson.loads(body)
    return plain | {"outputs": {output["name"]: output for output in plain["outputs"]}}


@given(seen=arrays(np.float32, (3, WIDTH), elements=st.floats(-1e6, 1e6, width=32)), nested=st.booleans())
def test_numbers_arrive_to_the_bit(small_version: ServedVersion, seen: Any, nested: bool) -> None:
    """Float32 values go through JSON unchanged, in one list or in nested ones."""
    data = seen.tolist() if nested else seen.ravel().tolist()
    request = parsed(small_version, {"inputs": [tensor(rows=3, data=data)]})
    found = request.rows["shared"].observations
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, seen)


def test_answer_is_the_bundles_to_the_bit(small_version: ServedVersion) -> None:
    """All outputs are the bundle's own, by name, datatype and shape, after a trip through JSON."""
    request = parsed(small_version, {"id": "a-1", "inputs": [tensor(), mask()]})
    reply, wanted = replied(small_version, request), answered(small_version, request)["shared"]
    assert (reply["model_name"], reply["model_version"], reply["id"]) == ("small", "1", "a-1")
    assert list(reply["outputs"]) == ["actions", "log_probs", "values"]
    for name, array in (("actions", wanted.actions), ("log_probs", wanted.log_probs), ("values", wanted.values)):
        output = reply["outputs"][name]
        assert (output["datatype"], output["shape"]) == ("FP32", list(array.shape))
        np.testing.assert_array_equal(np.array(output["data"], np.float32).reshape(array.shape), array)


def test_several_modules_may_be_asked_alone_or_together(team_version: ServedVersion) -> None:
    """Tensors bear their module's name; outputs come for the modules that were asked, discrete ones as integers."""
    alone = parsed(team_version, {"inputs": [tensor("second.observations")]})
    assert list(alone.rows) == ["second"]
    reply = replied(team_version, alone)
    assert list(reply["outputs"]) == ["second.actions", "second.log_probs"]
    assert reply["outputs"]["second.actions"]["datatype"] == "INT64"
    together = parsed(
        team_version,
        {
            "inputs": [
                mask(width=5, name="first.action_mask"),
                tensor("first.observations"),
                tensor("shared.observations"),
            ]
        },
    )
    assert set(together.rows) == {"first", "shared"}
    assert together.rows["first"].masks is not None
    assert together.num_rows == 4


def test_outputs_come_as_asked(small_version: ServedVersion) -> None:
    """Only the outputs that are named come, in that order; distribution inputs among them."""
    outputs = [{"name": "action_dist_inputs"}, {"name": "values"}]
    reply = replied(small_version, parsed(small_version, {"inputs": [tensor()], "outputs": outputs}))
    assert list(reply["outputs"]) == ["action_dist_inputs", "values"]
    assert reply["outputs"]["action_dist_inputs"]["shape"] == [2, 6]
    assert "id" not in reply


def test_parameters(small_version: ServedVersion) -> None:
    """Seed, session and sampling are read; the session before a version is known."""
    body = {"inputs": [tensor()], "parameters": {"deterministic": False, "seed": 7, "session": "s"}}
    assert v2.load(orjson.dumps(body), {}, LIMITS).session == "s"
    request = parsed(small_version, body)
    assert (request.deterministic, request.seed, request.session, request.recurrent) == (False, 7, "s", False)
    plain = parsed(small_version, {"inputs": [tensor()], "parameters": {}})
    assert (plain.deterministic, plain.seed, plain.session) == (True, None, None)


def test_state_goes_in_and_comes_out(recurrent_version: ServedVersion) -> None:
    """A recurrent model takes `state`, and gives the next one; a session's memory stands in for it."""
    state = {"name": "state", "shape": [2, 4], "datatype": "FP32", "data": [0.5] * 8}
    given = parsed(recurrent_version, {"inputs": [tensor(), state]})
    assert given.recurrent
    reply = replied(recurrent_version, given)
    assert reply["outputs"]["state"]["shape"] == [2, 4]
    fresh = parsed(recurrent_version, {"inputs": [tensor()], "parameters": {"session": "s"}})
    assert fresh.rows["shared"].state is None
    kept = fresh.memory(answered(recurrent_version, fresh))
    again = fresh.with_memory(kept)
    np.testing.assert_array_equal(again.rows["shared"].state, answered(recurrent_version, fresh)["shared"].state)
    assert given.with_memory(kept).rows["shared"].state is given.rows["shared"].state


def bad(**changes: Any) -> dict[str, Any]:
    return {"inputs": [tensor(**changes)]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", r"^body: got no valid JSON \(no bytes\)"),
        (orjson.dumps({"inputs": [tensor()]})[:-20], r"^body: got no valid JSON"),
        (b'{"inputs": [{"name": "observations", "data": [NaN]}]}', r"^body: got no valid JSON"),
        (b"\xff\xfe{}", r"^body: got no valid JSON"),
        (b"[" * 100_000, r"^body: got no valid JSON"),
        ([], r"^body: got JSON of type array, allowed is an object"),
        ({}, r"^inputs: got null, allowed is a list"),
        ({"inputs": []}, r"^inputs: got an array of 0"),
        ({"inputs": {}}, r"^inputs: got an object"),
        ({"input": []}, r'^"input": is not known, allowed are id, parameters, inputs'),
        ({"inputs": [3]}, r"^inputs\[0\]: got 3"),
        ({"inputs": [tensor()], "id": 3}, r"^id: got 3"),
        ({"inputs": [tensor()], "model_name": "other"}, r'^model_name: got "other", allowed is "small"'),
        ({"inputs": [tensor()], "parameters": 1}, r"^parameters: got 1, allowed is an object"),
        ({"inputs": [tensor()], "parameters": {"sed": 1}}, r'^parameters."sed": is not known, allowed are deter'),
        ({"inputs": [tensor()], "parameters": {"deterministic": 1}}, r"^parameters.deterministic: got 1, allowed"),
        ({"inputs": [tensor()], "parameters": {"seed": -1}}, r"^parameters.seed: got -1"),
        ({"inputs": [tensor()], "parameters": {"seed": True}}, r"^parameters.seed: got true"),
        ({"inputs": [tensor()], "parameters": {"session": ""}}, r"^parameters.session: got \"\""),
        ({"inputs": [tensor()], "outputs": [{"name": "action"}]}, r'^outputs\[0\].name: got "action", allowed'),
        ({"inputs": [tensor()], "outputs": [{"name": "values"}] * 2}, r"^outputs\[1\].name: values is asked"),
        ({"inputs": [tensor()], "outputs": [{"name": "values", "parameters": {"class": 3}}]}, r"\"class\": is"),
        ({"inputs": [tensor(), tensor()]}, r"^observations: is given twice"),
        ({"inputs": [tensor()] * 3}, r"^inputs: got 3 tensors"),
        ({"inputs": [mask()]}, r"^observations: is missing, but action_mask is given"),
        ({"inputs": [tensor(), mask(rows=1)]}, r"^action_mask.shape: got 1 rows, allowed are 2"),
        ({"inputs": [tensor(), mask(data=[1] * 6)]}, r"^action_mask.data: got 1, allowed are true and false"),
        ({"inputs": [tensor(), mask(datatype="FP32")]}, r'^action_mask.datatype: got "FP32", allowed is BOOL'),
        (bad(name="observation"), r'^inputs\[0\].name: got "observation", allowed are observations, action_mask'),
        (bad(datatype="FP64"), r'^observations.datatype: got "FP64", allowed is FP32'),
        (bad(shape=[2, 12]), r"^observations.shape: got \[2,12\], allowed is \[N, 11\]"),
        (bad(shape=[22]), r"^observations.shape: got \[22\]"),
        (bad(shape=[-2, 11]), r"^observations.shape: got \[-2,11\]"),
        (bad(shape=[2.0, 11]), r"^observations.shape: got \[2.0,11\]"),
        (bad(shape=[True, 11]), r"^observations.shape"),
        (bad(shape="2x11"), r"^observations.shape"),
        (bad(shape=[0, 11], data=[]), r"^observations.shape: got 0 rows, allowed are 1 to 32"),
        (bad(shape=[33, 11], data=[0.0] * 363), r"^observations.shape: got 33 rows, allowed are 1 to 32"),
        (bad(shape=[2**62, 11]), r"^observations.shape: got 4611686018427387904 rows"),
        (bad(data=[0.0] * 21), r"^observations.data: got shape \[21\], allowed is \[2, 11\], or its 22 values"),
        (bad(data=[[0.0] * 11, [0.0] * 10]), r"^observations.data: got lists of different lengths"),
        (bad(data=[[0.0] * 2] * 11), r"^observations.data: got shape \[11, 2\]"),
        (bad(data=[[[0.0] * 11] * 2]), r"^observations.data: got an array of 11"),
        (bad(data=[0.0] * 21 + [None]), r"^observations.data: got null, allowed are numbers"),
        (bad(data=[0.0] * 21 + ["1.5"]), r'^observations.data: got "1.5"'),
        (bad(data=[0.0] * 21 + [True]), r"^observations.data: got true"),
        (bad(data=[0.0] * 21 + ["x" * 9999]), r"^observations.data: got a string of 9999"),
        (bad(data=[0.0] * 21 + [1e39]), r"^observations.data\[1\]\[10\]: got 1e\+39, allowed is -1e\+06 to 1e\+06"),
        (bad(data=[-1000001] + [0] * 21), r"^observations.data\[0\]\[0\]: got -1e\+06"),
        (bad(data="abc"), r'^observations.data: got "abc", allowed is a list'),
        (bad(dat=3), r'^observations."dat": is not known'),
        ({"inputs": [{k: x for k, x in tensor().items() if k != "data"}]}, r"^observations.data: is missing"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(small_version: ServedVersion, body: Any, message: str) -> None:
    """Whatever is wrong is one sentence that begins with the field, and a 400."""
    with pytest.raises(BadRequest, match=message) as caught:
        parsed(small_version, body)
    assert "\n" not in caught.value.message


def test_mask_must_leave_a_choice(team_version: ServedVersion) -> None:
    """A discrete branch without any choice is named; all dimensions of a continuous action may be masked."""
    stuck = mask(width=5, name="first.action_mask", data=[True] * 8 + [False] * 2)
    with pytest.raises(BadRequest, match=r"^first.action_mask\[1\]: allows nothing in branch 1"):
        parsed(team_version, {"inputs": [tensor("first.observations"), stuck]})
    idle = mask(name="shared.action_mask", data=[False] * 6)
    request = parsed(team_version, {"inputs": [tensor("shared.observations"), idle]})
    assert not answered(team_version, request)["shared"].actions.any()


def test_compressed_bodies(small_version: ServedVersion) -> None:
    """Gzip is unpacked; bombs, other encodings and broken streams are refused."""
    body = gzip.compress(orjson.dumps({"inputs": [tensor()]}))
    assert parsed(small_version, body, {"content-encoding": "gzip"}).num_rows == 2
    with pytest.raises(UnsupportedMediaType, match=r'^content-encoding: got "br"'):
        parsed(small_version, body, {"content-encoding": "br"})
    with pytest.raises(BadRequest, match=r"^body: got gzip that breaks off"):
        parsed(small_version, body[:-9], {"content-encoding": "gzip"})
    with pytest.raises(BadRequest, match=r"^body: got bytes that are not deflate"):
        parsed(small_version, body, {"content-encoding": "deflate"})
    with pytest.raises(TooLarge, match=r"unpacked"):
        parsed(small_version, gzip.compress(bytes(LIMITS.max_body_bytes + 1)), {"content-encoding": "gzip"})


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_follows_a_compressed_body(small_version: ServedVersion, encoding: str) -> None:
    """Members of gzip may follow one another, up to a number of them; anything else behind the end is refused."""
    text = orjson.dumps({"inputs": [tensor()]})
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    headers = {"content-encoding": encoding}
    both = pack(text[:20]) + pack(text[20:])
    if encoding == "gzip":
        assert parsed(small_version, both, headers).num_rows == 2
        with pytest.raises(BadRequest, match=r"^body: got \d+ more bytes behind the end of gzip"):
            parsed(small_version, pack(b" ") * 20 + pack(text), headers)
        with pytest.raises(TooLarge, match=r"unpacked"):
            parsed(small_version, pack(bytes(LIMITS.max_body_bytes)) + pack(b" "), headers)
    else:
        with pytest.raises(BadRequest, match=r"behind the end of deflate, allowed is nothing"):
            parsed(small_version, both, headers)
    with pytest.raises(BadRequest):
        parsed(small_version, pack(text) + b"garbage", headers)


def test_shape_nested_too_deep_to_be_shown(small_version: ServedVersion) -> None:
    """A shape of lists in lists is refused like any other wrong one, however deep they go."""
    deep = b"[" * 300 + b"]" * 300
    body = orjson.dumps({"inputs": [tensor(shape="here")]}).replace(b'"here"', deep)
    with pytest.raises(BadRequest, match=r"^observations.shape: got an array of 1, allowed is \[N, 11\]"):
        parsed(small_version, body)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(key=st.sampled_from(["id", "parameters", "inputs", "outputs"]), value=JSON_VALUES)
def test_no_field_is_taken_at_its_word(small_version: ServedVersion, key: str, value: Any) -> None:
    """Any JSON in any field is either understood or refused, never an exception of another kind."""
    with suppress(BadRequest):
        parsed(small_version, {"inputs": [tensor()]} | {key: value})


@given(
    key=st.sampled_from(["name", "shape", "datatype", "data", "parameters"]),
    value=JSON_VALUES | st.just(["observations"]),
)
def test_no_field_of_a_tensor_is_taken_at_its_word(small_version: ServedVersion, key: str, value: Any) -> None:
    """The same inside a tensor."""
    with suppress(BadRequest):
        parsed(small_version, {"inputs": [tensor() | {key: value}]})


def test_metadata(team_version: ServedVersion, as_model: Any) -> None:
    """Metadata names each tensor, its datatype, and -1 where its shape varies."""
    model: ServedModel = as_model(team_version)
    metadata = v2.model_metadata(model, team_version)
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("team", ["1"], "onnxruntime_onnx")
    inputs = {each["name"]: each for each in metadata["inputs"]}
    assert inputs["shared.observations"] == {"name": "shared.observations", "datatype": "FP32", "shape": [-1, 11]}
    assert inputs["first.action_mask"] == {"name": "first.action_mask", "datatype": "BOOL", "shape": [-1, 5]}
    outputs = {each["name"]: each for each in metadata["outputs"]}
    assert outputs["second.actions"] == {"name": "second.actions", "datatype": "INT64", "shape": [-1, 2]}
    assert outputs["shared.values"]["shape"] == [-1]
    assert "second.values" not in outputs
    assert "binary_tensor_data" in v2.server_metadata("entrepot", "1")["extensions"]
