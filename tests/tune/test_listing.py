"""Tables of domains, settings and benchmarks say everything, on any width."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from benchmarks.harness import BENCHMARKS, Bar
from envs.registry import domain_names, get_domain
from rllib_configs.errors import ConfigError
from tune.listing import bars_table, benchmarks_table, default_of, domain_table, domains_table, type_name


def shown(content: Any, width: int = 200) -> str:
    """What a terminal of that width shows."""
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(content)
    return console.export_text()


def test_all_domains_are_listed() -> None:
    """Each with its summary."""
    text = shown(domains_table())
    for name in domain_names():
        assert get_domain(name).summary in text


@pytest.mark.parametrize("name", domain_names())
def test_every_setting_of_a_domain_is_listed(name: str) -> None:
    """Each config and task field stands there by the path it is set with, and with its meaning."""
    text = shown(domain_table(name), width=400)
    domain = get_domain(name)
    for prefix, model in (("env", domain.config_type), ("task", domain.task_type)):
        for key, field in model.model_fields.items():
            assert f"{prefix}.{key} " in text
            assert (field.description or "") in text


def test_types_and_defaults_read_well() -> None:
    """Choices are spelled out, bounds added, and defaults written as YAML."""
    fields = get_domain("cue").config_type.model_fields
    assert type_name(fields["action_mode"]) == "continuous | discrete"
    assert type_name(fields["num_agents"]) == "int, >= 1"
    assert default_of(fields["num_agents"]) == "2"
    assert default_of(get_domain("cue").task_type.model_fields["lifetimes"]) == "[]"


def test_an_unknown_domain_is_told() -> None:
    """The closest one is suggested."""
    with pytest.raises(ConfigError, match="did you mean trading"):
        domain_table("trding")


def test_bars_say_whether_they_hold() -> None:
    """A goal that is missed stands out, a figure without a goal has no verdict."""
    text = shown(bars_table("x", [Bar("a", 2.0, 1.0), Bar("b", 2.0, 1.0, at_most=True), Bar("c", 2.0)]))
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()[:1] in "abc" and line.strip()}
    assert "yes" in lines["a"]
    assert "NO" in lines["b"]
    assert "yes" not in lines["c"]
    assert "NO" not in lines["c"]
    assert all(name in shown(benchmarks_table(BENCHMARKS)) for name in BENCHMARKS)
