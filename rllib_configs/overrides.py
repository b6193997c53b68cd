"""Layers a configuration: the YAML it extends, a user's file, and `--set key.path=value`, checked as it goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from algorithms.registry import Algorithm, get_algorithm
from envs.registry import domain_names, file_of, get_domain
from rllib_configs.errors import ConfigError, describe, is_mapping, one_line, shorten, submodel, unknown_key
from rllib_configs.schema import ExperimentConfig, experiment, experiment_type

FOLDER = Path(__file__).parent
PRESET = "env.preset"
"""Key by which one of several simulators of the same problem is chosen (`envs.registry.Domain.presets`)."""


def load(
    domain: str,
    algorithm: str | None = None,
    *,
    file: str | Path | None = None,
    overrides: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> ExperimentConfig:
    """Reads the configuration of an experiment.

    Args:
        domain: A built-in domain, or `package.module:attribute`.
        algorithm: How it is learned, which says which of the domain's YAML files is meant; as the domain says if None.
            A `file` says so itself.
        file: A user's own YAML, in place of the domain's; it may extend that one.
        overrides: `key.path=value` each, the value as YAML; later ones win.
        values: Values by dotted path, applied after `overrides`.

    Raises:
        ConfigError: If a file, key or value is not allowed; one line a mistake.
    """
    domain, overrides = of_preset(domain, overrides)
    if file is None:
        algorithm = algorithm or default_algorithm(domain)
        found = check_algorithm_name(algorithm)
        brought = file_of(domain, f"{found.name}.yaml") or FOLDER / f"{domain}_{found.name}.yaml"
        tree = read_layers(brought if brought.is_file() else _defaults(found))
        tree["algorithm"] = algorithm
    else:
        tree = read_layers(file)
        if isinstance(env := tree.get("env"), dict) and "preset" in env and get_domain(domain).presets:
            domain = preset(domain, env.pop("preset"))
        if algorithm is not None and tree.get("algorithm") != algorithm:
            said = tree.get("algorithm")
            raise ConfigError(f"algorithm: got {algorithm!r} beside {file}, allowed is what is said there, {said!r}")
    set_value(tree, "domain", domain)
    for text in overrides:
        set_value(tree, *parse(text))
    for path, value in (values or {}).items():
        set_value(tree, path, value)
    return validate(tree)


def of_preset(domain: str, overrides: Iterable[str]) -> tuple[str, list[str]]:
    """The domain that is meant by `env.preset=NAME` among the overrides, if it is, and the other overrides.

    Raises:
        ConfigError: If there is no such domain, or it has no such preset.
    """
    check_domain(domain)
    others = list(overrides)
    if get_domain(domain).presets:
        parsed = [parse(text) for text in others]
        others = [text for text, (path, _) in zip(others, parsed, strict=True) if path != PRESET]
        domain = [domain, *(preset(domain, value) for path, value in parsed if path == PRESET)][-1]
    return domain, others


def preset(domain: str, name: Any) -> str:
    """The domain that a preset of another one is; raises ConfigError if there is none of that name."""
    presets = get_domain(domain).presets
    if name not in presets:
        raise ConfigError(unknown_name(PRESET, str(name), presets))
    return presets[name]


def check_domain(name: str) -> None:
    """Raises ConfigError unless there is such a domain."""
    try:
        get_domain(name)
    except ValueError as error:
        if ":" not in name:
            known = unknown_name("domain", name, domain_names())
            raise ConfigError(f"{known}, or your own package.module:attribute") from error
        raise ConfigError(one_line(error)) from error


def default_algorithm(domain: str) -> str:
    """How a domain is learned where nobody says."""
    return get_domain(domain).learned_by


def check_algorithm_name(name: str) -> Algorithm:
    """The algorithm of that name; raises ConfigError if there is none."""
    try:
        return get_algorithm(name)
    except ValueError as error:
        raise ConfigError(one_line(error)) from error


def _defaults(algorithm: Algorithm) -> Path:
    """What a user's own domain starts from."""
    return algorithm.defaults or FOLDER / f"base_{algorithm.name}.yaml"


def unknown_name(what: str, given: str, allowed: Iterable[str]) -> str:
    """The line for a name that does not exist."""
    return unknown_key(given, allowed).replace(f"{given}: no such key", f"{what}: got {given!r}", 1)


