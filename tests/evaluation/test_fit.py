"""A policy of a larger env in a smaller one."""

from __future__ import annotations

import numpy as np

from envs.registry import get_domain
from evaluation.fit import FittedPolicy
from policies.base import RandomPolicy


class Forgetful(RandomPolicy):
    """Says what it was told to forget."""

    def forget(self, state: object, worlds: np.ndarray) -> object:
        """The worlds."""
        return worlds.tolist()


def test_what_is_wrapped_forgets() -> None:
    """Worlds that begin anew are forgotten by the policy inside."""
    home = get_domain("cue").env({}, 1)
    assert FittedPolicy(Forgetful(), home).forget("state", np.array([2])) == [2]
