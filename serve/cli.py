"""The commands `entrepot serve` and `entrepot models …`; what is heavy is imported in them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from policies.registry import ModelRegistry, Version
    from serve.launch import Running
    from serve.settings import ServeSettings

_OPTIONS: dict[str, Any] = {"no_args_is_help": True, "rich_markup_mode": "rich"}
models = typer.Typer(help="Versions in the registry: list, alias, canary, shadow, rollback.", **_OPTIONS)

TrackingUri = Annotated[
    str, typer.Option("--tracking-uri", help="MLflow, where the registry is.", envvar="MLFLOW_TRACKING_URI")
]
Model = Annotated[str, typer.Argument(help="Name of the model, such as trading.")]
Number = Annotated[int | None, typer.Argument(help="Number of the version.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show traces of errors.")]
Clear = Annotated[bool, typer.Option("--clear", help="Have none any more.")]
_URI = "sqlite:///mlflow.db"


def serve(
    served: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            help="What is served: MODEL@ALIAS, MODEL@VERSION, a bundle's folder, or NAME=FOLDER; several with commas "
            "or by giving the option again.",
            metavar="MODEL",
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8000,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; beyond loopback needs --keys.")] = (
        "127.0.0.1"
    ),
    replicas: Annotated[int, typer.Option("--replicas", help="Processes that answer requests.")] = 1,
    keys_file: Annotated[
        Path | None,
        typer.Option("--keys", help="File of keys; keys.json, if there is one in this folder.", envvar="ENTREPOT_KEYS"),
    ] = None,
    no_keys: Annotated[bool, typer.Option("--no-keys", help="Let everybody ask, even beside a keys.json.")] = False,
    log_dir: Annotated[Path | None, typer.Option("--log-dir", help="Folder of the access log.")] = None,
    tracking_uri: TrackingUri = _URI,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: name=value. May be given many times.", metavar="NAME=VALUE"),
    ] = None,
    show_settings: Annotated[bool, typer.Option("--show-settings", help="Print all settings and stop.")] = False,
    debug: Debug = False,
) -> None:
    """Serve policies over HTTP: the Open Inference Protocol, named observations, versions, keys, a page to try them."""
    chosen = _settings(
        settings or (),
        {
            "models": tuple(part for text in served or ("trading@champion",) for part in text.split(",") if part),
            "host": host,
            "port": port,
            "replicas": replicas,
            "keys_file": _keys(keys_file, no_keys),
            "log_dir": log_dir,
            "tracking_uri": tracking_uri,
        },
    )
    if show_settings:
        typer.echo(chosen.model_dump_json(indent=1))
        return
    from serve.launch import check
    from serve.launch import serve as run

    check(chosen)
    who = "whoever reaches the port may ask" if chosen.keys_file is None else f"keys of {chosen.keys_file}"
    what = f"{chosen.replicas} replica{'s' * (chosen.replicas > 1)} of {', '.join(chosen.models)}"
    typer.echo(f"Starting {what}; {who} …")
    run(chosen, lambda running: typer.echo(welcome(chosen, running)))
    typer.echo("Stopped.")


def welcome(settings: ServeSettings, running: Running) -> str:
    """What is said once the service answers."""
    from serve.references import Reference

    first = Reference.parse(settings.models[0])
    name = first.name
    if not name:
        from policies.bundle import load_manifest

        name = load_manifest(first.folder or "").name
    key = "" if settings.keys_file is None else ' -H "X-API-Key: $ENTREPOT_KEY"'
    lines = [
        "",
        f"  Page            {running.url}/",
        f"  Documentation   {running.url}/docs",
        f"  Try             curl -s {running.url}/v1/policies/{name}{key}",
        f"  Figures         {running.url}/metrics",
    ]
    if settings.log_dir is not None:
        lines.append(f"  Access log      {settings.log_dir}")
    lines += [
        f"  Logs            {running.folder}/serve",
        f"  HAProxy         http://127.0.0.1:{running.stats_port}/stats, http://127.0.0.1:{running.metrics_port}/metrics",
    ]
    if settings.keys_file is None:
        lines.append("  Keys            none: whoever can reach the port may ask (entrepot keys add NAME makes one)")
    else:
        lines.append(f"  Keys            {settings.keys_file}")
    return "\n".join([*lines, "", "Ctrl-C ends the service.", ""])


@models.command("list", epilog="Examples:\n\nentrepot models list\n\nentrepot models list trading --json")
def models_list(
    model: Annotated[str | None, typer.Argument(help="Name of the model; all if none is given.")] = None,
    tracking_uri: TrackingUri = _URI,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List versions, the newest first: score, aliases, canary and shadow."""
    registry = _registry(tracking_uri)
    rows = []
    for name in registry.names() if model is None else [model]:
        serving = registry.serving(name)
        for version in registry.versions(name):
            marks = [f"canary {serving.percent:g}%"] * (serving.canary == version.version)
            marks += ["shadow"] * (serving.shadow == version.version)
            rows.append(_row(version, marks))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "version", "score", "aliases", "besides")
    for row in rows:
        score = f"{row['score']:.2f} [{row['low']:.2f}, {row['high']:.2f}] in {row['evaluation']}"
        table.add_row(row["model"], str(row["version"]), score, ", ".join(row["aliases"]), ", ".join(row["besides"]))
    Console().print(table if rows else "no models are registered; `entrepot train` registers one")


