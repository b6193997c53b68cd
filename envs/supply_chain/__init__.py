"""Supply networks: goods that are ordered, made, moved and sold, node by node."""

from envs.registry import Domain
from envs.supply_chain.config import SupplyConfig, SupplyTask
from envs.supply_chain.env import SupplyChainEnv
from envs.supply_chain.files import load_network, network_names
from envs.supply_chain.network import Network, NetworkError

__all__ = [
    "DOMAIN",
    "Network",
    "NetworkError",
    "SupplyChainEnv",
    "SupplyConfig",
    "SupplyTask",
    "load_network",
    "network_names",
]

DOMAIN = Domain(
    "supply_chain",
    "Every node of a supply network orders what it needs.",
    SupplyConfig,
    SupplyTask,
    SupplyChainEnv,
    baselines="policies.heuristics.supply_chain:BASELINES",
    learned_by="pathwise",
    views="evaluation.supply_networks:views",
    slopes="algorithms.slopes.supply_chain:slopes",
)
