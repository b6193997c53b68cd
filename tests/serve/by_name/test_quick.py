"""Throw-away modules, and one of mpe2: what `make test` looks at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

NAMES = [
    "dock:DOMAIN --algorithm reinforce:ALGORITHM",
    "mpe2.simple_speaker_listener_v4:parallel_env",
    "strangers:Dials",
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", NAMES)
def test_from_its_name_to_a_served_policy(name: str, from_name_to_policy: Callable[[str], None]) -> None:
    """A domain that uses all of the contract with an algorithm nobody knows, unlike agents, and branches of choices."""
    from_name_to_policy(name)
