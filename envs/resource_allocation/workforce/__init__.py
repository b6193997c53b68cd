"""Service centres: skills, shifts and calls in continuous time, and a day whose level is learned by nine o'clock."""

from envs.registry import Domain
from envs.resource_allocation.workforce.centre import Centre, CentreError
from envs.resource_allocation.workforce.config import WorkforceConfig, WorkforceTask
from envs.resource_allocation.workforce.env import WorkforceEnv
from envs.resource_allocation.workforce.files import centre_names, load_centre

__all__ = [
    "DOMAIN",
    "Centre",
    "CentreError",
    "WorkforceConfig",
    "WorkforceEnv",
    "WorkforceTask",
    "centre_names",
    "load_centre",
]

DOMAIN = Domain(
    "workforce",
    "Teams call workers in, send them home and lend them while calls come.",
    WorkforceConfig,
    WorkforceTask,
    WorkforceEnv,
    baselines="policies.heuristics.workforce:BASELINES",
)
