"""The schema has no defaults, forbids what it does not know, and describes everything."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError

from rllib_configs.errors import submodel
from rllib_configs.overrides import load
from rllib_configs.schema import experiment, experiment_type


def sections(model: type[BaseModel] | None = None) -> Iterator[type[BaseModel]]:
    """The schema's models, the outermost first."""
    model = model or experiment_type("ppo")
    yield model
    for name in model.model_fields:
        inner = submodel(model, name)
        if (
            inner is not None
            and inner.model_config.get("extra") == "forbid"
            and inner.model_config.get("validate_default")
        ):
            yield from sections(inner)


def test_the_yaml_is_the_only_source_of_defaults() -> None:
    """No field of the schema has a default in code."""
    for section in sections():
        for name, field in section.model_fields.items():
            assert field.is_required(), f"{section.__name__}.{name}"


def test_every_setting_is_described() -> None:
    """Each single setting says what it means."""
    for section in sections():
        for name, field in section.model_fields.items():
            if submodel(section, name) is None:
                assert field.description, f"{section.__name__}.{name}"


def test_a_missing_setting_is_an_error() -> None:
    """A file that leaves out a key does not fall back to anything."""
    tree = load("cue").model_dump(mode="json")
    del tree["ppo"]["lr"]
    with pytest.raises(ValidationError):
        experiment(tree)


def test_a_run_without_an_end_is_an_error() -> None:
    """At least one bound on training is needed."""
    tree = load("cue").model_dump(mode="json")
    tree["stop"] |= {"iterations": None}
    with pytest.raises(ValidationError, match="at least one of agent_steps, episodes, iterations, minutes"):
        experiment(tree)


def test_what_is_written_is_read_back() -> None:
    """A configuration survives the way through plain values, tuples and all."""
    for domain in ("cue", "trading"):
        config = load(domain, overrides=["network.hidden_sizes=[32, 16]"])
        assert experiment(config.model_dump(mode="json")) == config
