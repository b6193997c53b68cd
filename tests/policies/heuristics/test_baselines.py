"""Tests of how a domain's yardsticks are found."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType

import pytest

from envs.registry import domain_names, get_domain
from policies.heuristics import baselines, has_baselines


@pytest.mark.parametrize("domain", domain_names())
def test_every_built_in_domain_has_a_naive_and_an_informed_policy(domain: str) -> None:
    """Both ends of the scale are among the domain's policies."""
    found = baselines(domain)
    assert {found.naive, found.informed} <= set(found.policies)


def test_a_users_module_says_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`package.module:attribute` has the BASELINES of that module; without any it has no scores, and says so."""
    module = ModuleType("somebodys_domain")
    module.DOMAIN = replace(get_domain("cue"), baselines="")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert not has_baselines("somebodys_domain:DOMAIN")
    said = "domain: got 'somebodys_domain:DOMAIN', and somebodys_domain holds no BASELINES"
    with pytest.raises(ValueError, match=rf"^{said}"):
        baselines("somebodys_domain:DOMAIN")
    module.BASELINES = baselines("cue")  # type: ignore[attr-defined]
    assert baselines("somebodys_domain:DOMAIN") is module.BASELINES


def test_a_record_says_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `baselines` is an address; one that holds something else is an error that names it."""
    module = ModuleType("somebodys_domain")
    module.DOMAIN = replace(get_domain("cue"), baselines="policies.heuristics.trading:BASELINES")  # type: ignore[attr-defined]
    module.WRONG = replace(get_domain("cue"), baselines="envs.cue:DOMAIN")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert baselines("somebodys_domain:DOMAIN") is baselines("trading")
    with pytest.raises(ValueError, match=r"^domain: got 'somebodys_domain:WRONG', whose record names envs.cue:DOMAIN"):
        baselines("somebodys_domain:WRONG")


def test_a_domain_that_there_is_not_is_refused() -> None:
    """The message names what was given and the domains there are."""
    with pytest.raises(
        ValueError,
        match=r"^domain: got 'chess', allowed are trading, supply_chain, .*spread, newsvendor, cue",
    ):
        baselines("chess")
