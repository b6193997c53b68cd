"""The Open Inference Protocol V2, as Triton, KServe and MLServer speak it, for policies.

One module: inputs `observations` FP32 [N, D], and if wanted `action_mask` BOOL [N, M] and `state` FP32 [N, H]; outputs
`actions` FP32 or INT64 [N, K], `log_probs` and `values` FP32 [N], `state`, and `action_dist_inputs` if asked for. Of
several modules the same, with `MODULE.` before the names; any of them may be asked alone. A module whose agents need
each other is asked for whole worlds: [W, A, …] in the place of [N, …], and if wanted `alive` BOOL [W, A]. `parameters`:
`deterministic` (true), `seed`, `session`. https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serve.errors import BadRequest
from serve.protocol import binary
from serve.protocol.checks import (
    allowed_range,
    as_float32,
    booleans,
    flag,
    in_bounds,
    json_object,
    known,
    listed,
    numbers,
    out_of_bounds,
    seed_of,
    session_of,
    shown,
    stuck_row,
    unpacked,
)
from serve.protocol.request import PolicyRequest
from serve.protocol.rows import ModuleRows
from serve.protocol.signature import NEEDED, Limits, Signature, Tensor, signature_of

if TYPE_CHECKING:
    from policies.bundle import Inference
    from serve.models import ServedModel, ServedVersion

PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ("binary_tensor_data",)

_REQUEST = ("id", "parameters", "inputs", "outputs", "model_name")
_INPUT = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT = ("name", "parameters")
_PARAMETERS = ("deterministic", "seed", "session", binary.ALL_WANTED)
_JSON = (b"content-type", b"application/json")
_BINARY = (b"content-type", b"application/octet-stream")
_LENGTH = binary.LENGTH_HEADER.encode()
_NONE: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A request that is JSON, but not yet held against a version.

    Attributes:
        plain: The JSON object.
        tail: The bytes behind it.
        parameters: Its parameters.
        session: Its session, if it has one.
    """

    plain: dict[str, Any]
    tail: memoryview
    parameters: dict[str, Any]
    session: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest(PolicyRequest):
    """A request of the protocol.

    Attributes:
        id: The client's name for it; None if it has none.
        outputs: Which outputs are wanted, and whether as binary data.
    """

    id: str | None
    outputs: list[tuple[Tensor, bool]]


def load(body: bytes, headers: Mapping[str, str], limits: Limits) -> Loaded:
    """Reads the JSON of a request.

    Args:
        body: The body.
        headers: The headers, names in lower case.
        limits: How much a request may hold.

    Raises:
        serve.errors.ServiceError: If the body is not what the protocol wants.
    """
    encoding = headers.get("content-encoding")
    if encoding is not None:
        body = unpacked(body, encoding, limits.max_body_bytes)
    text, tail = binary.split(body, headers.get(binary.LENGTH_HEADER))
    plain = json_object(text, "body", limits.max_json_values)
    known(plain, _REQUEST, "")
    parameters = plain.get("parameters")
    if parameters is None:
        return Loaded(plain, tail, _NONE, None)
    if type(parameters) is not dict:
        raise BadRequest(f"parameters: got {shown(parameters)}, allowed is an object")
    known(parameters, _PARAMETERS, "parameters.")
    return Loaded(plain, tail, parameters, session_of(parameters.get("session"), "parameters.session"))


def parse(loaded: Loaded, version: ServedVersion, limits: Limits) -> InferRequest:
    """Holds a request against the version that is to answer it.

    Args:
        loaded: The request.
        version: The version.
        limits: How much a request may hold.

    Raises:
        serve.errors.BadRequest: If it does not fit; the sentence names the tensor.
    """
    return fit(loaded, signature_of(version.policy), version.name, limits)


def fit(loaded: Loaded, signature: Signature, served: str, limits: Limits) -> InferRequest:
    """As `parse`, of what a version takes and its model's name."""
    plain, parameters = loaded.plain, loaded.parameters
    name = plain.get("id")
    if name is not None and (type(name) is not str or len(name) > 256):
        raise BadRequest(f"id: got {shown(name)}, allowed is a string of at most 256 characters")
    model = plain.get("model_name")  # KServe's client repeats it here
    if model is not None and model != served:
        raise BadRequest(f"model_name: got {shown(model)}, allowed is {shown(served)}, as in the path")
    rows = _rows(plain.get("inputs"), loaded.tail, signature, limits)
    wanted = parameters.get(binary.ALL_WANTED, False)
    deterministic = parameters.get("deterministic", True)
    return InferRequest(
        id=name,
        rows=rows,
        deterministic=flag(deterministic, "parameters.deterministic"),
        seed=seed_of(parameters.get("seed"), "parameters.seed"),
        session=loaded.session,
        outputs=_outputs(plain.get("outputs"), flag(wanted, f"parameters.{binary.ALL_WANTED}"), rows, signature),
        recurrent=any(signature.modules[module].state_size for module in rows),
        signature=signature,
    )


