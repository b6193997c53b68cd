"""Clusters as YAML files."""

from __future__ import annotations

from pathlib import Path

from envs.resource_allocation.cluster import Cluster, ClusterError
from envs.shelf import Shelf

FOLDER = Path(__file__).parent / "clusters"
CLUSTERS = Shelf("cluster", Cluster, FOLDER, ClusterError)
cluster_names, load_cluster = CLUSTERS.names, CLUSTERS.load
