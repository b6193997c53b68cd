"""Tests of finding a domain by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from envs import registry
from envs.cue import DOMAIN, CueConfig, CueEnv, CueTask
from envs.registry import Domain, domain_names, file_of, get_domain, same_domain


@pytest.mark.parametrize("name", domain_names())
def test_every_name_makes_an_env(name: str) -> None:
    """Every built-in domain exists under its own name and makes worlds with its defaults."""
    domain = get_domain(name)
    assert domain.name == name
    assert domain.summary
    assert domain.env(num_worlds=2).num_worlds == 2


def test_plain_and_typed_values_make_the_same_env() -> None:
    """Fields in a dictionary and the config's own type are one."""
    plain = DOMAIN.env({"num_agents": 3}, 2, task={"max_steps": 7}, first_world=4)
    typed = DOMAIN.env(CueConfig(num_agents=3), 2, task=CueTask(max_steps=7), first_world=4)
    assert isinstance(plain, CueEnv)
    assert isinstance(typed, CueEnv)
    assert plain.config == typed.config
    assert plain.tasks == typed.tasks == [CueTask(max_steps=7)] * 2
    assert plain.streams.first_world == typed.streams.first_world == 4


@pytest.mark.parametrize(("config", "task"), [({"agents": 3}, None), ({"num_agents": 0}, None), (None, {"steps": 3})])
def test_wrong_keys_and_values_are_rejected(config: dict[str, int] | None, task: dict[str, int] | None) -> None:
    """An unknown key and a value that is not allowed are validation errors, in config and task alike."""
    with pytest.raises(ValidationError):
        DOMAIN.env(config, task=task)


def test_unknown_name_lists_the_known_ones() -> None:
    """The message names what was given and every name that is allowed."""
    with pytest.raises(
        ValueError, match=r"^domain: got 'tradin', allowed are trading, .*cue.*package\.module:attribute$"
    ):
        get_domain("tradin")


@pytest.mark.parametrize("address", ["no_such_module:DOMAIN", "envs.cue:NOTHING", "envs.cue:__doc__"])
def test_address_that_leads_nowhere_is_named(address: str) -> None:
    """A missing module, a missing attribute and something that is no env are one line with the address."""
    with pytest.raises(ValueError, match=rf"^domain: got '{address}'") as error:
        get_domain(address)
    assert "\n" not in str(error.value)


def test_a_users_domain_is_found_by_its_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain in a module of the user's own is found by `module:attribute`."""
    (tmp_path / "her_domain.py").write_text("from envs.cue import DOMAIN as MINE\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert get_domain("her_domain:MINE") is DOMAIN
    sys.modules.pop("her_domain")


def test_a_users_env_class_becomes_a_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a ParallelEnv is wrapped into a domain under its address."""
    source = (
        "from envs.adapters.parallel import BatchedParallelEnv\n"
        "from envs.cue import DOMAIN\n"
        "def parallel_env(agents=2):\n"
        "    return BatchedParallelEnv(DOMAIN.env({'num_agents': agents}))\n"
    )
    (tmp_path / "her_env.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    domain = get_domain("her_env:parallel_env")
    assert isinstance(domain, Domain)
    assert domain.name == "her_env:parallel_env"
    assert len(domain.env({"settings": {"agents": 5}}, 2).agent_ids) == 5
    sys.modules.pop("her_env")


def test_an_installed_package_brings_a_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by the name of its entry point, its files in its folder, and nothing of ours names it."""
    (tmp_path / "harbour.py").write_text(
        "from dataclasses import replace\nfrom pathlib import Path\nfrom envs.cue import DOMAIN as CUE\n"
        "DOMAIN = replace(CUE, name='harbour', folder=Path(__file__).parent / 'files')\n"
    )
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "suite.yaml").write_text("domain: harbour\n")
    (tmp_path / "harbour-1.dist-info").mkdir()
    (tmp_path / "harbour-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: harbour\nVersion: 1\n")
    (tmp_path / "harbour-1.dist-info" / "entry_points.txt").write_text("[entrepot.domains]\nharbour = harbour:DOMAIN\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._installed.cache_clear()
    try:
        assert "harbour" in domain_names()
        assert get_domain("harbour").name == "harbour"
        assert get_domain("harbour") is get_domain("harbour:DOMAIN")
        assert same_domain("harbour", "harbour:DOMAIN")
        assert file_of("harbour", "suite.yaml") == tmp_path / "files" / "suite.yaml"
        assert file_of("harbour", "curriculum.yaml") is None
    finally:
        registry._installed.cache_clear()
