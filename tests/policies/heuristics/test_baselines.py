"""Tests of how a domain's yardsticks are found."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from envs.registry import domain_names
from policies.heuristics import baselines, has_baselines


@pytest.mark.parametrize("domain", domain_names())
def test_every_built_in_domain_has_a_naive_and_an_informed_policy(domain: str) -> None:
    """Both ends of the scale are among the domain's policies."""
    found = baselines(domain)
    assert {found.naive, found.informed} <= set(found.policies)


def test_a_users_module_says_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """`package.module:attribute` has the BASELINES of that module; without any it has no scores, and says so."""
    module = ModuleType("somebodys_domain")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert not has_baselines("somebodys_domain:DOMAIN")
    with pytest.raises(ValueError, match=r"^domain: got 'somebodys_domain:DOMAIN', whose module holds no BASELINES$"):
        baselines("somebodys_domain:DOMAIN")
    module.BASELINES = baselines("cue")  # type: ignore[attr-defined]
    assert baselines("somebodys_domain:DOMAIN") is module.BASELINES


def test_a_domain_without_a_file_is_refused() -> None:
    """The message names the domain and where its file would be."""
    with pytest.raises(ValueError, match=r"^domain: got 'chess', which has no file in policies/heuristics$"):
        baselines("chess")
