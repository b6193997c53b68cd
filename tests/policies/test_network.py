"""Which rows go to which module, whatever the mapping."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from gymnasium.spaces import Box

from envs.base import AgentGroup, FloatArray, Observation
from envs.layout import ObservationLayout
from policies.network import NetworkPolicy, Part, Rows

LAYOUT = ObservationLayout(("x",))
SIZES = {"g": 3, "h": 2}
GROUPS = {
    name: AgentGroup(name, tuple(f"{name}{n}" for n in range(size)), Box(-1, 1, (1,), np.float32), LAYOUT)
    for name, size in SIZES.items()
}


class Echo(NetworkPolicy):
    """Every module's mean is its observation plus the module's own offset, with no deviation to speak of."""

    name = "echo"
    offsets: Mapping[str, float] = {"m": 0.0, "n": 0.5}

    def dist_inputs(self, rows: Mapping[str, Rows]) -> dict[str, FloatArray]:
        """Mean and log_std of each row."""
        return {
            module: np.concatenate([r.observations + np.float32(self.offsets[module]), 0 * r.observations - 20], axis=1)
            for module, r in rows.items()
        }


def seen(worlds: int = 4, masks: bool = False) -> Observation:
    rng = np.random.default_rng(0)
    observations = {name: rng.uniform(-0.4, 0.4, (worlds, size, 1)).astype(np.float32) for name, size in SIZES.items()}
    given = {"g": rng.random((worlds, 3, 1)) < 0.5} if masks else {}
    alive = {name: np.ones((worlds, size), np.bool_) for name, size in SIZES.items()}
    return Observation(observations, given, alive, np.zeros((worlds, 0), np.float32))


@pytest.mark.parametrize(
    ("modules", "offsets"),
    [
        ({"m": [Part("g"), Part("h")]}, {"g": [0, 0, 0], "h": [0, 0]}),
        ({"m": [Part("g")], "n": [Part("h")]}, {"g": [0, 0, 0], "h": [0.5, 0.5]}),
        (
            {"m": [Part("g", (0, 2)), Part("h", (1,))], "n": [Part("g", (1,)), Part("h", (0,))]},
            {"g": [0, 0.5, 0], "h": [0.5, 0]},
        ),
    ],
)
@pytest.mark.parametrize("deterministic", [True, False])
def test_every_agent_gets_its_own_modules_answer(
    modules: dict[str, list[Part]], offsets: dict[str, list[float]], deterministic: bool
) -> None:
    """Shared, by role or mixed: each agent's action is what its module makes of what it sees."""
    observation = seen()
    actions, state = Echo(GROUPS, modules).act(
        observation, None, deterministic=deterministic, rng=np.random.default_rng(0)
    )
    assert state is None
    for name, expected in offsets.items():
        wanted = observation.observations[name] + np.float32(expected)[None, :, None]
        np.testing.assert_allclose(actions[name], wanted, atol=1e-6)


def test_masks_reach_the_actions() -> None:
    """Masked dimensions are 0, in the group that has masks."""
    observation = seen(masks=True)
    policy = Echo(GROUPS, {"m": [Part("g"), Part("h")]})
    actions, _ = policy.act(observation, None, deterministic=True, rng=np.random.default_rng(0))
    assert ((actions["g"] == 0) == ~observation.action_masks["g"]).all()
    assert (actions["h"] != 0).all()
