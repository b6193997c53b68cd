"""Any env by its name: trained, killed, resumed, measured against chance, registered and served.

In several files, so that both processors of a small machine have something to do.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs.registry import get_domain
from policies.registry import ModelRegistry
from tune.tracking_uri import artifact_root

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = {
    "policies": "per_role",
    "stop": "{agent_steps: null, episodes: null, iterations: 8, minutes: null}",
    "runners": "{worlds: 8, rollout_length: 32}",
    "evaluation": "{interval: 2, episodes: 4, final_episodes: 8}",
    "checkpoint.interval": 1,
    "resources.cpus": 2,
}
FOLDER = ROOT / "tests" / "plugins"


def entrepot(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line, in a folder that holds the strangers' module."""
    return subprocess.Popen(
        [sys.executable, ROOT / "entrepot.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def from_name_to_policy(
    new_database: Callable[[Path], str],
    as_version: Any,
    serving: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], None]:
    """After `kill -9` the run goes on; its policy is compared with random actions, registered, and answers by HTTP."""

    def check(address: str) -> None:
        uri = new_database(tmp_path)
        for file in (*FOLDER.glob("[!t]*.py"), *FOLDER.glob("*.yaml")):
            (tmp_path / file.name).write_text(file.read_text())
        address, *option = address.split()
        settings = {**SETTINGS} if option else {**SETTINGS, "ppo.minibatch": 64}
        if address.startswith("dock"):  # and so is its task: a distribution of them
            settings["task.drawn"] = "[{field: care, low: 0.2, high: 0.8}]"
        changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        run = entrepot(tmp_path, "train", address, *option, "--experiment", "run", *changes)
        experiment, deadline = tmp_path / "results" / "run", time.monotonic() + 100
        while not list(experiment.glob("trial_*/checkpoint_*/rllib_checkpoint.json")):
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        resumed = entrepot(tmp_path, "train", address, "--experiment", "run", "--resume")
        said, _ = resumed.communicate(timeout=150)
        assert resumed.returncode == 0, said
        finished = json.loads((experiment / "finished.json").read_text())
        (returns,) = finished["returns"].values()
        assert {"trained", "trained (sampled)", "random"} == set(returns)
        report = (experiment / "report.html").read_text().lower()
        if address.startswith("dock"):
            assert all(heading in report for heading in ("return of clerks", "speed", "damage"))

        monkeypatch.syspath_prepend(str(FOLDER))
        env = get_domain(address).env({}, 1)
        name = finished["model"]
        assert name == (get_domain(address).name if option else address.replace(":", "."))
        version = as_version(ModelRegistry(uri, artifact_root(uri)).fetch(name, "1", tmp_path / "fetched"), name)
        seen = env.reset(0)
        body: dict[str, Any] = {"observations": {}, "action_masks": {}}
        for group in env.groups.values():
            for index in np.flatnonzero(seen.acts[group.name][0]):
                agent = group.agent_ids[index]
                row = seen.observations[group.name][0, index].tolist()
                body["observations"][agent] = dict(zip(group.layout.names, row, strict=True))
                if group.name in seen.action_masks:
                    body["action_masks"][agent] = seen.action_masks[group.name][0, index].tolist()
        reply = serving(version).post(f"/v1/policies/{name}/act", json=body)
        assert reply.status_code == 200, reply.text
        assert set(reply.json()["actions"]) == set(body["observations"])
        for group in env.groups.values():
            for agent in set(group.agent_ids) & set(body["observations"]):
                chosen = reply.json()["actions"][agent]
                chosen = np.array(list(chosen.values()) if isinstance(chosen, dict) else chosen)
                if group.own_actions is not None:
                    np.testing.assert_allclose(reply.json()["env_actions"][agent], group.own_actions.of(chosen))
                else:
                    assert "env_actions" not in reply.json()

    return check
