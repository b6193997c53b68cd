"""Clients of the service: `PolicyClient`, and `AsyncPolicyClient` for event loops.

    with PolicyClient("http://127.0.0.1:8000", key="ek_…") as client:
        actions = client.infer("trading", observations).actions

Neither needs Ray or the packages of this repository: httpx, NumPy and orjson are enough.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from numpy.typing import ArrayLike

from serve import client_wire as wire
from serve.client_errors import (
    AuthenticationError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    PolicyError,
    Retries,
    UnavailableError,
    error_of,
)
from serve.client_wire import Acted, Call, Inferred

__all__ = [
    "Acted",
    "AsyncPolicyClient",
    "AuthenticationError",
    "Inferred",
    "InvalidRequestError",
    "NotFoundError",
    "OverloadedError",
    "PolicyClient",
    "PolicyError",
    "Retries",
    "UnavailableError",
]

T = TypeVar("T")

_UNSENT = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
"""What httpx takes for errors of the network, but no network would mend."""
_OTHERS = (httpx.HTTPError, httpx.InvalidURL, RuntimeError, ValueError, TypeError)
"""What httpx raises besides errors of the network: an address, a header or an answer that is none, a closed client."""
_LIVE, _READY = wire.get("/v2/health/live"), wire.get("/v2/health/ready")


class PolicyClient:
    """Asks the service, and waits for the answers. May be shared by threads.

    Args:
        url: Where the service is, such as `https://policies.example.com`.
        key: API key; that in the environment variable `ENTREPOT_KEY` if None.
        timeout: Longest time for a try [s].
        retries: When to try again.
        ca_file: Certificates that the service's is checked against, beside those of the system.
        transport: What carries the requests, instead of the network.

    Every method raises:
        AuthenticationError: If the key is missing, wrong, or not for this.
        InvalidRequestError: If the policy does not take what was sent; the message names the field.
        NotFoundError: If there is no such model or version.
        OverloadedError: If the service had enough to do, at each try.
        UnavailableError: If the service could not be reached, at each try, or took too long.
        PolicyError: If it failed otherwise. All of these are `PolicyError`, and no call raises anything else.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: Retries = Retries(),  # noqa: B008, it is immutable
        ca_file: str | Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._retries = retries
        headers, trusted = _headers(key), _trusted(ca_file)
        try:
            self._client = httpx.Client(
                base_url=url, headers=headers, timeout=timeout, verify=trusted, transport=transport
            )
        except (httpx.InvalidURL, TypeError) as error:
            raise error_of(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()

    def live(self) -> bool:
        """Whether the service is there."""
        return self._healthy(_LIVE)

    def ready(self) -> bool:
        """Whether the service answers requests."""
        return self._healthy(_READY)

    def server(self) -> dict[str, Any]:
        """Name, version and extensions of the server."""
        return self._do(wire.get("/v2"))

    def policies(self) -> list[dict[str, Any]]:
        """The models, with their versions."""
        return self._do(wire.policies())

    def policy(self, model: str) -> dict[str, Any]:
        """A model: agents, features, actions, an example, figures."""
        return self._do(wire.get(wire.policy_path(model)))

    def metadata(self, model: str, version: str | int | None = None) -> dict[str, Any]:
        """Names, datatypes and shapes of a model's tensors, as the Open Inference Protocol has them."""
        return self._do(wire.get(wire.model_path(model, version)))

    def infer(
        self,
        model: str,
        inputs: ArrayLike | Mapping[str, ArrayLike],
        *,
        version: str | int | None = None,
        deterministic: bool = True,
        seed: int | None = None,
        session: str | None = None,
        outputs: Sequence[str] | None = None,
        binary: bool = True,
    ) -> Inferred:
        """Asks for the actions of rows of observations.

        Args:
            model: Name of the model.
            inputs: Observations `[N, D]`, or tensors by name: `observations`, `action_mask` `[N, M]`, `state`
                `[N, H]`, after the module's name and a dot where there are several modules. Of a module whose agents
                need each other whole worlds, `[W, A, D]` and so on, and `alive` `[W, A]` where some are away.
            version: Number or alias; None for whichever is served.
            deterministic: Take the most likely actions instead of sampling.
            seed: Makes a sample reproducible.
            session: Session that the service keeps the recurrent state under.
            outputs: Names of the outputs that are wanted; None for the usual ones.
            binary: Send and take arrays as they are in memory, which is many times faster than JSON for large ones.
        """
        return self._do(
            wire.infer(
                model,
                inputs,
                version=version,
                deterministic=deterministic,
                seed=seed,
                session=session,
                outputs=outputs,
                binary=binary,
            )
        )

    def act(
        self,
        model: str,
        observations: Any,
        *,
        action_masks: Any = None,
        module: str | None = None,
        version: str | int | None = None,
        deterministic: bool = True,
        seed: int | None = None,
        session: str | None = None,
        state: Any = None,
        explain: int | None = None,
    ) -> Acted:
        """Asks what agents should do.

        Args:
            model: Name of the model.
            observations: One step: what each agent sees, `{agent: [D numbers] or {feature: number}}`; or a list of
                steps; or rows `[N, D]`, if `module` is given.
            action_masks: What each agent may do, in the form of `observations`; everything, if None.
            module: Id of the module that rows are for.
            version: Number or alias; None for whichever is served.
            deterministic: Take the most likely actions instead of sampling.
            seed: Makes a sample reproducible.
            session: Session that the service keeps the recurrent state under.
            state: Recurrent state that the last answer had, if there is no session.
            explain: How many features to name that the actions hang on most.
        """
        return self._do(
            wire.act(
                model,
                {
                    "observations": observations,
                    "action_masks": action_masks,
                    "module": module,
                    "version": None if version is None else str(version),
                    "deterministic": deterministic,
                    "seed": seed,
                    "session": session,
                    "state": state,
                    "explain": explain,
                },
            )
        )

    def _healthy(self, call: Call[Any]) -> bool:
        try:
            return self._client.request(call.method, call.path).is_success
        except _UNSENT as error:
            raise error_of(error) from error
        except httpx.TransportError:
            return False
        except _OTHERS as error:
            raise error_of(error) from error

    def _do(self, call: Call[T]) -> T:
        done = 0
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._client.request(call.method, call.path, content=call.content, headers=call.headers)
            except httpx.TransportError as error:
                outcome = error
            except _OTHERS as error:
                raise error_of(error) from error
            if isinstance(outcome, httpx.Response) and outcome.is_success:
                return call.read(outcome)
            wait = self._retries.wait(done, outcome, call.repeatable)
            if wait is None:
                raise _raised(outcome)
            time.sleep(wait)
            done += 1


class AsyncPolicyClient:
    """As `PolicyClient`, for event loops: the same arguments and methods, to be awaited."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 10.0,
        retries: Retries = Retries(),  # noqa: B008, it is immutable
        ca_file: str | Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._retries = retries
        headers, trusted = _headers(key), _trusted(ca_file)
        try:
            self._client = httpx.AsyncClient(
                base_url=url, headers=headers, timeout=timeout, verify=trusted, transport=transport
            )
        except (httpx.InvalidURL, TypeError) as error:
            raise error_of(error) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def live(self) -> bool:
        """Whether the service is there."""
        return await self._healthy(_LIVE)

    async def ready(self) -> bool:
        """Whether the service answers requests."""
        return await self._healthy(_READY)

    async def server(self) -> dict[str, Any]:
        """Name, version and extensions of the server."""
        return await self._do(wire.get("/v2"))

    async def policies(self) -> list[dict[str, Any]]:
        """The models, with their versions."""
        return await self._do(wire.policies())

    async def policy(self, model: str) -> dict[str, Any]:
        """A model: agents, features, actions, an example, figures."""
        return await self._do(wire.get(wire.policy_path(model)))

    async def metadata(self, model: str, version: str | int | None = None) -> dict[str, Any]:
        """Names, datatypes and shapes of a model's tensors, as the Open Inference Protocol has them."""
        return await self._do(wire.get(wire.model_path(model, version)))

    async def infer(
        self,
        model: str,
        inputs: ArrayLike | Mapping[str, ArrayLike],
        *,
        version: str | int | None = None,
        deterministic: bool = True,
        seed: int | None = None,
        session: str | None = None,
        outputs: Sequence[str] | None = None,
        binary: bool = True,
    ) -> Inferred:
        """Asks for the actions of rows of observations, as `PolicyClient.infer` does."""
        return await self._do(
            wire.infer(
                model,
                inputs,
                version=version,
                deterministic=deterministic,
                seed=seed,
                session=session,
                outputs=outputs,
                binary=binary,
            )
        )

    async def act(
        self,
        model: str,
        observations: Any,
        *,
        action_masks: Any = None,
        module: str | None = None,
        version: str | int | None = None,
        deterministic: bool = True,
        seed: int | None = None,
        session: str | None = None,
        state: Any = None,
        explain: int | None = None,
    ) -> Acted:
        """Asks what agents should do, as `PolicyClient.act` does."""
        return await self._do(
            wire.act(
                model,
                {
                    "observations": observations,
                    "action_masks": action_masks,
                    "module": module,
                    "version": None if version is None else str(version),
                    "deterministic": deterministic,
                    "seed": seed,
                    "session": session,
                    "state": state,
                    "explain": explain,
                },
            )
        )

    async def _healthy(self, call: Call[Any]) -> bool:
        try:
            return (await self._client.request(call.method, call.path)).is_success
        except _UNSENT as error:
            raise error_of(error) from error
        except httpx.TransportError:
            return False
        except _OTHERS as error:
            raise error_of(error) from error

    async def _do(self, call: Call[T]) -> T:
        done = 0
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._client.request(call.method, call.path, content=call.content, headers=call.headers)
            except httpx.TransportError as error:
                outcome = error
            except _OTHERS as error:
                raise error_of(error) from error
            if isinstance(outcome, httpx.Response) and outcome.is_success:
                return call.read(outcome)
            wait = self._retries.wait(done, outcome, call.repeatable)
            if wait is None:
                raise _raised(outcome)
            await asyncio.sleep(wait)
            done += 1


def _headers(key: str | None) -> dict[str, str]:
    key = key or os.environ.get("ENTREPOT_KEY")
    if key is not None and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise InvalidRequestError("key: got characters that a header cannot hold, allowed are printable ASCII ones")
    return {"user-agent": "entrepot"} | ({} if key is None else {"authorization": f"Bearer {key}"})


def _trusted(ca_file: str | Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # of which errors of TLS are some
        raise InvalidRequestError(
            f"ca_file: got {str(ca_file)!r}, allowed is a file of certificates ({error})"
        ) from error
    return context


def _raised(outcome: httpx.Response | httpx.TransportError) -> PolicyError:
    error = error_of(outcome)
    if isinstance(outcome, httpx.TransportError):
        error.__cause__ = outcome
    return error
