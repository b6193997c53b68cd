"""What a supply-chain run fixes (which networks there may be) and what a task varies (which it is, what goes wrong)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from envs.base import EnvConfig, Task
from envs.supply_chain.disruptions import Disruptions, Share
from envs.supply_chain.files import load_network
from envs.supply_chain.forecasts import Method
from envs.supply_chain.network import Network, NetworkError

OBJECTIVES = ("sales", "purchase", "hold", "backlog", "order", "emissions", "swings", "stock")
"""What the reward is the weighted sum of."""
COSTS = ("unmet",)
"""What is counted beside it: demand that was not met at once [share of mean demand]."""


class SupplyConfig(EnvConfig):
    """Which networks are played, and how orders are written."""

    team_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the team's mean reward in each agent's reward: a shop alone pays for what plants lack.",
    )
    networks: tuple[str, ...] = Field(
        ("serial",), min_length=1, description="Names of networks, or paths of YAML files; arrays fit the largest."
    )
    around: Literal["mean", "forecast"] = Field(
        "mean",
        description="What levels are around: the network's mean demand, or the forecast, which follows what changes.",
    )
    reach: float = Field(
        1.5, gt=0, le=20, description="Largest safety stock, up or down [mean demand of a step, by root of lead time]."
    )
    levels: int = Field(
        9, ge=3, description="Discrete mode: safety stocks to choose from, evenly from -reach to reach."
    )
    longest_delay: int = Field(
        0, ge=0, le=20, description="Longest delay of any task, for which arrays have room [steps]."
    )
    forecast: Method = Field(
        "smoothed",
        description="How demand is forecast: smoothed exponentially, averaged over the latest steps, or learned by "
        "ridge regression from episodes of the network's own demand.",
    )
    smoothing: float = Field(
        0.1, gt=0, le=1, description="Weight of the newest demand in what is smoothed, the forecast's error too."
    )
    window: int = Field(12, ge=1, le=366, description="Latest steps that an averaged or a learned forecast looks at.")
    learned_from: tuple[Share, Share] = Field(
        (0.0, 0.7), description="Part of recorded demand that a forecast may be learned from; the rest is held out."
    )
    collaboration: bool = Field(
        False, description="Whether nodes pass their customers' forecasts upstream; else all see their own orders only."
    )

    @model_validator(mode="after")
    def _forward(self) -> SupplyConfig:
        if not self.learned_from[0] < self.learned_from[1]:
            raise ValueError(
                f"learned_from: got {list(self.learned_from)}, allowed is a part that ends after it begins"
            )
        return self

    @model_validator(mode="after")
    def _readable(self) -> SupplyConfig:
        try:
            count = len(self.loaded)
        except NetworkError as error:
            raise ValueError(str(error)) from None
        if count < len(self.networks):
            raise ValueError(f"networks: got {list(self.networks)}, allowed are networks of different names")
        return self

    @cached_property
    def loaded(self) -> dict[str, Network]:
        """The networks by name."""
        found = [load_network(given) for given in self.networks]
        return {network.name: network for network in found}

    def located(self) -> dict[str, Any]:
        """The networks that are files, absolute."""
        paths = [str(Path(given).absolute()) if Path(given).suffix else given for given in self.networks]
        return {"networks": tuple(paths)} if paths != list(self.networks) else {}


class SupplyTask(Task):
    """One network, how uncertain it is, what goes wrong, and what counts."""

    max_steps: int = Field(100, ge=1, description="Steps after which an episode is truncated.")
    network: str = Field("", description="Name of one of the run's networks; empty: the first.")
    span: tuple[Share, Share] = Field(
        (0.0, 1.0), description="Part of recorded demand that episodes lie in: some to train on, the rest held out."
    )
    demand: float = Field(1.0, gt=0, le=10, allow_inf_nan=False, description="What all demand is multiplied by.")
    spread: float = Field(1.0, ge=0, le=10, description="What all coefficients of variation are multiplied by.")
    disruptions: Disruptions = Field(default_factory=Disruptions, description="What goes wrong.")
    service: float = Field(1.0, ge=0, description="Weight of backlog and lost sales beside money.")
    carbon: float = Field(0.0, ge=0, description="Price of emissions [currency a kg CO2e].")
    valued: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of its cost that goods are worth, as accountants have it; 0: money counts when it is paid.",
    )
    smooth: float = Field(0.0, ge=0, description="Price of orders that change from step to step [currency a unit].")

    @model_validator(mode="after")
    def _forward(self) -> SupplyTask:
        if not self.span[0] < self.span[1]:
            raise ValueError(f"span: got {list(self.span)}, allowed is a part that ends after it begins")
        return self

    @property
    def objective_weights(self) -> Mapping[str, float]:
        """Money weighs 1."""
        return {"backlog": self.service, "emissions": self.carbon, "swings": self.smooth, "stock": self.valued}
