"""The other files for deployment: what they tell people and machines to run can be run."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

import entrepot

DEPLOY = Path(__file__).parents[3] / "serve" / "deploy"


def test_the_unit_s_command_is_one_we_know() -> None:
    """The service that systemd starts is on loopback, asks for keys, and writes an access log."""
    (line,) = [line for line in (DEPLOY / "entrepot.service").read_text().splitlines() if line.startswith("ExecStart=")]
    program, *arguments = shlex.split(line.removeprefix("ExecStart="))
    assert Path(program).name == "entrepot"
    done = CliRunner().invoke(entrepot.app, [*arguments, "--show-settings"])
    assert done.exit_code == 0, done.output
    settings = json.loads(done.output)
    assert settings["host"] == "127.0.0.1"
    assert settings["keys_file"] == "/etc/entrepot/keys.json"
    assert settings["log_dir"] == "/var/log/entrepot"
    assert settings["tracking_uri"] == "sqlite:////var/lib/entrepot/mlflow.db"


def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    """Keys are made, listed and revoked as the page says."""
    lines = [line.strip() for line in (DEPLOY / "README.md").read_text().splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("mine keys ")]
    assert len(commands) >= 4
    for command in commands:
        here = [part.replace("/etc/entrepot", str(tmp_path)) for part in command]
        done = CliRunner().invoke(entrepot.app, here)
        assert done.exit_code == 0, done.output
    keys = json.loads((tmp_path / "keys.json").read_text())["keys"]
    assert {key["name"]: key["revoked"] is None for key in keys} == {"research": False, "prometheus": True}
    assert keys[0]["models"] == ["trading"]


def test_the_figures_of_the_readme_exist() -> None:
    """Each figure that an alarm is proposed for is one that the service shows."""
    from prometheus_client.parser import text_string_to_metric_families

    from serve.metrics import Metrics, render

    shown = {family.name for family in text_string_to_metric_families(render([Metrics().snapshot()]).decode())}
    words = set((DEPLOY / "README.md").read_text().replace("(", " ").replace("{", " ").replace("[", " ").split())
    named = {word for word in words if word.startswith("entrepot_")}
    assert len(named) >= 6
    assert {word.removesuffix("_total").removesuffix("_bucket") for word in named} <= shown


def test_the_firewall_is_one_that_nft_takes() -> None:
    """The rules are checked by nft itself, which needs root even for that."""
    nft = shutil.which("nft", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin")))
    if nft is None or os.geteuid() != 0:
        pytest.skip("no nft found, or not root; `make test-tools` as root installs it")
    probe = subprocess.run([nft, "list", "tables"], capture_output=True, text=True)
    if probe.returncode != 0:
        pytest.skip(f"nft may not look at this machine's rules: {probe.stderr.strip()}")
    done = subprocess.run([nft, "-c", "-f", str(DEPLOY / "entrepot.nft")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
