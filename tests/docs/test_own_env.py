"""The guide to one's own env is true: its code keeps the contract and its formula, and every command in it runs."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from envs.contract import check_env
from envs.registry import get_domain
from policies.heuristics import baselines
from policies.rollout import play

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "OWN_ENV.md").read_text()
(CODE,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def newsvendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The guide's module, found in the folder it lies in."""
    (tmp_path / "shops.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("shops")
    sys.modules.pop("shops")


def test_the_newsvendor_is_short_and_keeps_the_contract(newsvendor: ModuleType) -> None:
    """In both action modes, in under 150 lines."""
    assert len(CODE.splitlines()) < 150
    domain = get_domain("shops:DOMAIN")
    for mode in ("continuous", "discrete"):
        check_env(
            lambda b, k, mode=mode: domain.env({"action_mode": mode}, b, task={"max_steps": 8}, first_world=k), steps=19
        )


def test_its_optimum_is_the_closed_form(newsvendor: ModuleType) -> None:
    """With a cost of c, -ln(c) earns 1 - c + c ln(c) a day, and no order earns more."""
    env = get_domain("shops:DOMAIN").env({}, 400, task={"cheapest": 0.4, "dearest": 0.4001})
    played = play(env, baselines("shops:DOMAIN").policies["optimum"](), env.tasks[0], seed=0).returns / 30
    expected = 1 - 0.4 + 0.4 * np.log(0.4)
    assert abs(played.mean() - expected) < 4 * played.std() / np.sqrt(len(played))
    bound = baselines("shops:DOMAIN").bound
    assert bound is not None
    assert bound(env, env.tasks[0]) == pytest.approx(30 * expected, rel=1e-3)
    for factor in (0.8, 1.25):
        other = newsvendor.Orders("other", lambda cost, factor=factor: factor * newsvendor.optimum(cost))
        assert (play(env, other, env.tasks[0], seed=0).returns / 30).mean() < played.mean()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_command_runs(tmp_path: Path, new_database: Callable[[Path], str]) -> None:
    """One after the other, in the folder that holds the module."""
    (tmp_path / "shops.py").write_text(CODE)
    new_database(tmp_path)
    for line in COMMANDS:
        program, *arguments = shlex.split(line)
        assert program == "entrepot", line
        command = [sys.executable, ROOT / "entrepot.py", *arguments]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (line, ran.stdout, ran.stderr)
