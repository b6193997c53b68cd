"""Tables of what there is: domains, their settings, benchmarks and their bars."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from envs.registry import domain_names, get_domain
from rllib_configs.overrides import check_domain


def domains_table() -> RenderableType:
    """The built-in domains, with how many settings each has."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("domain", style="bold")
    table.add_column("what it is")
    for name in domain_names():
        table.add_row(name, get_domain(name).summary)
    hint = "All settings of one: entrepot envs DOMAIN. Your own: package.module:attribute of an envs.registry.Domain."
    return Group(table, Text(hint, style="dim"))


def domain_table(name: str) -> RenderableType:
    """All settings of a domain, by their dotted paths.

    Raises:
        ConfigError: If there is no such domain.
    """
    check_domain(name)
    domain = get_domain(name)
    presets = ", ".join(f"{preset} (as {found})" for preset, found in domain.presets.items())
    return Group(
        Text(domain.summary),
        *([Text(f"Presets, chosen by --set env.preset=NAME: {presets}")] if presets else []),
        _fields("env", "Fixed for a run", domain.config_type),
        _fields("task", "Varies between stages and scenarios", domain.task_type),
        Text("Set one with --set, such as: --set " + _example(domain.config_type), style="dim"),
    )


def _fields(prefix: str, title: str, model: type[BaseModel]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("key", style="bold", no_wrap=True)
    for heading in ("type", "default", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, field in model.model_fields.items():
        cells = (f"{prefix}.{name}", type_name(field), default_of(field), field.description or "")
        table.add_row(*(escape(cell) for cell in cells))
    return table


def type_name(field: FieldInfo) -> str:
    """A field's type as people read it: choices spelled out, bounds added."""
    annotation = field.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    if isinstance(annotation, type) and hasattr(annotation, "__members__"):
        text = " | ".join(str(member.value) for member in annotation)
    text = re.sub(r"(?:\w+\.)+(\w+)", r"\1", text)
    text = re.sub(r"Literal\[(.*?)\]", lambda match: match[1].replace("'", "").replace(", ", " | "), text)
    bounds = [
        f"{sign} {getattr(limit, attribute)}"
        for limit in field.metadata
        for attribute, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if getattr(limit, attribute, None) is not None
    ]
    return ", ".join([text, *bounds])


def default_of(field: FieldInfo) -> str:
    """A field's default as YAML would hold it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(str(getattr(item, 'value', item)) for item in value)}]"
    return str(getattr(value, "value", value))


def _example(model: type[BaseModel]) -> str:
    """One setting as it would be typed."""
    for name in ("num_agents", *model.model_fields):
        field = model.model_fields.get(name)
        if field is not None and not field.is_required():
            return f"env.{name}={default_of(field)}"
    return "seed=1"


def benchmarks_table(benchmarks: Mapping[str, Any]) -> RenderableType:
    """The benchmarks there are."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("benchmark", style="bold")
    table.add_column("what it measures")
    for name, benchmark in benchmarks.items():
        table.add_row(name, benchmark.summary)
    return Group(table, Text("Run one: entrepot bench NAME --json benchmarks/NAME.json", style="dim"))


def bars_table(name: str, bars: Sequence[Any]) -> RenderableType:
    """What a benchmark found."""
    table = Table(title=name, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("figure")
    for heading in ("value", "range", "goal"):
        table.add_column(heading, justify="right")
    table.add_column("holds")
    for bar in bars:
        spread = "" if bar.low is None else f"{bar.low:,.4g} to {bar.high:,.4g}"
        goal = "" if bar.goal is None else f"{'at most' if bar.at_most else 'at least'} {bar.goal:,.4g}"
        verdict = "" if bar.holds is None else "yes" if bar.holds else "NO"
        table.add_row(bar.name, f"{bar.value:,.4g}", spread, goal, verdict, style="red" if bar.holds is False else None)
    return table