def validate(tree: Mapping[str, Any]) -> ExperimentConfig:
    """Checks a complete tree of values.

    Raises:
        ConfigError: With one line a mistake.
    """
    check_algorithm_name(str(tree.get("algorithm", "")))
    try:
        return experiment(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(describe(error, experiment_type(str(tree["algorithm"]))))) from error


def read_layers(file: str | Path) -> dict[str, Any]:
    """Reads a YAML file on top of those it names under `extends`, if any: names beside this file, or paths.

    Of several, each is laid over those before it.

    Raises:
        ConfigError: If a file is missing, is no YAML, is no mapping, or extends itself.
    """
    return _layered(Path(file).resolve(), ())


def _layered(path: Path, inside: tuple[Path, ...]) -> dict[str, Any]:
    """The values of a file, over those of what it extends; `inside` are the files that extend it."""
    if path in inside:
        raise ConfigError(f"extends: got {path}, which extends itself")
    own = read_yaml(path)
    parents = own.pop("extends", None)
    tree: dict[str, Any] = {}
    for parent in [] if parents is None else parents if isinstance(parents, list) else [parents]:
        merge(tree, _layered(_find(str(parent), path.parent).resolve(), (*inside, path)))
    merge(tree, own)
    return tree


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads one YAML mapping.

    Raises:
        ConfigError: If it cannot be read, or is no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not YAML ({one_line(error)})") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: got {shorten(content)}, allowed is a mapping of settings")
    return content


def merge(tree: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Lays `layer` over `tree`, mapping by mapping; anything else replaces what was there."""
    for key, value in layer.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = deepcopy(dict(value) if isinstance(value, Mapping) else value)


def parse(text: str) -> tuple[str, Any]:
    """Splits `key.path=value`; the value is YAML, and also `1e-3`, which YAML 1.1 takes for text, is a number.

    Raises:
        ConfigError: If there is no `=`, no key, or the value is no YAML.
    """
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals or not path:
        raise ConfigError(f"--set: got {text!r}, allowed is key.path=value, such as ppo.lr=0.001")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: got {value!r}, which is not a YAML value ({one_line(error)})") from error
    if isinstance(parsed, str):
        try:
            parsed = float(parsed)
        except ValueError:
            parsed = parsed.strip()
    return path, parsed


def set_value(tree: dict[str, Any], path: str, value: Any) -> None:
    """Sets one value by its dotted path, which must exist in the schema.

    Raises:
        ConfigError: If there is no such key.
    """
    domain = str(tree.get("domain", ""))
    check_path(path, domain, str(tree.get("algorithm") or default_algorithm(domain)))
    *parents, last = path.split(".")
    node = tree
    for name in parents:
        if not isinstance(node.get(name), dict):
            node[name] = {}
        node = node[name]
    if isinstance(value, Mapping) and isinstance(node.get(last), dict):
        merge(node[last], value)
    else:
        node[last] = value


def check_path(path: str, domain: str, algorithm: str) -> None:
    """Raises ConfigError, with the keys that exist, unless the schema has this dotted path."""
    check_algorithm_name(algorithm)
    model: type[BaseModel] | None = experiment_type(algorithm)
    names = path.split(".")
    for depth, name in enumerate(names):
        if model is None:
            parent = ".".join(names[:depth])
            raise ConfigError(f"{path}: no such key; {parent} is a single value, set as {parent}=…")
        if name not in model.model_fields:
            raise ConfigError(unknown_key(".".join(names[: depth + 1]), model.model_fields))
        if depth and is_mapping(model, name):  # such as `env.settings`: the keys in it are the user's own
            return
        model = _below(model, name, domain)


def _below(model: type[BaseModel], name: str, domain: str) -> type[BaseModel] | None:
    """The model under a key; for `env` and `task`, the domain's."""
    if issubclass(model, ExperimentConfig) and name in ("env", "task"):
        found = get_domain(domain)
        return found.config_type if name == "env" else found.task_type
    return submodel(model, name)


def _find(name: str, beside: Path) -> Path:
    """The file meant by `extends`: a path, or a name beside the file or among the built-in ones."""
    given = Path(name)
    candidates = [given] if given.is_absolute() else [beside / given, beside / f"{name}.yaml", FOLDER / f"{name}.yaml"]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in FOLDER.glob("*_*.yaml") if not path.stem.endswith("_sweep"))
    raise ConfigError(f"extends: got {name!r}, allowed is the path of a YAML file or one of {', '.join(known)}")
