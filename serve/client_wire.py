"""What the clients say and hear: requests as bytes, answers as arrays, refusals as exceptions, when to try again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

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


class PolicyError(Exception):
    """The service did not answer as asked.

    Attributes:
        status: Status of the response; 0 if there was none.
        message: What the service said, one sentence.
        request_id: Id of the request, which the service's log has too; "" if there was no response.
        retry_after: When it may be worth trying again [s]; None if nothing was said.
    """

    def __init__(
        self, message: str, *, status: int = 0, request_id: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status or 'no answer'}: {message}" + (f" (request {request_id})" if request_id else ""))
        self.message = message
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class InvalidRequestError(PolicyError):
    """What was sent is not what the policy takes (400, 405, 408, 413, 415)."""


class AuthenticationError(PolicyError):
    """The key is missing, wrong, or not for this (401, 403)."""


class NotFoundError(PolicyError):
    """There is no such model, version or route (404)."""


class OverloadedError(PolicyError):
    """The service, or the key, has enough to do, and had after all retries (429)."""


class UnavailableError(PolicyError):
    """The service cannot be reached, is not ready, or takes too long (502, 503, 504, or no answer at all)."""


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


@dataclass(frozen=True)
class Retries:
    """When to try again, and after how long.

    Attributes:
        most: Tries after the first.
        backoff: Longest wait before the second try [s]; it doubles with each further one. Waits are drawn between half
            of it and all of it, so that clients that were refused together do not come back together.
        longest: Longest wait that is worth it [s].
    """

    most: int = 4
    backoff: float = 0.1
    longest: float = 10.0

    def wait(self, done: int, outcome: httpx.Response | httpx.TransportError, repeatable: bool) -> float | None:
        """How long to wait before another try [s]; None if there should be none.

        Args:
            done: Tries so far, less one.
            outcome: What came of the latest.
            repeatable: Whether the request may be carried out twice.
        """
        if done >= self.most:
            return None
        if isinstance(outcome, httpx.Response):
            # 429 and 503 are said before anything is done; after the others it may have been.
            if outcome.status_code not in (429, 503) and not (repeatable and outcome.status_code == 502):
                return None
        elif not isinstance(outcome, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)) and (
            not repeatable or isinstance(outcome, httpx.TimeoutException)
        ):
            return None
        own = min(self.longest, self.backoff * 2.0**done) * random.uniform(0.5, 1.0)
        told = retry_after(outcome) if isinstance(outcome, httpx.Response) else None
        if told is None:
            return own
        return None if told > self.longest else max(own, told)


def retry_after(response: httpx.Response) -> float | None:
    """When a response says to come back [s], which it may say in seconds or as a date; None if it does not."""
    text = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def error_of(outcome: httpx.Response | httpx.TransportError) -> PolicyError:
    """The exception for a response that is a refusal, or for a connection that failed."""
    if not isinstance(outcome, httpx.Response):
        return UnavailableError(f"{type(outcome).__name__}: {outcome}".rstrip(": "))
    status = outcome.status_code
    try:
        message = str(orjson.loads(outcome.content)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):  # from a proxy on the way, not from the service
        message = f"{outcome.reason_phrase or 'refused'}, without an explanation"
    types = {401: AuthenticationError, 403: AuthenticationError, 404: NotFoundError, 429: OverloadedError}
    kind = types.get(status) or (InvalidRequestError if 400 <= status < 500 else PolicyError)
    if status in (502, 503, 504):
        kind = UnavailableError
    return kind(
        message,
        status=status,
        request_id=outcome.headers.get("x-request-id", ""),
        retry_after=retry_after(outcome),
    )


def get(path: str) -> Call[Any]:
    """A request for JSON."""
    return Call("GET", path, _json)


def policies() -> Call[list[dict[str, Any]]]:
    """A request for the list of policies."""
    return Call("GET", "/v1/policies", _policies)


def model_path(model: str, version: str | int | None = None) -> str:
    """Path of a model, or of one of its versions, in the Open Inference Protocol."""
    path = f"/v2/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{quote(str(version), safe='')}"


def policy_path(model: str) -> str:
    """Path of a model in our own protocol."""
    return f"/v1/policies/{quote(model, safe='')}"


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
    """An `infer` request; see `PolicyClient.infer`."""
    named = inputs if isinstance(inputs, Mapping) else {"observations": inputs}
    tensors, blobs = [], []
    for name, given in named.items():
        mask = name.rpartition(".")[2] == "action_mask"
        array = np.ascontiguousarray(given, np.bool_ if mask else np.dtype("<f4"))
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
    head = orjson.dumps(request, option=orjson.OPT_SERIALIZE_NUMPY)
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
    """An `act` request, its fields those of `PolicyClient.act`. What is None is left out."""
    content = orjson.dumps(
        {name: value for name, value in request.items() if value is not None},
        option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS,
        default=_plain,
    )
    return Call(
        "POST",
        f"{policy_path(model)}/act",
        _acted,
        content,
        {"content-type": "application/json"},
        repeatable=request.get("session") is None,
    )


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
