"""What a power system is made of: generators, renewables, load, and kinds of batteries.

Units: power in MW, energy in MWh, money in any one currency, carbon in kg CO2e. A step is so many hours.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.synthetic.disruption import Disruption

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Efficiency = Annotated[float, Field(gt=0, le=1)]
DAY = 24.0
"""Hours of a day."""


class GridError(ValueError):
    """A grid does not hang together; one line that names the part."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Generator(_Part):
    """Units of one kind that burn fuel: each costs `fixed + linear * p + quadratic * p^2` an hour at `p` MW."""

    count: int = Field(1, ge=1, description="Units.")
    capacity: Positive = Field(description="Most that each gives [MW].")
    minimum: Amount = Field(
        0.0, description="Least that each gives while it runs [MW]; they never stop for want of use."
    )
    fixed: Amount = Field(0.0, description="Cost of running at all [currency an hour].")
    linear: Amount = Field(description="Cost of the first megawatt-hour [currency a MWh].")
    quadratic: Amount = Field(0.0, description="Half of how fast the marginal cost rises [currency an hour and MW^2].")
    carbon: Amount = Field(0.0, description="Carbon in its energy [kg CO2e a MWh].")
    outage: Disruption | None = Field(None, description="How often a unit fails, and for how many steps.")

    @model_validator(mode="after")
    def _gives_more(self) -> Self:
        if self.minimum > self.capacity:
            raise ValueError(f"minimum: got {self.minimum:g}, allowed is at most {self.capacity:g}, the capacity")
        if self.outage is not None and self.outage.places:
            raise ValueError("outage.places: allowed are none: all units of the kind can fail")
        return self


class Renewable(_Part):
    """Power that the weather gives for nothing: `capacity * shape(hour) * Phi(a + spread * x)`, `x` an AR(1)."""

    capacity: Positive = Field(description="Most that it gives [MW].")
    mean: float = Field(gt=0, lt=1, description="Mean share of the shape that the weather leaves.")
    spread: Amount = Field(0.0, description="How much the weather varies; 0: it is always the mean.")
    rho: float = Field(0.9, ge=0, lt=1, description="Correlation of one step's weather with the next one's.")
    daylight: tuple[float, float] | None = Field(
        None, description="Sunrise and sunset [hours]; between them the shape is half a wave. None: always 1."
    )

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.daylight is not None and not 0 <= self.daylight[0] < self.daylight[1] <= DAY:
            raise ValueError(f"daylight: got {list(self.daylight)}, allowed is from 0 to {DAY:g}, the first before")
        return self


class Load(_Part):
    """Demand that does not look at the price: `level * profile(hour) * exp(s x - s^2 / 2)`, `x` an AR(1)."""

    level: Positive = Field(description="Mean over a day [MW].")
    profile: tuple[Positive, ...] = Field(
        (1.0,), min_length=1, description="Course of a day, evenly spaced from midnight; scaled to a mean of 1."
    )
    cv: float = Field(0.0, ge=0, le=2, description="Coefficient of variation around that.")
    rho: float = Field(0.9, ge=0, lt=1, description="Correlation of one step's deviation with the next one's.")


class Battery(_Part):
    """Batteries of one kind."""

    power: Positive = Field(description="Most that one charges or discharges, at the grid [MW].")
    energy: Positive = Field(description="What it stores [MWh].")
    charging: Efficiency = Field(0.95, description="Share of what it takes that is stored.")
    discharging: Efficiency = Field(0.95, description="Share of what it had stored that it gives.")
    wear: Amount = Field(0.0, description="What giving costs in lifetime [currency a MWh given].")
    weight: Positive = Field(1.0, description="How often a battery is of this kind [relative].")


class Grid(_Part):
    """A power system, in which all is at one place, and the kinds of batteries that trade with it."""

    name: Name = Field(description="Name of the grid.")
    hours: float = Field(1.0, gt=0, le=DAY, description="Length of a step [hours]; a day is a whole number of them.")
    load: Load = Field(description="Demand.")
    generators: dict[Name, Generator] = Field(min_length=1, description="Generators by kind.")
    renewables: dict[Name, Renewable] = Field({}, description="Renewables by kind.")
    batteries: dict[Name, Battery] = Field(min_length=1, description="Batteries by kind.")
    lost_load: Positive = Field(3000.0, description="Value of demand that is not met [currency a MWh].")
    connection: Positive | None = Field(
        None, description="Most that all batteries together take, or give [MW]; None: as much as they can."
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if abs(DAY / self.hours - round(DAY / self.hours)) > 1e-9:
            raise ValueError(f"hours: got {self.hours:g}, allowed are lengths that a day is a whole number of")
        for name, unit in self.generators.items():
            dearest = unit.linear + 2 * unit.quadratic * unit.capacity
            if dearest >= self.lost_load:
                raise ValueError(
                    f"generators.{name}: got a marginal cost of {dearest:g} when full, allowed is below "
                    f"{self.lost_load:g}, lost_load"
                )
        return self

    @property
    def day(self) -> int:
        """Steps of a day."""
        return round(DAY / self.hours)

    def clock(self) -> NDArray[np.float64]:
        """Hour in the middle of each step of a day, `[D]`."""
        return (np.arange(self.day, dtype=np.float64) + 0.5) * self.hours
