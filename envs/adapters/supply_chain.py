"""The supply-chain env under the brief's name, as RLlib's `MultiAgentEnv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envs.adapters.rllib import BaseMultiAgentEnvironment
from envs.supply_chain import DOMAIN, SupplyTask


class SupplyChainEnvironment(BaseMultiAgentEnvironment):
    """Every node of a supply network orders what it needs.

    Args:
        config: All other arguments as one dictionary, as RLlib passes its `env_config`; they are then ignored.
        networks: Names of networks that come with Entrepot, or paths of YAML files.
        max_steps: Steps after which an episode is truncated.
        task: Further fields of `SupplyTask`, or all of them; these win over `max_steps`.
        flat_actions: With `action_mode="discrete"`: whether an agent's branches are one `Discrete` choice.
        settings: Further fields of `SupplyConfig`, such as `action_mode` and `collaboration`.

    Raises:
        pydantic.ValidationError: If a key or value is not allowed, or a network does not hang together.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        networks: Sequence[str] = ("serial",),
        max_steps: int = 100,
        task: SupplyTask | Mapping[str, Any] | None = None,
        flat_actions: bool = False,
        **settings: Any,
    ) -> None:
        if config is not None:
            SupplyChainEnvironment.__init__(self, **config)
            return
        fields = task.model_dump() if isinstance(task, SupplyTask) else dict(task or {})
        env = DOMAIN.env({"networks": tuple(networks), **settings}, 1, task={"max_steps": max_steps, **fields})
        super().__init__(env, flat_actions=flat_actions)
