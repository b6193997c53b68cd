"""Particles in a plane: small problems of coordination that the field measures itself by."""

from envs.particles.spread import SpreadConfig, SpreadEnv, SpreadTask
from envs.registry import Domain

__all__ = ["DOMAIN", "SpreadConfig", "SpreadEnv", "SpreadTask"]

DOMAIN = Domain(
    "spread",
    "Agents cover landmarks without bumping into each other: mpe2's simple_spread, for comparing algorithms.",
    SpreadConfig,
    SpreadTask,
    SpreadEnv,
    baselines="policies.heuristics.spread:BASELINES",
)
