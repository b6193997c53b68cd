"""What an owner of batteries would do: nothing, or buy when it is cheap and sell when it is dear."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from envs.base import Actions, BatchedEnv, Observation
from envs.resource_allocation.energy.env import EnergyEnv
from envs.resource_allocation.energy.plan import Floats
from policies.base import Policy, PolicyState


class Trader(Policy):
    """A rule that sees all batteries, and what everybody knows of the hours to come."""

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        if not isinstance(env, EnergyEnv):
            raise TypeError(f"env: got {type(env).__name__}, allowed is EnergyEnv")
        self._env = env

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The actions that ask for what the rule says."""
        return self._env.actions_for(self.asked()), None

    @abstractmethod
    def asked(self) -> Floats:
        """What each battery asks to take, or to give where below 0, `[B, A]` [MW]."""


class Idle(Trader):
    """No battery does anything."""

    name = "idle"

    def asked(self) -> Floats:
        """Nothing."""
        return np.zeros(self._env.batteries.power.shape)


class AsOne(Trader):
    """Each does its part of what the fleet would do if it were one battery: where learning begins."""

    name = "as_one"

    def asked(self) -> Floats:
        """By what each can take or give."""
        return self._env.planned() * self._env.batteries.power


class Arbitrage(Trader):
    """All buy in the cheapest hours of those ahead, and sell in the dearest, at full power.

    Args:
        share: Share of the hours that count as cheap, and as dear.
    """

    name = "arbitrage"

    def __init__(self, share: float = 0.25) -> None:
        self._share = share

    def asked(self) -> Floats:
        """Full power where the expected price is beyond a quantile of those ahead."""
        env = self._env
        prices = env.outlook().price
        low, high = np.quantile(prices, [self._share, 1 - self._share], axis=1)
        now = prices[:, 0]
        share = np.where(now <= low, 1.0, 0.0) - np.where(now >= high, 1.0, 0.0)
        return share[:, None] * env.batteries.power
