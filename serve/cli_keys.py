"""The commands `entrepot keys …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

KEYS = Path("keys.json")

keys = typer.Typer(help="Keys to the service: add, list, revoke.", no_args_is_help=True, rich_markup_mode="rich")

KeysPath = Annotated[Path, typer.Option("--keys", help="File of keys.", envvar="ENTREPOT_KEYS")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show traces of errors.")]


@keys.command(
    "add",
    epilog="Examples:\n\nentrepot keys add desk\n\nentrepot keys add prometheus --scope metrics\n\n"
    "entrepot keys add partner --model trading --rate 50",
)
def keys_add(
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help="infer, read or metrics; infer and read if none is given.")
    ] = None,
    allowed: Annotated[list[str] | None, typer.Option("--model", help="Model it may ask for; all if none.")] = None,
    rate: Annotated[float | None, typer.Option("--rate", help="Requests a second, in the long run; any if none.")] = (
        None
    ),
    burst: Annotated[int, typer.Option("--burst", help="Requests at once, after a rest.")] = 100,
    path: KeysPath = KEYS,
    debug: Debug = False,
) -> None:
    """Make a key. It is shown once; the file keeps only its hash."""
    from serve.keys import KeysFile

    secret = KeysFile(path).add(name, scopes=scopes or ("infer", "read"), models=allowed, rate=rate, burst=burst)
    typer.echo(secret)
    typer.echo(
        f"Shown this once. {path} has its hash; services that run with it know the key within a second.", err=True
    )


@keys.command("list", epilog="Example:\n\nentrepot keys list")
def keys_list(path: KeysPath = KEYS, as_json: Json = False, debug: Debug = False) -> None:
    """List the keys, without what opens the door."""
    from serve.keys import KeysFile

    found = [key.model_dump(mode="json", exclude={"sha256"}) for key in KeysFile(path).read()]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "scopes", "models", "rate [1/s]", "created", "revoked")
    for key in found:
        table.add_row(
            key["name"],
            ", ".join(key["scopes"]),
            "all" if key["models"] is None else ", ".join(key["models"]),
            "any" if key["rate"] is None else f"{key['rate']:g}",
            str(key["created"]),
            str(key["revoked"] or ""),
        )
    Console().print(table)


@keys.command("revoke", epilog="Example:\n\nentrepot keys revoke desk")
def keys_revoke(
    name: Annotated[str, typer.Argument(help="Name of the key.")], path: KeysPath = KEYS, debug: Debug = False
) -> None:
    """End a key for good; running services know within a second."""
    from serve.keys import KeysFile

    KeysFile(path).revoke(name)
    typer.echo(f"{name}: is revoked")