def render(
    request: InferRequest, answers: Mapping[str, Inference], version: ServedVersion
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body of a response, and its headers.

    Args:
        request: What was asked.
        answers: The answers, by module.
        version: The version that gave them.
    """
    outputs: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for tensor, as_binary in request.outputs:
        array = _answer(tensor, answers[tensor.module])
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": array.shape}
        if as_binary:
            tails.append(binary.as_bytes(array, tensor.datatype))
            output["parameters"] = {binary.SIZE: len(tails[-1])}
        else:
            output["data"] = array.ravel()
        outputs.append(output)
    plain = {"model_name": version.name, "model_version": version.version, "outputs": outputs}
    if request.id is not None:
        plain["id"] = request.id
    text = orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tails:
        return text, [_JSON]
    return b"".join((text, *tails)), [_BINARY, (_LENGTH, b"%d" % len(text))]


def server_metadata(name: str, version: str) -> dict[str, Any]:
    """What `GET /v2` answers."""
    return {"name": name, "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(model: ServedModel, version: ServedVersion) -> dict[str, Any]:
    """What `GET /v2/models/{model}` and `…/versions/{version}` answer.

    Args:
        model: The model.
        version: The version whose tensors are described.
    """
    signature = signature_of(version.policy)
    return {
        "name": model.name,
        "versions": sorted(model.versions, key=lambda number: (len(number), number)),
        "platform": PLATFORM,
        "inputs": [_described(tensor) for tensor in signature.inputs.values()],
        "outputs": [_described(tensor) for tensor in signature.outputs.values()],
    }


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _answer(tensor: Tensor, answer: Inference) -> NDArray[Any]:
    """The array that an output is."""
    name = "dist_inputs" if tensor.role == "action_dist_inputs" else tensor.role
    array: NDArray[Any] = getattr(answer, name)
    return array.reshape(-1, tensor.team_size, *array.shape[1:]) if tensor.team_size else array


def _rows(inputs: Any, tail: memoryview, signature: Signature, limits: Limits) -> dict[str, ModuleRows]:
    """What is asked, by module."""
    if type(inputs) is not list or not inputs:
        raise BadRequest(f"inputs: got {shown(inputs)}, allowed is a list of one tensor or more")
    if len(inputs) > len(signature.inputs):
        raise BadRequest(f"inputs: got {len(inputs)} tensors, allowed are {listed(signature.inputs)}, each once")
    left = binary.Tail(tail)
    found: dict[str, dict[str, NDArray[Any]]] = {}
    total = 0
    for index, given in enumerate(inputs):
        tensor, shape = _declared(given, index, signature)
        roles = found.setdefault(tensor.module, {})
        if tensor.role in roles:
            raise BadRequest(f"{tensor.name}: is given twice, allowed is once")
        count = shape[0] * (tensor.team_size or 1)
        if tensor.role == "observations":
            total += count
            if not 0 < total <= limits.max_rows or not count:
                raise BadRequest(f"{tensor.name}.shape: got {count} rows, allowed are 1 to {limits.max_rows} in all")
        elif count > limits.max_rows:
            raise BadRequest(f"{tensor.name}.shape: got {count} rows, allowed are at most {limits.max_rows}")
        roles[tensor.role] = _tensor(given, tensor, shape, left)
    left.finish()
    rows = {}
    for module, roles in found.items():
        observations = roles.get("observations")
        prefix = f"{module}." if len(signature.modules) > 1 else ""
        if observations is None:
            raise BadRequest(f"{prefix}observations: is missing, but {prefix}{next(iter(roles))} is given")
        for role, array in roles.items():
            if len(array) != len(observations):
                raise BadRequest(
                    f"{prefix}{role}.shape: got {len(array)} rows, allowed are {len(observations)}, as of "
                    f"{prefix}observations"
                )
        masks, alive = roles.get("action_mask"), None
        if team := signature.modules[module].team:
            alive = roles.get("alive", np.ones(len(observations), np.bool_))
            there = alive.reshape(-1, len(team)).any(axis=1)
            if not there.all():
                world = int(np.argmin(there))
                raise BadRequest(f"{prefix}alive[{world}]: has nobody there, allowed is one true or more in each world")
            masks = None if masks is None else masks | ~alive[:, None]  # what who is away may do is no matter
        if masks is not None and (stuck := stuck_row(masks, signature.modules[module])):
            raise BadRequest(
                f"{prefix}action_mask[{stuck[0]}]: allows nothing in branch {stuck[1]}, allowed is one true or more in "
                "each branch"
            )
        rows[module] = ModuleRows(observations, masks, roles.get("state"), alive)
    return rows


def _declared(given: Any, index: int, signature: Signature) -> tuple[Tensor, tuple[int, ...]]:
    """Which tensor an input is, and its shape, if name, datatype and shape are right."""
    if type(given) is not dict:
        raise BadRequest(f"inputs[{index}]: got {shown(given)}, allowed is an object")
    name = given.get("name")
    tensor = signature.inputs.get(name) if type(name) is str else None
    if tensor is None:
        raise BadRequest(f"inputs[{index}].name: got {shown(name)}, allowed are {listed(signature.inputs)}")
    known(given, _INPUT, f"{name}.")
    if given.get("datatype") != tensor.datatype:
        raise BadRequest(f"{name}.datatype: got {shown(given.get('datatype'))}, allowed is {tensor.datatype}")
    shape, wanted = given.get("shape"), tensor.shape
    if (
        type(shape) is not list
        or len(shape) != len(wanted)
        or any(type(size) is not int for size in shape)
        or shape[0] < 0
        or shape[1:] != wanted[1:]
    ):
        # Only what is short and flat is shown: lists can be read that are nested too deep to be written.
        flat = type(shape) is list and len(shape) <= 8 and not any(type(each) in (list, dict) for each in shape)
        text = orjson.dumps(shape).decode() if flat else shown(shape)
        allowed = ", ".join(["W" if tensor.team_size else "N", *map(str, wanted[1:])])
        why = f": {NEEDED}" if tensor.team_size else ""
        raise BadRequest(f"{name}.shape: got {text if len(text) < 60 else shown(shape)}, allowed is [{allowed}]{why}")
    return tensor, tuple(shape)


def _tensor(given: dict[str, Any], tensor: Tensor, shape: tuple[int, ...], left: binary.Tail) -> NDArray[Any]:
    """The content of an input, as rows: those of whole worlds one world after the other."""
    name, size = tensor.name, prod(shape)
    rows = (size,) if tensor.width is None else (prod(shape[:-1]), tensor.width)
    parameters = given.get("parameters")
    if parameters:
        if type(parameters) is not dict:
            raise BadRequest(f"{name}.parameters: got {shown(parameters)}, allowed is an object")
        known(parameters, (binary.SIZE,), f"{name}.parameters.")
        if "data" in given:
            raise BadRequest(f"{name}.data: is given beside {binary.SIZE}, allowed is one of them")
        array = left.take(parameters.get(binary.SIZE), tensor.datatype, shape, name)
    else:
        if "data" not in given:
            raise BadRequest(f"{name}.data: is missing, allowed are {size} values, or {binary.SIZE}")
        data = given["data"]
        if tensor.team_size and tensor.width is not None:
            data = _row_by_row(data)
        array = (booleans if tensor.datatype == "BOOL" else numbers)(data, f"{name}.data")
        if array.shape not in (shape, rows) and (array.size != size or array.ndim != 1):
            raise BadRequest(
                f"{name}.data: got shape {list(array.shape)}, allowed is {list(shape)}, or its {size} values in one "
                "list"
            )
    array = array.reshape(rows)
    if tensor.datatype == "BOOL":
        return array
    if not in_bounds(array):
        row, column, value = out_of_bounds(array)
        world = f"[{row // tensor.team_size}][{row % tensor.team_size}]" if tensor.team_size else f"[{row}]"
        raise BadRequest(f"{name}.data{world}[{column}]: got {value}, {allowed_range()}")
    return as_float32(array)


def _row_by_row(data: Any) -> Any:
    """Lists in lists in lists, one a world, as lists in lists, one a row; anything else as it is."""
    if type(data) is list and all(type(world) is list and world and type(world[0]) is list for world in data):
        return [row for world in data for row in world]
    return data


def _outputs(
    outputs: Any, all_binary: bool, rows: Mapping[str, ModuleRows], signature: Signature
) -> list[tuple[Tensor, bool]]:
    """Which outputs are wanted, and whether as binary data."""
    if outputs is None or outputs == []:
        return [
            (tensor, all_binary)
            for tensor in signature.outputs.values()
            if not tensor.optional and tensor.module in rows
        ]
    if type(outputs) is not list:
        raise BadRequest(f"outputs: got {shown(outputs)}, allowed is a list")
    wanted: list[tuple[Tensor, bool]] = []
    seen: set[str] = set()
    for index, given in enumerate(outputs):
        if type(given) is not dict:
            raise BadRequest(f"outputs[{index}]: got {shown(given)}, allowed is an object")
        known(given, _OUTPUT, f"outputs[{index}].")
        name = given.get("name")
        tensor = signature.outputs.get(name) if type(name) is str else None
        if tensor is None or tensor.module not in rows:
            allowed = [each.name for each in signature.outputs.values() if each.module in rows]
            raise BadRequest(f"outputs[{index}].name: got {shown(name)}, allowed are {listed(allowed)}")
        if tensor.name in seen:
            raise BadRequest(f"outputs[{index}].name: {tensor.name} is asked for twice, allowed is once")
        seen.add(tensor.name)
        parameters = given.get("parameters") or _NONE
        what = f"outputs[{index}].parameters"
        if type(parameters) is not dict:
            raise BadRequest(f"{what}: got {shown(parameters)}, allowed is an object")
        known(parameters, (binary.WANTED,), f"{what}.")
        wanted.append((tensor, flag(parameters.get(binary.WANTED, all_binary), f"{what}.{binary.WANTED}")))
    return wanted
