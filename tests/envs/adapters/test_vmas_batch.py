"""Tests of VMAS scenarios as native batches."""

from __future__ import annotations

import numpy as np
import pytest

from envs.contract import check_env
from envs.registry import get_domain
from envs.sampling import random_actions

pytest.importorskip("vmas")


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("scenario", ["balance", "navigation"])
def test_scenarios_keep_the_contract_but_for_being_alone(scenario: str, mode: str) -> None:
    """Every clause holds that is not waived, and the one that is says why."""
    domain = get_domain(f"vmas:{scenario}")
    check_env(
        lambda b, k: domain.env({"action_mode": mode}, b, task={"max_steps": 12}, first_world=k), worlds=3, steps=27
    )
    assert set(domain.env().waived) == {"alone"}


def test_a_world_begins_as_it_would_alone() -> None:
    """Where an episode starts is drawn from its world's own stream, in a batch as alone."""
    domain = get_domain("vmas:navigation")
    together = domain.env({}, 3).reset(7).observations["agents"]
    alone = domain.env({}, 1, first_world=2).reset(7).observations["agents"]
    np.testing.assert_allclose(together[2], alone[0], rtol=1e-5)


def test_envs_do_not_disturb_each_other() -> None:
    """VMAS keeps one random state for all envs of a process; here each has its own."""
    first, rng = get_domain("vmas:dropout").env({}, 2), np.random.default_rng(0)
    seen = first.reset(0)
    taken = [random_actions(first.groups, seen, rng) for _ in range(6)]
    undisturbed = [first.step(actions).rewards["agents"] for actions in taken]
    again, other = get_domain("vmas:dropout").env({}, 2), get_domain("vmas:dropout").env({}, 2)
    again.reset(0)
    other.reset(1)
    for actions, expected in zip(taken, undisturbed, strict=True):
        other.step(actions)
        np.testing.assert_array_equal(again.step(actions).rewards["agents"], expected)


def test_what_a_scenario_cannot_be_made_with_is_refused() -> None:
    """Unknown scenarios and settings are one line that says what was given."""
    with pytest.raises(ValueError, match=r"^settings: got .*colour"):
        get_domain("vmas:balance").env({"settings": {"colour": "red"}})
    with pytest.raises(ValueError, match=r"^settings: got {} for vmas:chess, .*not found"):
        get_domain("vmas:chess").env()
