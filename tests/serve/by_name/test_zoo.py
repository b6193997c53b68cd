"""PettingZoo, its two interfaces."""

from __future__ import annotations

from collections.abc import Callable

import pytest

NAMES = [
    "mpe2.simple_spread_v3:parallel_env",
    "mpe2.simple_tag_v3:parallel_env",
    "pettingzoo.classic.tictactoe_v3:env",
    "strangers:LateJoiners",
]


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", NAMES)
def test_from_its_name_to_a_served_policy(name: str, from_name_to_policy: Callable[[str], None]) -> None:
    """Agents that act together, that take turns, that arrive late."""
    from_name_to_policy(name)