def _row(version: Version, marks: list[str]) -> dict[str, Any]:
    return {
        "model": version.name,
        "version": version.version,
        "score": version.score.value,
        "low": version.score.low,
        "high": version.score.high,
        "evaluation": version.score.evaluation,
        "aliases": list(version.aliases),
        "besides": marks,
    }


@models.command(
    "alias", epilog="Examples:\n\nentrepot models alias trading champion 3\n\nentrepot models alias trading old --clear"
)
def models_alias(
    model: Model,
    alias: Annotated[str, typer.Argument(help="The alias, such as champion.")],
    version: Number = None,
    clear: Clear = False,
    tracking_uri: TrackingUri = _URI,
    debug: Debug = False,
) -> None:
    """Give a version an alias; services that serve it follow within seconds."""
    _one_of(version, clear)
    registry = _registry(tracking_uri)
    if version is None:
        registry.delete_alias(model, alias)
        typer.echo(f"{model}: no version is {alias} any more")
    else:
        registry.set_alias(model, alias, version)
        typer.echo(f"{model}: version {version} is {alias}")


@models.command(
    "canary",
    epilog="Examples:\n\nentrepot models canary trading 4 --percent 10\n\nentrepot models canary trading --clear",
)
def models_canary(
    model: Model,
    version: Number = None,
    percent: Annotated[float, typer.Option("--percent", help="Share of the requests that pin no version.")] = 10.0,
    clear: Clear = False,
    tracking_uri: TrackingUri = _URI,
    debug: Debug = False,
) -> None:
    """Give a version a share of the requests."""
    _one_of(version, clear)
    registry = _registry(tracking_uri)
    if version is None:
        registry.clear_canary(model)
        typer.echo(f"{model}: there is no canary")
    else:
        registry.set_canary(model, version, percent)
        typer.echo(f"{model}: version {version} gets {percent:g}% of the requests that pin none")


@models.command(
    "shadow", epilog="Examples:\n\nentrepot models shadow trading 5\n\nentrepot models shadow trading --clear"
)
def models_shadow(
    model: Model,
    version: Number = None,
    clear: Clear = False,
    tracking_uri: TrackingUri = _URI,
    debug: Debug = False,
) -> None:
    """Ask a version the same as the one that is served, and count how they differ."""
    _one_of(version, clear)
    registry = _registry(tracking_uri)
    if version is None:
        registry.clear_shadow(model)
        typer.echo(f"{model}: there is no shadow")
    else:
        registry.set_shadow(model, version)
        typer.echo(f"{model}: version {version} is asked besides; see entrepot_shadow_… in /metrics")


@models.command("rollback", epilog="Example:\n\nentrepot models rollback trading")
def models_rollback(model: Model, tracking_uri: TrackingUri = _URI, debug: Debug = False) -> None:
    """Make the champion before the present one the champion again."""
    version = _registry(tracking_uri).rollback(model)
    typer.echo(f"{model}: version {version.version} is champion again")


def _settings(changes: list[str] | tuple[str, ...], values: dict[str, Any]) -> ServeSettings:
    """The settings that the options describe.

    Raises:
        LaunchError: If one is not known or not allowed.
    """
    from pydantic import ValidationError

    from serve.launch import LaunchError
    from serve.settings import ServeSettings

    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or name not in ServeSettings.model_fields:
            raise LaunchError(
                f"--set: got {change!r}, allowed are NAME=VALUE with {', '.join(sorted(ServeSettings.model_fields))}"
            )
        values[name] = tuple(value.split(",")) if name == "models" else value
    try:
        return ServeSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise LaunchError(f"{first['loc'][0]}: got {first['input']!r}, allowed: {first['msg']}") from None


def _keys(path: Path | None, none: bool) -> Path | None:
    """The file of keys that the options mean: where there is a `keys.json`, nobody is let in by an omission.

    Raises:
        LaunchError: If they contradict each other.
    """
    from serve.cli_keys import KEYS
    from serve.launch import LaunchError

    if path is not None and none:
        raise LaunchError(f"--no-keys: got it with --keys {path}, allowed is one of them")
    return KEYS if path is None and not none and os.path.lexists(KEYS) else path


def _registry(tracking_uri: str) -> ModelRegistry:
    from policies.registry import ModelRegistry

    return ModelRegistry(tracking_uri)


def _one_of(version: int | None, clear: bool) -> None:
    if (version is None) != clear:
        raise typer.BadParameter("got neither or both, allowed is a version's number or --clear", param_hint="version")
