"""RLlib, VMAS, and agents that speak with each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

NAMES = [
    "ray.rllib.examples.envs.classes.multi_agent.tic_tac_toe:TicTacToe",
    "vmas:balance",
    "vmas:navigation",
    "messages:DOMAIN --algorithm messages:ALGORITHM",
]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", NAMES)
def test_from_its_name_to_a_served_policy(name: str, from_name_to_policy: Callable[[str], None]) -> None:
    """Turns in RLlib, batches of torch, and whole worlds."""
    from_name_to_policy(name)
