"""Tests of who plays with which network."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete

from algorithms.mapping import PolicyMapping
from envs.base import AgentGroup
from envs.layout import ObservationLayout

LAYOUT = ObservationLayout(("age", "cash"))
SPACE = Box(-1, 1, (2,), np.float32)
BUYERS = AgentGroup("buyers", ("anna", "bert", "cleo"), SPACE, LAYOUT)
SELLERS = AgentGroup("sellers", ("dora", "emil"), SPACE, LAYOUT)
JUDGES = AgentGroup("judges", ("finn",), MultiDiscrete([3]), LAYOUT)


def groups(*chosen: AgentGroup) -> dict[str, AgentGroup]:
    return {group.name: group for group in chosen}


@pytest.mark.parametrize(
    ("mode", "modules"),
    [
        ("shared", {"shared": 5}),
        ("per_role", {"buyers": 3, "sellers": 2}),
        ("per_agent", {"anna": 1, "bert": 1, "cleo": 1, "dora": 1, "emil": 1}),
    ],
)
def test_modules_share_out_all_agents(mode, modules):
    """Each mode has its modules, which together hold every agent once."""
    mapping = PolicyMapping(mode, groups(BUYERS, SELLERS))
    assert {module_id: mapping.size(module_id) for module_id in mapping.modules} == modules
    assert set(mapping.agent_modules) == {"anna", "bert", "cleo", "dora", "emil"}
    assert set(mapping.agent_modules.values()) == set(modules)
    assert mapping.module_of("sellers", 1) == mapping.agent_modules["emil"]


@pytest.mark.parametrize("mode", ["shared", "per_role", "per_agent"])
def test_what_is_gathered_can_be_scattered_back(mode):
    """Gathering every module's agents and scattering them again gives the arrays that were there."""
    mapping = PolicyMapping(mode, groups(BUYERS, SELLERS))
    arrays = {
        "buyers": np.arange(4 * 3 * 2).reshape(4, 3, 2),
        "sellers": 100 + np.arange(4 * 2 * 2).reshape(4, 2, 2),
    }
    back = {name: np.zeros_like(array) for name, array in arrays.items()}
    for module_id in mapping.modules:
        gathered = mapping.gather(arrays, module_id)
        assert gathered.shape == (4, mapping.size(module_id), 2)
        mapping.scatter(back, module_id, gathered)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize(
    ("mode", "module", "places"),
    [("shared", "shared", [0, 1, 2, 3, 4]), ("per_role", "sellers", [3, 4]), ("per_agent", "emil", [4])],
)
def test_agents_stand_where_the_env_has_them(mode, module, places):
    """A module's agents are found among all of the env's, which come group by group."""
    mapping = PolicyMapping(mode, groups(BUYERS, SELLERS))
    np.testing.assert_array_equal(mapping.places(module), places)


def test_gathering_one_group_copies_nothing():
    """A module that plays in one group only sees the env's own array."""
    mapping = PolicyMapping("per_role", groups(BUYERS, SELLERS))
    array = np.zeros((4, 3, 2))
    assert np.shares_memory(mapping.gather({"buyers": array}, "buyers"), array)


def test_agents_of_different_spaces_cannot_share_a_module():
    """Sharing a network between agents that act differently is refused, and what is possible is named."""
    with pytest.raises(ValueError, match=r"'buyers' and 'judges' have different spaces; allowed are per_role"):
        PolicyMapping("shared", groups(BUYERS, JUDGES))
    assert PolicyMapping("per_role", groups(BUYERS, JUDGES)).module_spaces("judges") is JUDGES


def test_an_unknown_mode_is_refused():
    """The message names what was given and what is allowed."""
    with pytest.raises(ValueError, match=r"policies: got 'mixed', allowed are shared, per_role, per_agent"):
        PolicyMapping("mixed", groups(BUYERS))
