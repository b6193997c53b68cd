"""The commands for versions, keys and the service: they do what they say, and mistakes are one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import entrepot
from policies.registry import ModelRegistry
from serve.keys import KeysError
from serve.launch import LaunchError
from serve.ports import free_ports
from serve.settings import ServeSettings

runner = CliRunner()


def run(*arguments: str) -> str:
    result = runner.invoke(entrepot.app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_keys(tmp_path: Path) -> None:
    """A key is made, shown once, listed without what opens the door, and revoked."""
    path = str(tmp_path / "keys.json")
    secret = run("keys", "add", "desk", "--rate", "50", "--model", "trading", "--keys", path).splitlines()[0]
    assert secret.startswith("ek_")
    (key,) = json.loads(run("keys", "list", "--keys", path, "--json"))
    assert (key["name"], key["rate"], key["models"], key["revoked"]) == ("desk", 50.0, ["trading"], None)
    assert secret not in (tmp_path / "keys.json").read_text()
    assert "sha256" not in key
    run("keys", "revoke", "desk", "--keys", path)
    assert json.loads(run("keys", "list", "--keys", path, "--json"))[0]["revoked"]


def test_models(small_registry: ModelRegistry) -> None:
    """Alias, canary, shadow and rollback arrive in the registry, and the list shows them."""
    uri = ("--tracking-uri", small_registry.tracking_uri)
    before = small_registry.champion("small")
    assert before is not None
    other = 5 if before.version != 5 else 4
    run("models", "alias", "small", "champion", str(other), *uri)
    run("models", "alias", "small", "tried", "3", *uri)
    run("models", "canary", "small", "2", "--percent", "5", *uri)
    run("models", "shadow", "small", "3", *uri)
    rows = {row["version"]: row for row in json.loads(run("models", "list", "small", "--json", *uri))}
    assert rows[other]["aliases"] == ["champion"]
    assert rows[2]["besides"] == ["canary 5%"]
    assert (rows[3]["aliases"], rows[3]["besides"]) == (["tried"], ["shadow"])
    assert f"version {before.version} is champion again" in run("models", "rollback", "small", *uri)
    run("models", "alias", "small", "tried", "--clear", *uri)
    run("models", "canary", "small", "--clear", *uri)
    run("models", "shadow", "small", "--clear", *uri)
    serving = small_registry.serving("small")
    assert (serving.canary, serving.shadow, dict(serving.aliases)) == (None, None, {"champion": before.version})


@pytest.mark.parametrize("arguments", [["small", "2", "--clear"], ["small"]])
def test_number_or_clear(arguments: list[str]) -> None:
    """Both or neither is a mistake."""
    assert runner.invoke(entrepot.app, ["models", "canary", *arguments]).exit_code == 2


def test_settings_of_the_service(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Options become settings; several models with commas or by repeating."""
    bundle = str(make_bundle(tmp_path / "bundle"))
    shown = json.loads(
        run("serve", "--models", f"a={bundle},trading@3", "--models", "x@best", "--port", "8123",
            "--set", "poll_seconds=0.5", "--show-settings")
    )  # fmt: skip
    assert shown["models"] == [f"a={bundle}", "trading@3", "x@best"]
    assert (shown["port"], shown["poll_seconds"]) == (8123, 0.5)


def keys_of(*arguments: str) -> str | None:
    """The file of keys that `entrepot serve` would use."""
    return json.loads(run("serve", "--models", "a@1", "--show-settings", *arguments))["keys_file"]  # type: ignore[no-any-return]


def test_keys_in_the_folder_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `entrepot keys add` makes is what `entrepot serve` asks for; `--no-keys` lets everybody in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ENTREPOT_KEYS", raising=False)
    assert keys_of() is None
    (tmp_path / "keys.json").symlink_to("gone")  # not what is there decides, but that something is
    assert keys_of() == str(tmp_path / "keys.json")
    (tmp_path / "keys.json").unlink()
    run("keys", "add", "desk")
    assert keys_of() == str(tmp_path / "keys.json")
    assert keys_of("--keys", "other.json") == str(tmp_path / "other.json")
    assert keys_of("--no-keys") is None
    with pytest.raises(LaunchError, match=r"^--no-keys: got it with --keys other\.json, allowed is one of them$"):
        keys_of("--no-keys", "--keys", "other.json")


def test_service_says_who_may_ask(
    make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line at the start names the keys, or says that everybody may ask, and the service gets what it names."""
    bundle = str(make_bundle(tmp_path / "bundle"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ENTREPOT_KEYS", raising=False)
    given: list[ServeSettings] = []
    monkeypatch.setattr("serve.launch.serve", lambda settings, ready: given.append(settings))
    start = ("serve", "--models", bundle, "--port", str(free_ports(1)[0]))
    assert "; whoever reaches the port may ask …" in run(*start)
    run("keys", "add", "desk")
    assert f"; keys of {tmp_path}/keys.json …" in run(*start)
    assert "; whoever reaches the port may ask …" in run(*start, "--no-keys")
    assert [settings.keys_file for settings in given] == [None, tmp_path / "keys.json", None]
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(KeysError, match=r"^keys file: .* is malformed"):
        run(*start)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("colour=red", "^--set: got 'colour=red', allowed are NAME=VALUE with "),
        ("port", "^--set: got 'port'"),
        ("replicas=many", "^replicas: got 'many', allowed"),
        ("port=99999", "^port: got '99999', allowed"),
    ],
)
def test_wrong_settings_are_one_line(change: str, message: str) -> None:
    """What is not known or not allowed is named before anything starts."""
    with pytest.raises(LaunchError, match=message) as caught:
        runner.invoke(entrepot.app, ["serve", "--set", change], catch_exceptions=False)
    assert "\n" not in str(caught.value)
