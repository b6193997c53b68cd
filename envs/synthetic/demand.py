"""What customers ask for: level, trend, season, promotions, shocks, chance, and what they have in common.

The mean of a step is `level * (1 + trend * t) * season * promotion * shock`. Around it varies a standard normal `x`
that goes on from step to step (AR(1)) and has a part that is the same for all who sell (`common`):

- `normal`: `mean * (1 + cv * x)`, cut off at 0;
- `poisson`: counts whose rate is `mean * exp(s x - s^2 / 2)` with `s^2 = ln(1 + cv^2)`, so that the variance is
  `mean + cv^2 mean^2`: with `cv` 0 they are Poisson, else more spread, as real demand is;
- `fixed`: the mean itself.

Intermittent demand comes with probability `chance` only, and is then so much larger that the mean stays. Recorded
demand is played as it was, all records of a network from the same row on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.streams import drawn_by
from envs.synthetic.demand_files import DemandFileError, load_demand

Floats = NDArray[np.float64]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Season(_Part):
    """A wave: the mean is multiplied by `1 + amplitude * sin(2 pi (t + phase) / period)`."""

    amplitude: float = Field(ge=0, le=1, description="How far the mean swings [share].")
    period: float = Field(gt=1, allow_inf_nan=False, description="Length [steps].")
    phase: Finite = Field(0.0, description="How far into the wave an episode begins [steps].")


class Promotion(_Part):
    """Times in which more is sold, which begin by chance."""

    chance: float = Field(gt=0, lt=1, description="Probability that one begins in a step without.")
    length: int = Field(ge=1, description="How long it lasts [steps].")
    lift: float = Field(gt=0, allow_inf_nan=False, description="What the mean is multiplied by.")


class Shock(_Part):
    """A change of the mean at a known time of the episode."""

    step: int = Field(ge=0, description="When it begins [steps].")
    factor: float = Field(ge=0, allow_inf_nan=False, description="What the mean is multiplied by.")
    length: int | None = Field(None, ge=1, description="How long it lasts [steps]; None: to the end.")


class Recorded(_Part):
    """Demand that was, row by row, in the place of one that is drawn."""

    file: Path = Field(
        description="A .csv or .parquet file, beside the network's; or the name of what `make data` has."
    )
    series: str = Field(description="Which of its series.")

    def load(self) -> Floats:
        """Its rows [units], `[T]`; raises DemandFileError if there are none."""
        found = load_demand(self.file)
        if self.series not in found:
            raise DemandFileError(f"{self.file}: series: got {self.series!r}, allowed are {', '.join(found)}")
        return found[self.series]


class Demand(_Part):
    """Demand for one product at one place."""

    level: float = Field(
        ge=0, allow_inf_nan=False, description="Mean [units a step]; of what is recorded by default that of the record."
    )
    kind: Literal["poisson", "normal", "fixed"] = Field("poisson", description="How it varies.")
    recorded: Recorded | None = Field(None, description="A record to play, scaled to the level; nothing is drawn then.")
    cv: float = Field(0.0, ge=0, le=5, description="Coefficient of variation, of counts beside that of chance itself.")
    trend: Finite = Field(0.0, description="Growth of the mean [share of the level a step].")
    rho: float = Field(0.0, ge=0, lt=1, description="Correlation of one step's deviation with the next one's.")
    common: float = Field(0.0, ge=0, le=1, description="Correlation of deviations of all who say so.")
    chance: float = Field(1.0, gt=0, le=1, description="Probability that anything is asked for in a step.")
    season: Season | None = None
    promotion: Promotion | None = None
    shocks: tuple[Shock, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _level_of_the_record(cls, given: Any) -> Any:
        """Without a level a record is played as it is."""
        if not isinstance(given, Mapping) or not given.get("recorded") or "level" in given:
            return given
        recorded = Recorded.model_validate(given["recorded"])
        return {**given, "recorded": recorded, "level": float(recorded.load().mean())}


class Customers:
    """All who ask for something in a network: `K` products at places.

    Args:
        demands: What each asks for.
    """

    def __init__(self, demands: Sequence[Demand]) -> None:
        self.demands = tuple(demands)
        self._levels, self._trends, self._rho, self._common, self._chance, self._cv = (
            np.array([getattr(each, name) for each in demands])
            for name in ("level", "trend", "rho", "common", "chance", "cv")
        )
        self._counted, self._normal = (
            np.array([each.kind == kind for each in demands]) for kind in ("poisson", "normal")
        )
        self._promoted = [(column, each.promotion) for column, each in enumerate(demands) if each.promotion is not None]
        self._expected = np.zeros((0, len(demands)))
        self._recorded = [column for column, each in enumerate(demands) if each.recorded is not None]
        records = [each.recorded.load() for each in demands if each.recorded is not None]
        if len({len(record) for record in records}) > 1:
            lengths = sorted({len(record) for record in records})
            raise DemandFileError(f"recorded: got records of {lengths} rows, allowed is one length")
        levels = self._levels[self._recorded]
        self._record = np.stack(records, axis=1) if records else np.zeros((0, 0))
        if records:
            means = self._record.mean(axis=0)
            self._record = self._record * (levels / np.where(means > 0, means, 1.0))

    def expected(self, steps: int) -> Floats:
        """What is expected before anything is drawn, promotions left out, `[T, K]`."""
        clock = np.arange(steps)[:, None]
        means: Floats = self._levels * np.maximum(1 + clock * self._trends, 0.0)
        for column, each in enumerate(self.demands):
            if each.season is not None:
                wave = np.sin(2 * np.pi * (clock[:, 0] + each.season.phase) / each.season.period)
                means[:, column] *= 1 + each.season.amplitude * wave
            for shock in each.shocks:
                end = steps if shock.length is None else shock.step + shock.length
                means[shock.step : end, column] *= shock.factor
        return means

    def longest(self, span: tuple[float, float] = (0.0, 1.0)) -> int | None:
        """Longest episode that a part of the record has room for [steps]; None where nothing is recorded."""
        first, last = self._rows(span)
        return last - first if self._recorded else None

    def _rows(self, span: tuple[float, float]) -> tuple[int, int]:
        return round(span[0] * len(self._record)), round(span[1] * len(self._record))

    def draw(
        self,
        steps: int,
        rngs: Sequence[np.random.Generator],
        *,
        spread: float = 1.0,
        span: tuple[float, float] = (0.0, 1.0),
    ) -> Floats:
        """Draws demand for an episode of each of `E` worlds.

        Args:
            steps: Steps `T`.
            rngs: Where from, `[E]`.
            spread: What all coefficients of variation are multiplied by.
            span: The part of the record that episodes lie in, from 0 to 1; each begins at a random row of it.

        Returns:
            Units, `[E, T, K]`.
        """
        if len(self._expected) < steps:
            self._expected = self.expected(steps)
        usual = self._expected[:steps]
        means = np.repeat(usual[None], len(rngs), axis=0)
        for column, promotion in self._promoted:
            means[:, :, column] *= lifted(promotion, drawn_by(rngs, lambda rng: rng.random(steps)))
        deviation = np.sqrt(1 - self._common) * drawn_by(rngs, lambda rng: rng.standard_normal(usual.shape))
        deviation += np.sqrt(self._common) * drawn_by(rngs, lambda rng: rng.standard_normal((steps, 1)))
        if self._rho.any():
            fresh = np.sqrt(1 - self._rho**2)
            for step in range(1, steps):
                deviation[:, step] = self._rho * deviation[:, step - 1] + fresh * deviation[:, step]
        if (self._chance < 1).any():
            asked = drawn_by(rngs, lambda rng: rng.random(usual.shape)) < self._chance
            means = np.where(asked, means / self._chance, 0.0)
        cv = spread * self._cv
        found = np.where(self._normal, np.maximum(means * (1 + cv * deviation), 0.0), means)
        if self._counted.any():
            log_variance = np.log1p(cv**2)
            rates = means * np.exp(np.sqrt(log_variance) * deviation - log_variance / 2)
            counts = np.stack([rng.poisson(own) for rng, own in zip(rngs, rates, strict=True)])
            found = np.where(self._counted, counts, found)
        if self._recorded:
            first, last = self._rows(span)
            begin = drawn_by(rngs, lambda rng: rng.integers(first, last - steps + 1))
            found[:, :, self._recorded] = self._record[begin[:, None] + np.arange(steps)]
        return found


def lifted(promotion: Promotion, luck: Floats) -> Floats:
    """What the mean is multiplied by in each step, `[..., T]`.

    Args:
        promotion: What begins by chance.
        luck: Evenly drawn from 0 to 1, one number for each step, `[..., T]`.
    """
    begins = np.moveaxis(luck < promotion.chance, -1, 0)
    left, on = np.zeros(luck.shape[:-1], np.int64), np.zeros(begins.shape, np.bool_)
    for step, begun in enumerate(begins):
        left = np.where((left == 0) & begun, promotion.length, np.maximum(left - 1, 0))
        np.greater(left, 0, out=on[step, ...])
    return np.where(np.moveaxis(on, 0, -1), promotion.lift, 1.0)
