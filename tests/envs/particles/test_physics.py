"""Tests of the particles' physics: what contacts conserve, how they begin, and how motion dies away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.particles.physics import CONTACT_FORCE, DAMPING, TIME_STEP, Particles

RADIUS = 0.15


def placed(*places: tuple[float, float], moving: tuple[float, float] = (0.0, 0.0)) -> Particles:
    """One world with particles in these places, the first of which is moving."""
    particles = Particles(1, len(places), RADIUS)
    velocities = np.zeros((1, len(places), 2))
    velocities[0, 0] = moving
    particles.place(np.array([0]), np.array([places]), velocities)
    return particles


@given(seed=st.integers(0, 10**6), count=st.integers(2, 9))
def test_contacts_conserve_momentum_and_are_mutual(seed: int, count: int) -> None:
    """However crowded, contact forces of a world add up to nothing, and whoever touches is touched."""
    rng = np.random.default_rng(seed)
    particles = Particles(4, count, RADIUS)
    particles.place(np.arange(4), rng.uniform(-0.4, 0.4, (4, count, 2)))
    forces = particles.contact_forces()
    np.testing.assert_allclose(forces.sum(axis=1), 0.0, atol=1e-12 * CONTACT_FORCE * count)
    apart = np.linalg.norm(particles.positions[:, :, None] - particles.positions[:, None], axis=-1)
    touch = (apart < 2 * RADIUS) & ~np.eye(count, dtype=bool)
    np.testing.assert_array_equal(particles.touching(), touch.sum(axis=2))
    assert (np.abs(forces).max(axis=2) > 0)[touch.sum(axis=2) == 1].all()  # nobody else's push makes up for it
    momentum = particles.velocities.sum(axis=1)
    particles.step(np.zeros_like(forces))
    np.testing.assert_allclose(particles.velocities.sum(axis=1), momentum, atol=1e-10)


@given(depth=st.floats(0.01, 0.25), angle=st.floats(0, 6.3))
def test_two_in_each_other_are_pushed_apart_by_how_deep_they_are(depth: float, angle: float) -> None:
    """Well inside, the force is 100 times the depth, along the line between the centres, away from the other."""
    way = np.array([np.cos(angle), np.sin(angle)])
    forces = placed((0.0, 0.0), tuple((2 * RADIUS - depth) * way)).contact_forces()[0]
    np.testing.assert_allclose(
        forces, [-CONTACT_FORCE * depth * way, CONTACT_FORCE * depth * way], rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize(("gap", "force"), [(0.0, 0.1 * np.log(2)), (0.003, 0.1 * np.log1p(np.exp(-3))), (0.5, 0.0)])
def test_a_contact_begins_softly(gap: float, force: float) -> None:
    """Where they just touch the force is 0.1 log 2, three margins apart 0.1 log(1 + e^-3), and far off nothing."""
    forces = placed((0.0, 0.0), (2 * RADIUS + gap, 0.0)).contact_forces()[0]
    np.testing.assert_allclose(forces[:, 0], [-force, force], rtol=1e-9)


def test_two_in_one_place_are_left_there() -> None:
    """Without a direction there is no push; nothing becomes NaN."""
    particles = placed((0.3, 0.3), (0.3, 0.3))
    particles.step(np.zeros((1, 2, 2)))
    np.testing.assert_array_equal(particles.positions[0], [[0.3, 0.3]] * 2)
    np.testing.assert_array_equal(particles.velocities[0], 0.0)


def test_motion_dies_away_over_the_way_that_damping_says() -> None:
    """A free particle glides `v dt / damping` in all, and a force shows in the positions a step later."""
    particles = placed((0.0, 0.0), (5.0, 5.0), moving=(1.0, -2.0))
    for _ in range(120):
        particles.step(np.zeros((1, 2, 2)))
    np.testing.assert_allclose(particles.positions[0, 0], np.array([1.0, -2.0]) * TIME_STEP / DAMPING, rtol=1e-9)
    still = placed((0.0, 0.0))
    still.step(np.full((1, 1, 2), 5.0))
    np.testing.assert_array_equal(still.positions[0, 0], 0.0)
    np.testing.assert_allclose(still.velocities[0, 0], 5.0 * TIME_STEP)


def test_offsets_leave_oneself_out() -> None:
    """Each sees the others in their order."""
    particles = placed((0.0, 0.0), (1.0, 0.0), (0.0, 2.0))
    np.testing.assert_array_equal(particles.offsets[0], [[[1, 0], [0, 2]], [[-1, 0], [-1, 2]], [[0, -2], [1, -2]]])
    np.testing.assert_allclose(particles.distances[0], [[1, 2], [1, 5**0.5], [2, 5**0.5]])
