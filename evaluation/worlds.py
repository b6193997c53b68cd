"""The envs a suite is played in, and learned policies made to fit them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envs.base import BatchedEnv, EnvConfig
from envs.registry import get_domain
from evaluation.fit import FittedPolicy, same_spaces
from evaluation.suite import Scenario
from policies.base import Policy

MAX_WORLDS = 128
"""Worlds stepped together: enough to amortise every call, few enough for a laptop's memory with 100 agents."""


class SuiteWorlds:
    """Makes an env for each scenario, reusing the last one.

    Args:
        domain: Name of the domain.
        env_config: The config policies were trained with, or its fields; it fixes the spaces.
        max_worlds: Worlds stepped together at most.
    """

    def __init__(
        self, domain: str, env_config: EnvConfig | Mapping[str, Any] | None, *, max_worlds: int = MAX_WORLDS
    ) -> None:
        self._domain = get_domain(domain)
        given = env_config.model_dump() if isinstance(env_config, EnvConfig) else dict(env_config or {})
        self._fields = self._domain.config_type.model_validate(given).model_dump()
        self._home = self._domain.env(self._fields)
        self._max_worlds = max_worlds
        self._last: tuple[str, BatchedEnv] | None = None

    def of(self, scenario: Scenario) -> BatchedEnv:
        """Worlds for a scenario.

        Raises:
            ValueError: If its env fields or its task are not allowed.
        """
        worlds = min(self._max_worlds, scenario.episodes)
        key = f"{worlds} {sorted(scenario.env.items())}"
        if self._last is None or self._last[0] != key:
            task = scenario.tasks[0]
            self._last = (key, self._domain.env({**self._fields, **scenario.env}, worlds, task=task))
        return self._last[1]

    def fit(self, policy: Policy, env: BatchedEnv) -> Policy:
        """The policy as it can act in `env`, which may hold fewer entities than it was trained with."""
        return policy if same_spaces(env, self._home) else FittedPolicy(policy, self._home)
