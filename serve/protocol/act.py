"""Named observations in, named actions out: the protocol for people, and for one step of a team.

`observations` is `{agent: [D numbers] | {feature: number}}` for one step, a list of these for several, or, with
`module`, a plain list of rows. Actions are what the env's `step` takes: clipped, and zero where masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from serve.errors import BadRequest
from serve.protocol.checks import (
    flag,
    json_object,
    known,
    seed_of,
    session_of,
    shown,
    unpacked,
)
from serve.protocol.named import plain_rows, team_rows
from serve.protocol.request import PolicyRequest
from serve.protocol.signature import Limits, Signature, signature_of

if TYPE_CHECKING:
    from policies.bundle import Inference
    from serve.models import ServedVersion

MAX_EXPLAIN = 100
_FIELDS = (
    "observations", "action_masks", "deterministic", "seed", "version", "session", "state", "explain", "module",
)  # fmt: skip
_JSON = (b"content-type", b"application/json")

Explanations = Mapping[str, Sequence[Any]]
"""By module, one explanation a row, ready for JSON."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A request that is JSON, but not yet held against a version.

    Attributes:
        plain: The JSON object.
        version: Number or alias of the version it pins; None if it pins none.
        session: Its session, if it has one.
    """

    plain: dict[str, Any]
    version: str | None
    session: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActRequest(PolicyRequest):
    """A request for named actions.

    Attributes:
        places: Where each row came from, by module: the step and the agent; None if plain rows were given. Of whole
            worlds those of agents that are not there too, which are not answered.
        steps: How many steps were given in a list; None if it was one step, not in a list.
        explain: How many features are to be named that matter most; 0: none.
    """

    places: dict[str, list[tuple[int, str]]] | None
    steps: int | None
    explain: int

    def keys(self) -> Mapping[str, Sequence[str]]:
        """Rows are remembered by their agent, and in lists by their place in the list too."""
        if self.places is None:
            return PolicyRequest.keys(self)
        return {
            module: [agent if self.steps is None else f"{step}/{agent}" for step, agent in places]
            for module, places in self.places.items()
        }


def load(body: bytes, headers: Mapping[str, str], limits: Limits) -> Loaded:
    """Reads the JSON of a request.

    Args:
        body: The body.
        headers: The headers, names in lower case.
        limits: How much a request may hold.

    Raises:
        serve.errors.ServiceError: If the body is not what the route takes.
    """
    encoding = headers.get("content-encoding")
    if encoding is not None:
        body = unpacked(body, encoding, limits.max_body_bytes)
    plain = json_object(body, "body", limits.max_json_values)
    known(plain, _FIELDS, "")
    version = plain.get("version")
    if type(version) is int:
        version = str(version)
    if version is not None and (type(version) is not str or not version or len(version) > 256):
        raise BadRequest(f"version: got {shown(version)}, allowed is a version's number or an alias")
    return Loaded(plain, version, session_of(plain.get("session")))


def parse(loaded: Loaded, version: ServedVersion, limits: Limits) -> ActRequest:
    """Holds a request against the version that is to answer it.

    Args:
        loaded: The request.
        version: The version.
        limits: How much a request may hold.

    Raises:
        serve.errors.BadRequest: If it does not fit; the sentence names the field, and the agent and feature if any.
    """
    return fit(loaded, signature_of(version.policy), version.name, limits)


def fit(loaded: Loaded, signature: Signature, served: str, limits: Limits) -> ActRequest:
    """As `parse`, of what a version takes and its model's name."""
    plain = loaded.plain
    deterministic = plain.get("deterministic")
    explain = plain.get("explain")
    if explain is None:
        explain = 0
    if type(explain) is not int or not 0 <= explain <= MAX_EXPLAIN:
        raise BadRequest(f"explain: got {shown(explain)}, allowed is a whole number from 0 to {MAX_EXPLAIN}")
    places: dict[str, list[tuple[int, str]]] | None = None
    steps: int | None = None
    if plain.get("module") is not None:
        rows = plain_rows(plain, signature, limits)
    else:
        observations = plain.get("observations")
        steps = len(observations) if type(observations) is list else None
        rows, places = team_rows(plain, signature, limits)
    return ActRequest(
        rows=rows,
        places=places,
        steps=steps,
        deterministic=True if deterministic is None else flag(deterministic, "deterministic"),
        seed=seed_of(plain.get("seed")),
        session=loaded.session,
        explain=explain,
        recurrent=any(signature.modules[module].state_size for module in rows),
        signature=signature,
    )


def render(
    request: ActRequest,
    answers: Mapping[str, Inference],
    version: ServedVersion,
    request_id: str,
    explanations: Explanations | None = None,
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The body of a response, and its headers.

    Args:
        request: What was asked.
        answers: The answers, by module.
        version: The version that gave them.
        request_id: Id of the request.
        explanations: Explanations, if any were asked for.
    """
    plain: dict[str, Any] = {"model": version.name, "version": version.version, "request_id": request_id}
    if request.places is None:
        ((module, answer),) = answers.items()
        fields: dict[str, Any] = {"actions": answer.actions, "log_probs": answer.log_probs}
        if answer.values is not None:
            fields["values"] = answer.values
        if answer.state is not None:
            fields["state"] = answer.state
        if explanations is not None:
            fields["explanations"] = explanations[module]
        plain |= {name: np.ascontiguousarray(f) if isinstance(f, np.ndarray) else f for name, f in fields.items()}
    else:
        plain |= _by_agent(request, answers, explanations)
    if request.session is not None:
        plain["session"] = request.session
    return orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY), [_JSON]


def _by_agent(
    request: ActRequest, answers: Mapping[str, Inference], explanations: Explanations | None
) -> dict[str, Any]:
    """All that is answered, by field, then step if there are several, then agent in the order asked."""
    assert request.places is not None
    steps = 1 if request.steps is None else request.steps
    fields: dict[str, list[dict[str, Any]]] = {}

    def put(field: str, places: Sequence[tuple[int, str]], found: Sequence[Any] | NDArray[Any]) -> None:
        tables = fields.get(field)
        if tables is None:
            tables = fields[field] = [{} for _ in range(steps)]
        for (step, agent), value in zip(places, found, strict=True):
            tables[step][agent] = value

    for module, places in request.places.items():
        answer, asked = answers[module], request.rows[module].alive
        if asked is not None:
            places, answer = list(compress(places, asked)), answer.of(asked)
        signature = request.signature.modules[module]
        names = signature.action_names
        actions = np.ascontiguousarray(answer.actions)
        put("actions", places, actions if names is None else [dict(zip(names, row, strict=True)) for row in actions])
        if signature.own_actions is not None:
            put("env_actions", places, np.ascontiguousarray(signature.own_actions.of(actions)))
        put("log_probs", places, answer.log_probs)
        if answer.values is not None:
            put("values", places, answer.values)
        if answer.state is not None:
            put("state", places, np.ascontiguousarray(answer.state))
        if explanations is not None:
            put("explanations", places, explanations[module])
    return dict(fields) if request.steps is not None else {field: tables[0] for field, tables in fields.items()}
