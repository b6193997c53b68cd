"""The OpenAPI document, with the routes that FastAPI does not parse: `infer` and `act`."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serve.description import example, infer_example
from serve.models import Models
from serve.protocol import act, binary, checks

JSON = "application/json"
_LIST = {"type": "array", "minItems": 1}
_SEED = {"type": "integer", "minimum": 0, "maximum": checks.MAX_SEED, "description": "Seed of the samples."}
_SESSION = {
    "type": "string",
    "minLength": 1,
    "maxLength": checks.MAX_SESSION,
    "description": "Recurrent state goes on from the last request of this session.",
}
_DETERMINISTIC = {"type": "boolean", "description": "Take the most likely actions (true) or sample."}


def _object(properties: dict[str, Any], required: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": required or [],
        "additionalProperties": False,
        **more,
    }


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


_NUMBER = {"type": "number", "minimum": -checks.MAX_MAGNITUDE, "maximum": checks.MAX_MAGNITUDE}
_INPUT = _object(
    {
        "name": {
            "type": "string",
            "description": "`observations`, `action_mask`, `state` or `alive`; `MODULE.` first.",
        },
        "datatype": {"enum": ["FP32", "BOOL"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 2, "maxItems": 3},
        "parameters": _or_null(_object({binary.SIZE: {"type": "integer", "minimum": 0}})),
        "data": {"type": "array", "description": "Row by row, in one list or a list a row."},
    },
    ["name", "datatype", "shape"],
)
_OUTPUT = _object(
    {"name": {"type": "string"}, "parameters": _or_null(_object({binary.WANTED: {"type": "boolean"}}))}, ["name"]
)
INFER_BODY = _object(
    {
        "id": {"type": ["string", "null"], "maxLength": 256},
        "model_name": {"type": ["string", "null"]},
        "parameters": _or_null(
            _object(
                {
                    "deterministic": _DETERMINISTIC,
                    "seed": _or_null(_SEED),
                    "session": _or_null(_SESSION),
                    binary.ALL_WANTED: {"type": "boolean", "description": "All outputs as binary data."},
                }
            )
        ),
        "inputs": {**_LIST, "items": _INPUT},
        "outputs": {"type": ["array", "null"], "items": _OUTPUT},
    },
    ["inputs"],
)
INFER_REPLY = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape"],
                "properties": {
                    "name": {"type": "string"},
                    "datatype": {"enum": ["FP32", "INT64"]},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "parameters": {"type": "object"},
                    "data": {"type": "array", "items": {"type": ["number", "null"]}},
                },
            },
        },
    },
}
_BY_AGENT = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "anyOf": [
            {**_LIST, "items": _NUMBER},
            {"type": "object", "minProperties": 1, "additionalProperties": _NUMBER},
        ]
    },
}
_ROWS = {**_LIST, "items": {"anyOf": [_BY_AGENT, {**_LIST, "items": _NUMBER}]}}
ACT_BODY = _object(
    {
        "observations": {
            "anyOf": [_BY_AGENT, _ROWS],
            "description": "By agent, features by name or in the layout's order; a list of these for several steps; "
            "with `module`, a list of rows.",
        },
        "action_masks": {"type": ["object", "array", "null"], "description": "True where allowed, as observations."},
        "state": {"type": ["object", "array", "null"], "description": "Recurrent state, as observations."},
        "module": {"type": ["string", "null"], "description": "Observations are plain rows of this module."},
        "deterministic": {**_DETERMINISTIC, "type": ["boolean", "null"]},
        "seed": _or_null(_SEED),
        "session": _or_null(_SESSION),
        "version": {"type": ["string", "integer", "null"], "description": "Number or alias of a version."},
        "explain": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": act.MAX_EXPLAIN,
            "description": "How many of the features that matter most are named.",
        },
    },
    ["observations"],
)
ACT_REPLY = {
    "type": "object",
    "required": ["model", "version", "request_id", "actions", "log_probs"],
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "request_id": {"type": "string"},
        "session": {"type": "string"},
        **{
            name: {"type": ["object", "array"]}
            for name in ("actions", "env_actions", "log_probs", "values", "state", "explanations")
        },
    },
}
INDEX_BODY = _object({"ready": {"type": ["boolean", "null"]}, "repository_name": {"type": ["string", "null"]}})
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One sentence: the field, what was given, what may be."}},
}
ERRORS = {
    "400": "The request is not one that the model can answer.",
    "401": "No key, or an unknown one.",
    "403": "The key may not do this.",
    "404": "There is no such model or version.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large, or its JSON has too many values.",
    "415": "The body is compressed in a way that the service does not know.",
    "429": "Too much to do, or too many requests with this key; the header Retry-After says when to come back.",
    "503": "No model is ready, or what is needed to answer is being started again.",
    "504": "No answer in time.",
}
_READ = ("400", "401", "403", "404", "429", "504")


def infer_extra() -> dict[str, Any]:
    """What FastAPI is told of `infer`."""
    reply = {
        "description": "The outputs.",
        "content": {
            JSON: {"schema": INFER_REPLY},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    body = {"required": True, "content": {JSON: {"schema": INFER_BODY}}}
    return {"requestBody": body, "responses": {"200": reply, **errors(tuple(ERRORS))}}


def act_extra() -> dict[str, Any]:
    """What FastAPI is told of `act`."""
    reply = {"description": "The actions.", "content": {JSON: {"schema": ACT_REPLY}}}
    body = {"required": True, "content": {JSON: {"schema": ACT_BODY}}}
    return {"requestBody": body, "responses": {"200": reply, **errors(tuple(ERRORS))}}


def errors(codes: tuple[str, ...] = _READ) -> dict[str, Any]:
    """Descriptions of refusals by status code."""
    schema = {"$ref": "#/components/schemas/Error"}
    return {code: {"description": ERRORS[code], "content": {JSON: {"schema": schema}}} for code in codes}


def document(app: FastAPI, models: Models) -> dict[str, Any]:
    """The document.

    Args:
        app: The app.
        models: The models whose names and examples are shown.
    """
    plain = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=app.openapi_tags
    )
    parts = plain.setdefault("components", {})
    parts.setdefault("schemas", {})["Error"] = ERROR
    parts["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A key, where the service wants one."},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    plain["security"] = [{}, {"bearer": []}, {"header": []}]
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    for path, operations in plain["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            _name_models(operation.get("parameters", ()), models)
        if "post" in operations and path.endswith(("/infer", "/act")):
            make = infer_example if path.endswith("/infer") else example
            content = operations["post"]["requestBody"]["content"][JSON]
            content["examples"] = {model.name: {"value": make(model.version)} for model in models}
            if not content["examples"]:
                del content["examples"]
    return plain


def _name_models(parameters: Any, models: Models) -> None:
    """Shows the names of a few models, and their versions, where a path wants them."""
    for parameter in parameters:
        shown = [model.name if parameter["name"] == "name" else model.current for model in models][:5]
        if parameter["in"] == "path" and shown:
            parameter["examples"] = {value: {"value": value} for value in dict.fromkeys(shown)}
