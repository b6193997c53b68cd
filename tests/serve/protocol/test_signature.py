"""Signatures: made once a bundle, forgotten with it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from policies.bundle import load_bundle
from serve.models import ServedVersion
from serve.protocol import signature
from serve.protocol.signature import signature_of


def test_signature_tells_modules_apart(team_version: ServedVersion) -> None:
    """Widths, critics, branches and agents are each module's own."""
    found = signature_of(team_version.policy)
    assert found is signature_of(team_version.policy)
    shared, first = found.modules["shared"], found.modules["first"]
    assert (shared.size, shared.mask_size, shared.num_actions, shared.dist_size) == (11, 3, 3, 6)
    assert (first.size, first.mask_size, first.num_actions, first.dist_size) == (11, 5, 2, 5)
    assert first.branches is not None
    assert first.branches.tolist() == [0, 3]
    assert (shared.has_values, first.has_values) == (True, False)
    assert (shared.action_names, first.action_names) == (("AAPL", "MSFT", "XOM"), None)
    assert found.common == "shared"
    assert dict(found.agents) == {"ann": "shared", "bob": "shared", "cid": "first", "dan": "second"}


def test_signatures_go_with_their_bundles(make_bundle: Any, tmp_path: Path) -> None:
    """A version that is unloaded leaves nothing behind."""
    policy = load_bundle(make_bundle(tmp_path / "bundle"))
    before = len(signature._known)
    signature_of(policy)
    assert len(signature._known) == before + 1
    del policy
    gc.collect()
    assert len(signature._known) == before
