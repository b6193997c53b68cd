"""The allocation env under the brief's name, as RLlib's `MultiAgentEnv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envs.adapters.rllib import BaseMultiAgentEnvironment
from envs.resource_allocation import DOMAIN, AllocationTask


class ResourceAllocationEnvironment(BaseMultiAgentEnvironment):
    """Tenants ask a cluster for room for their jobs.

    Args:
        config: All other arguments as one dictionary, as RLlib passes its `env_config`; they are then ignored.
        num_agents: Tenants.
        clusters: Names of clusters that come with Entrepot, or paths of YAML files.
        max_steps: Steps after which an episode is truncated.
        task: Further fields of `AllocationTask`, or all of them; these win over `max_steps`.
        flat_actions: With `action_mode="discrete"`: whether an agent's branches are one `Discrete` choice.
        settings: Further fields of `AllocationConfig`, such as `action_mode` and `slots`.

    Raises:
        pydantic.ValidationError: If a key or value is not allowed, or a cluster does not hang together.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        num_agents: int = 8,
        clusters: Sequence[str] = ("cloud",),
        max_steps: int = 100,
        task: AllocationTask | Mapping[str, Any] | None = None,
        flat_actions: bool = False,
        **settings: Any,
    ) -> None:
        if config is not None:
            ResourceAllocationEnvironment.__init__(self, **config)
            return
        fields = task.model_dump() if isinstance(task, AllocationTask) else dict(task or {})
        given = {"clusters": tuple(clusters), "tenants": num_agents, **settings}
        super().__init__(DOMAIN.env(given, 1, task={"max_steps": max_steps, **fields}), flat_actions=flat_actions)
