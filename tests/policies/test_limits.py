"""What is too large for a bundle is refused before anything is built of it; what real teams need is not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete

from envs.base import AgentGroup
from envs.layout import ObservationLayout
from policies import limits
from policies.bundle import BundleError, load_bundle
from policies.manifest import GroupEntry, Manifest
from tests.policies.forging import MANIFEST, signed


def _set(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(plain: dict[str, Any]) -> None:
        for key in path[:-1]:
            plain = plain[key]
        plain[path[-1]] = value

    return change


_TEAM = ("groups", "team")
_SPACE = (*_TEAM, "action_space")
_LAYOUT = (*_TEAM, "layout")
_LISTS = ("own", "entity_features", "entities")
_NAMES = [f"f{number}" for number in range(100_000)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(*_SPACE, "size", value=10**9), "action_space.size (got 1000000000: .*less than or equal to 10000"),
        (_set(*_SPACE, value={"kind": "discrete", "size": 1, "choices": [10**9]}), "choices.0 (got 1000000000"),
        (
            _set(*_SPACE, value={"kind": "discrete", "size": 9000, "choices": [1] * 8999 + [9000]}),
            "branches times the largest one's choices: got 81000000, allowed are at most 1000000",
        ),
        (_set(*_SPACE, value={"kind": "discrete", "size": 2, "choices": [3]}), "choices of 1 branches, allowed are 2"),
        (_set(*_LAYOUT, "own", value=_NAMES), "layout.own (got 100000 entries: .*at most 10000 items"),
        (
            _set(*_LAYOUT, value=dict.fromkeys(_LISTS, _NAMES[:5000]) | {"actions_per_entity": 0}),
            "width of an observation: got 25010000, allowed are at most 100000",
        ),
        (_set(*_LAYOUT, "own", value=["x", "x", "z"]), "got the feature 'x' twice"),
        (_set(*_LAYOUT, "own", value=["x" * 1000, "y", "z"]), "own.0 (got 1000 characters"),
        (_set(*_LAYOUT, "own", value=["x\0", "y", "z"]), "own.0 (got 'x"),
        (_set(*_TEAM, "agent_ids", value=_NAMES), "agent_ids (got 100000 entries"),
        (_set(*_TEAM, "agent_ids", value=["a", "a"]), "got the agent 'a' twice"),
        (_set(*_TEAM, "modules", value=["m"]), "got modules of 1 agents, allowed are 2"),
        (_set("recurrent", value={"m": 10**9}), "recurrent.m (got 1000000000"),
        (_set("recurrent", value={"n": 8}), "recurrent: got the module 'n', allowed are m"),
        (_set("golden", "m", "observations", value=[[0.0] * 3] * 2000), "observations (got 2000 entries"),
        (_set("metrics", value=dict.fromkeys(_NAMES, 1.0)), "metrics (got 100000 entries"),
        (_set("name", value="n" * 1000), "name (got 1000 characters"),
    ],
)  # fmt: skip
def test_numbers_are_bounded(plain: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    """One line names the field, what was given and what is allowed."""
    with pytest.raises(BundleError, match=re.escape(said).replace(r"\.\*", ".*")) as caught:
        load_bundle(signed(plain, change), verify=True)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["a\0b", "../secret", "/etc/passwd", "policy.onnx/x"])
def test_no_other_file_is_named(plain: Path, name: str) -> None:
    """A bundle is its graph and its manifest: another name, and be it one that no file can have, is refused."""
    entry = {"sha256": "0" * 64, "size": 1}
    with pytest.raises(BundleError, match=r"names the file .*, allowed are names without folders: policy.onnx alone"):
        load_bundle(signed(plain, lambda found: found["files"].update({name: entry})))


def test_manifests_that_are_bombs(plain: Path) -> None:
    """Too many bytes, too many values, and too deep a nesting are refused without being read to the end."""
    text = (plain / MANIFEST).read_text()
    (plain / MANIFEST).write_text(
        text.replace('"env_config": {}', f'"env_config": {{"x": {"[" * 10**6}{"]" * 10**6}}}')
    )
    with pytest.raises(BundleError, match=r"is malformed at .*recursion"):
        load_bundle(plain)
    (plain / MANIFEST).write_text("[" + "{}," * (limits.MANIFEST_VALUES + 1) + "{}]")
    with pytest.raises(BundleError, match=rf"has {limits.MANIFEST_VALUES + 1} values, allowed are at most"):
        load_bundle(plain)
    with (plain / MANIFEST).open("wb") as stream:
        stream.truncate(10**12)
    with pytest.raises(BundleError, match=f"has {10**12} bytes, allowed are at most {limits.MANIFEST_BYTES}"):
        load_bundle(plain)


@pytest.mark.parametrize(
    "space",
    [
        Box(-1, 1, (500,), np.float32),
        MultiDiscrete([2000] * 500),
        MultiDiscrete([10_000, 3]),
        MultiDiscrete([10] * 500),
    ],
)
def test_real_teams_have_room(space: Box | MultiDiscrete) -> None:
    """Hundreds of agents with a module each, hundreds of entities, and thousands of choices are a manifest."""
    entities = tuple(f"asset {number}" for number in range(500))
    layout = ObservationLayout(tuple(_NAMES[:50]), tuple(_NAMES[50:70]), entities)
    agents = tuple(f"agent {number}" for number in range(500))
    if space == MultiDiscrete([2000] * 500):  # a million logits: that is not real
        with pytest.raises(ValueError, match="choices of all branches: got 1000000, allowed are at most 100000"):
            GroupEntry.of(AgentGroup("g", agents, space, layout), agents)
        return
    groups = {"g": GroupEntry.of(AgentGroup("g", agents, space, layout), agents)}
    Manifest(
        name="n", created="", domain="d", env_config={}, groups=groups, golden={}, recurrent=dict.fromkeys(agents, 512)
    )
