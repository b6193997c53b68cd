"""What the clients say and hear: requests as bytes, answers as arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

from serve.client_errors import InvalidRequestError, PolicyError

T = TypeVar("T")
Array = NDArray[Any]

HEADER_LENGTH = "inference-header-content-length"
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


@dataclass(frozen=True)
class Inferred:
    """An answer to `infer`.

    Attributes:
        model: Name of the model.
        version: Number of the version that answered.
        id: Id of the request.
        outputs: Tensors by name.
    """

    model: str
    version: str
    id: str
    outputs: dict[str, Array]

    @property
    def actions(self) -> Array:
        """Actions of the only module, as the env takes them: float32 or int64 `[N, K]`."""
        return self.outputs["actions"]


@dataclass(frozen=True)
class Acted:
    """An answer to `act`: what the service said, as it said it.

    Attributes:
        model: Name of the model.
        version: Number of the version that answered.
        request_id: Id of the request.
        actions: What each agent does, as the env takes it; a list of that where several steps were asked for.
        log_probs: Logarithm of the density, or probability, of the actions.
        values: The critic's values; None if the policy has none.
        state: Recurrent state to send with the next step; None if the policy has none.
        session: Session that the service keeps the state under; None if none was asked for.
        explanations: What the actions hang on; None if not asked for.
    """

    model: str
    version: str
    request_id: str
    actions: Any
    log_probs: Any = None
    values: Any = None
    state: Any = None
    session: str | None = None
    explanations: Any = None


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how to read the answer.

    Attributes:
        method: Its method.
        path: Its path.
        read: Makes the result of a response.
        content: Its body.
        headers: Its headers.
        repeatable: Whether it may be sent again though it may have been carried out: nothing comes of it but the
            answer. One that moves a session on is not.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True


def get(path: str) -> Call[Any]:
    """A request for JSON."""
    return Call("GET", path, _json)


def policies() -> Call[list[dict[str, Any]]]:
    """A request for the list of policies."""
    return Call("GET", "/v1/policies", _policies)


def model_path(model: str, version: str | int | None = None) -> str:
    """Path of a model, or of one of its versions, in the Open Inference Protocol."""
    path = f"/v2/models/{_quoted(model, 'model')}"
    return path if version is None else f"{path}/versions/{_quoted(str(version), 'version')}"


def policy_path(model: str) -> str:
    """Path of a model in our own protocol."""
    return f"/v1/policies/{_quoted(model, 'model')}"


def _quoted(name: str, what: str) -> str:
    """A name as a part of a path.

    Raises:
        InvalidRequestError: If it cannot be one.
    """
    with suppress(UnicodeError):
        if isinstance(name, str) and name not in ("", ".", ".."):
            return quote(name, safe="")
    raise InvalidRequestError(f"{what}: got {name!r:.80}, allowed is a name of characters that can be sent")


def infer(
    model: str,
    inputs: ArrayLike | Mapping[str, ArrayLike],
    *,
    version: str | int | None,
    deterministic: bool,
    seed: int | None,
    session: str | None,
    outputs: Sequence[str] | None,
    binary: bool,
) -> Call[Inferred]:
    """An `infer` request; see `PolicyClient.infer`.

    Raises:
        InvalidRequestError: If it cannot be sent.
    """
    named = inputs if isinstance(inputs, Mapping) else {"observations": inputs}
    tensors, blobs = [], []
    for name, given in named.items():
        mask = str(name).rpartition(".")[2] in ("action_mask", "alive")
        try:
            array = np.ascontiguousarray(given, np.bool_ if mask else np.dtype("<f4"))
        except (TypeError, ValueError, OverflowError) as error:
            allowed = "true and false" if mask else "numbers"
            raise InvalidRequestError(f"{name!r:.80}: {error}, allowed are {allowed} in rows of one length") from error
        tensor: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": "BOOL" if mask else "FP32"}
        if binary:
            blobs.append(array.tobytes())
            tensor["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            tensor["data"] = array.reshape(-1)
        tensors.append(tensor)
    parameters: dict[str, Any] = {"deterministic": deterministic}
    if seed is not None:
        parameters["seed"] = seed
    if session is not None:
        parameters["session"] = session
    if binary:
        parameters["binary_data_output"] = True
    request: dict[str, Any] = {"parameters": parameters, "inputs": tensors}
    if outputs is not None:
        request["outputs"] = [{"name": name, "parameters": {"binary_data": binary}} for name in outputs]
    head = _dumped(request, orjson.OPT_SERIALIZE_NUMPY)
    headers = {"content-type": "application/json"}
    if binary:
        headers = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Call(
        "POST",
        f"{model_path(model, version)}/infer",
        _inferred,
        b"".join([head, *blobs]),
        headers,
        repeatable=session is None,
    )


def act(model: str, request: Mapping[str, Any]) -> Call[Acted]:
    """An `act` request, its fields those of `PolicyClient.act`. What is None is left out.

    Raises:
        InvalidRequestError: If it cannot be sent.
    """
    content = _dumped(
        {name: value for name, value in request.items() if value is not None},
        orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS,
    )
    return Call(
        "POST",
        f"{policy_path(model)}/act",
        _acted,
        content,
        {"content-type": "application/json"},
        repeatable=request.get("session") is None,
    )


def _dumped(request: Mapping[str, Any], option: int) -> bytes:
    try:
        return orjson.dumps(request, _plain, option)
    except orjson.JSONEncodeError as error:
        for name, value in request.items():  # which of them it is
            try:
                orjson.dumps({name: value}, _plain, option)
            except orjson.JSONEncodeError:
                raise InvalidRequestError(f"{name!r:.80}: got what JSON cannot say ({error})") from error
        raise InvalidRequestError(f"request: got what JSON cannot say ({error})") from error


def _plain(value: Any) -> Any:
    """What orjson does not take by itself: arrays that are not contiguous, and whatever else can be a list."""
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise _strange(response, "not JSON") from error


def _policies(response: httpx.Response) -> list[dict[str, Any]]:
    answer = _json(response)
    if type(answer) is not dict or type(listed := answer.get("policies")) is not list:
        raise _strange(response, "not a list of policies")
    return listed


def _strange(response: httpx.Response, what: str) -> PolicyError:
    """The exception for a response that is no refusal, and not what the service says either."""
    return PolicyError(
        f"the answer is {what}: is the address that of the service?",
        status=response.status_code,
        request_id=response.headers.get("x-request-id", ""),
    )


def _inferred(response: httpx.Response) -> Inferred:
    try:
        return _tensors(response)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _strange(response, "not one to `infer`") from error


def _tensors(response: httpx.Response) -> Inferred:
    content, length = response.content, response.headers.get(HEADER_LENGTH)
    head = len(content) if length is None else int(length)
    answer = orjson.loads(content[:head])
    outputs = {}
    for tensor in answer["outputs"]:
        dtype, size = _DTYPES[tensor["datatype"]], tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = np.array(tensor["data"], dtype)
        else:
            array = np.frombuffer(content[head : head + size], dtype)
            head += size
        outputs[tensor["name"]] = array.reshape(tensor["shape"])
    return Inferred(
        answer["model_name"],
        str(answer.get("model_version", "")),
        answer.get("id") or response.headers.get("x-request-id", ""),
        outputs,
    )


def _acted(response: httpx.Response) -> Acted:
    answer = _json(response)
    if not isinstance(answer, dict) or "actions" not in answer:
        raise _strange(response, "not one to `act`")
    fields: dict[str, Any] = {name: answer.get(name) for name in Acted.__dataclass_fields__}
    return Acted(**fields)
