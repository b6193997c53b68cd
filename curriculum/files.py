"""YAML files that speak of a domain's tasks: read into typed models, with one line an error that names file and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, SerializeAsAny, ValidationError, ValidationInfo

from envs.base import Task
from envs.registry import Domain, get_domain
from envs.yaml_files import FileError, fault_line, read_yaml


def _to_task(value: Any, info: ValidationInfo) -> Any:
    """Turns plain fields into the domain's own task type; typed tasks pass through."""
    if isinstance(value, Task):
        return value
    domain = (info.context or {}).get("domain")
    if not isinstance(domain, Domain):
        raise ValueError("a task given as plain fields needs its domain: read it with parse_typed or read_typed")
    return domain.task_type.model_validate(value)  # its errors keep their keys, below this one


DomainTask = Annotated[SerializeAsAny[Task], BeforeValidator(_to_task)]
"""A task of the domain that the file names at its top."""

Model = TypeVar("Model", bound=BaseModel)


def read_typed(path: Path, model: type[Model], context: Mapping[str, Any] | None = None) -> Model:
    """Reads a YAML file whose top level names its `domain`.

    Args:
        path: The file.
        model: What it holds.
        context: More context for the model's validators; `domain` is added.

    Raises:
        FileError: If the file cannot be read or is not what it should be; one line a fault.
    """
    return parse_typed(read_yaml(path), model, str(path), context)


def parse_typed(data: Any, model: type[Model], where: str, context: Mapping[str, Any] | None = None) -> Model:
    """Validates plain values that name their `domain` at the top level; see `read_typed`."""
    if not isinstance(data, Mapping):
        raise FileError(f"{where}: got {type(data).__name__}, allowed is a mapping with the key 'domain'")
    if not isinstance(data.get("domain"), str):
        raise FileError(f"{where}: domain: got {data.get('domain')!r}, allowed is the name of a domain")
    try:
        domain = get_domain(data["domain"])
    except ValueError as error:
        raise FileError(f"{where}: {error}") from error
    try:
        return model.model_validate(dict(data), context={**(context or {}), "domain": domain})
    except ValidationError as error:
        lines = [f"{where}: {_fault(dict(fault), model, domain)}" for fault in error.errors(include_url=False)]
        raise FileError("\n".join(lines)) from error


def _fault(fault: dict[str, Any], model: type[BaseModel], domain: Domain) -> str:
    """One line; a fault of the file as a whole is said of `file`."""
    place = fault["loc"] or ("file",)
    allowed = _fields_at(model, place[:-1], domain) if fault["type"] == "extra_forbidden" else ()
    return fault_line({**fault, "loc": place}, allowed)


def _fields_at(model: type[BaseModel], place: tuple[int | str, ...], domain: Domain) -> list[str]:
    """Keys allowed at a place within a model."""
    current = model
    for part in place:
        if isinstance(part, str) and part in current.model_fields:
            inner = _model_within(current.model_fields[part].annotation)
            if inner is not None:
                current = domain.task_type if inner is Task else inner
    return list(current.model_fields)


def _model_within(annotation: Any) -> type[BaseModel] | None:
    """The first pydantic model in a type, however it is wrapped."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_within(part)) is not None), None)
