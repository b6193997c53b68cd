"""A power system and its batteries: who charges when, if all together move the price."""

from envs.registry import Domain
from envs.resource_allocation.energy.config import EnergyConfig, EnergyTask
from envs.resource_allocation.energy.env import EnergyEnv
from envs.resource_allocation.energy.files import grid_names, load_grid
from envs.resource_allocation.energy.grid import Grid, GridError

__all__ = ["DOMAIN", "EnergyConfig", "EnergyEnv", "EnergyTask", "Grid", "GridError", "grid_names", "load_grid"]

DOMAIN = Domain(
    "energy",
    "Batteries trade with a power system in real time.",
    EnergyConfig,
    EnergyTask,
    EnergyEnv,
    baselines="policies.heuristics.energy:BASELINES",
)
