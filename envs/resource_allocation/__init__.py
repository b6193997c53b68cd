"""Machines that tenants share: what each asks for, what fits, and how evenly it is given."""

from envs.registry import Domain
from envs.resource_allocation.cluster import Cluster, ClusterError
from envs.resource_allocation.config import AllocationConfig, AllocationTask
from envs.resource_allocation.env import AllocationEnv
from envs.resource_allocation.files import cluster_names, load_cluster

__all__ = [
    "DOMAIN",
    "AllocationConfig",
    "AllocationEnv",
    "AllocationTask",
    "Cluster",
    "ClusterError",
    "cluster_names",
    "load_cluster",
]

DOMAIN = Domain(
    "resource_allocation",
    "Tenants ask a cluster for room for their jobs.",
    AllocationConfig,
    AllocationTask,
    AllocationEnv,
    baselines="policies.heuristics.resource_allocation:BASELINES",
    views="evaluation.allocation:views",
    presets={"cloud": "resource_allocation", "energy": "energy", "workforce": "workforce"},
)
