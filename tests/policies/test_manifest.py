"""What a manifest says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete
from pydantic import ValidationError

from envs.arrays import AgentGroup, OwnActions
from envs.layout import ObservationLayout
from policies.manifest import GroupEntry, Manifest, SpaceEntry
from policies.network import Part

LAYOUT = ObservationLayout(("o",), ("x",), ("a", "b"), 1)


def manifest(**modules: tuple[str, ...]) -> Manifest:
    groups = {
        name: GroupEntry.of(
            AgentGroup(name, tuple(f"{name}{n}" for n in range(len(ids))), Box(-1, 1, (2,), np.float32), LAYOUT), ids
        )
        for name, ids in modules.items()
    }
    return Manifest(name="team", created="2030-01-01", domain="cue", env_config={}, groups=groups, golden={})


@pytest.mark.parametrize("space", [Box(-1, 1, (2,), np.float32), MultiDiscrete([3, 5])])
def test_groups_survive_json(space: Box | MultiDiscrete) -> None:
    """A group comes back equal, spaces and layout included."""
    group = AgentGroup("g", ("a", "b"), space, LAYOUT)
    entry = GroupEntry.model_validate(json.loads(GroupEntry.of(group, ("m", "m")).model_dump_json()))
    assert entry.group("g") == group


@pytest.mark.parametrize(
    ("space", "own"),
    [
        (Box(-1, 1, (2,), np.float32), OwnActions((0.0, -3.0), (10.0, 3.0), whole=True)),
        (MultiDiscrete([2, 3]), OwnActions((1.0, 0.0))),
    ],
)
def test_the_envs_own_values_survive_json(space: Box | MultiDiscrete, own: OwnActions) -> None:
    """What actions are called in the env is in the manifest, and says nothing where they are called the same."""
    layout = ObservationLayout(("x",))
    entry = GroupEntry.of(AgentGroup("g", ("a",), space, layout, own), ("m",))
    assert GroupEntry.model_validate_json(entry.model_dump_json()).group("g").own_actions == own
    plain = GroupEntry.of(AgentGroup("g", ("a",), space, layout), ("m",)).model_dump()
    assert not {"low", "high", "whole"} & set(plain["action_space"])
    with pytest.raises(ValidationError, match="low"):
        SpaceEntry(kind="continuous", size=2, low=(0.0, 0.0))


def test_parts_say_who_plays_with_what() -> None:
    """A module that plays a whole group takes any number of agents; otherwise agents are named by position."""
    found = manifest(g=("m", "m"), h=("m", "n", "m")).parts()
    assert found == {"m": [Part("g"), Part("h", (0, 2))], "n": [Part("h", (1,))]}


def test_digest_covers_everything_but_itself() -> None:
    """Any changed field changes the digest; the digest's own field does not."""
    one = manifest(g=("m",))
    assert one.digest() == one.model_copy(update={"sha256": "0" * 64}).digest()
    assert one.digest() != one.model_copy(update={"metrics": {"score": 1.0}}).digest()
    assert one.digest() == Manifest.model_validate_json(one.model_dump_json()).digest()


def test_figures_must_be_finite() -> None:
    """JSON has no NaN, so the manifest takes none."""
    with pytest.raises(ValidationError, match=r"metrics\.score"):
        Manifest.model_validate(manifest(g=("m",)).model_dump() | {"metrics": {"score": float("nan")}})
