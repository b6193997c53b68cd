"""How much work comes when: the day's wave, bursts, what all have in common, flash crowds, or what was recorded.

A workload is a factor around 1 by which a mean rate of arrivals is multiplied, step by step and tenant by tenant:

    season * burst * crowd * exp(s x - s^2 / 2),    s^2 = ln(1 + cv^2),

where `x` is a standard normal that goes on from step to step (AR(1)) and has a part that all share (`common`). Without
bursts and crowds its mean is 1. How many jobs come is then Poisson.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from envs.streams import drawn_by
from envs.synthetic.demand import Promotion, Recorded, Season, lifted
from envs.synthetic.demand_files import fetched

Floats = NDArray[np.float64]


class Workload(BaseModel):
    """How arrivals vary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    season: Season | None = Field(None, description="The day's wave; all tenants' alike.")
    scattered: bool = Field(False, description="Whether each tenant's wave has a phase of its own, drawn evenly.")
    burst: Promotion | None = Field(None, description="Times in which one tenant has more, which begin by chance.")
    crowd: Promotion | None = Field(None, description="Flash crowds: the same of all tenants at once.")
    cv: float = Field(0.0, ge=0, le=5, description="Coefficient of variation of the rate itself.")
    rho: float = Field(0.0, ge=0, lt=1, description="Correlation of one step's deviation with the next one's.")
    common: float = Field(0.0, ge=0, le=1, description="Correlation of the tenants' deviations.")
    recorded: Recorded | None = Field(
        None,
        description="A record whose rows, as shares of their mean, take the place of all else; a name is that of a "
        "file which `make data` fetches: alibaba, google, azure.",
    )

    @field_validator("recorded")
    @classmethod
    def _found(cls, recorded: Recorded | None) -> Recorded | None:
        """A name is a file that `make data` has fetched."""
        if recorded is None or recorded.file.suffix:
            return recorded
        return recorded.model_copy(update={"file": fetched(recorded.file.name)})

    def draw(self, steps: int, tenants: int, rngs: Sequence[np.random.Generator]) -> Floats:
        """Draws the factors of an episode in each of `E` worlds, `[E, T, A]`.

        Args:
            steps: Steps `T`.
            tenants: Tenants `A`.
            rngs: Where from, `[E]`.

        Raises:
            ValueError: If the record is shorter than an episode.
        """
        if self.recorded is not None:
            return self._replayed(steps, tenants, rngs)
        found = np.ones((len(rngs), steps, tenants))
        if self.season is not None:
            phase = np.full((1, 1, 1), self.season.phase)
            if self.scattered:
                phase = phase + self.season.period * drawn_by(rngs, lambda rng: rng.random((1, tenants)))
            clock = np.arange(steps)[:, None]
            found *= 1 + self.season.amplitude * np.sin(2 * np.pi * (clock + phase) / self.season.period)
        if self.burst is not None:
            luck = drawn_by(rngs, lambda rng: rng.random((tenants, steps)))
            found *= lifted(self.burst, luck).swapaxes(1, 2)
        if self.crowd is not None:
            found *= lifted(self.crowd, drawn_by(rngs, lambda rng: rng.random(steps)))[:, :, None]
        if self.cv:
            found *= self._noise(steps, tenants, rngs)
        return found

    def _noise(self, steps: int, tenants: int, rngs: Sequence[np.random.Generator]) -> Floats:
        deviation = np.sqrt(1 - self.common) * drawn_by(rngs, lambda rng: rng.standard_normal((steps, tenants)))
        deviation += np.sqrt(self.common) * drawn_by(rngs, lambda rng: rng.standard_normal((steps, 1)))
        fresh = np.sqrt(1 - self.rho**2)
        for step in range(1, steps):
            deviation[:, step] = self.rho * deviation[:, step - 1] + fresh * deviation[:, step]
        log_variance = np.log1p(self.cv**2)
        factors: Floats = np.exp(np.sqrt(log_variance) * deviation - log_variance / 2)
        return factors

    def _replayed(self, steps: int, tenants: int, rngs: Sequence[np.random.Generator]) -> Floats:
        assert self.recorded is not None
        record = self.recorded.load()
        if len(record) < steps:
            raise ValueError(f"recorded: got {len(record)} rows, allowed are {steps}, an episode's steps, or more")
        begin = drawn_by(rngs, lambda rng: rng.integers(0, len(record) - steps + 1))
        mean = record.mean()
        rows = record[begin[:, None] + np.arange(steps)] / (mean if mean > 0 else 1.0)
        return np.repeat(rows[:, :, None], tenants, axis=2)
