"""Fields of a task that are drawn anew for every level: with them a task is a distribution of tasks."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Spread(BaseModel):
    """What one field is drawn from: a range, every value as likely as another, or some values.

    Raises:
        pydantic.ValidationError: If it says neither or both, or the range is none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str = Field(min_length=1, description="Name of the task's field.")
    low: float | None = Field(None, allow_inf_nan=False, description="Smallest value.")
    high: float | None = Field(None, allow_inf_nan=False, description="Largest value.")
    log: bool = Field(False, description="Whether every order of magnitude is as likely as another.")
    values: tuple[Any, ...] = Field((), description="Values, in place of a range.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ranged = self.low is not None and self.high is not None
        if ranged == bool(self.values) or (self.low is None) != (self.high is None):
            raise ValueError(f"{self.field}: allowed is either low and high, or values")
        if self.low is not None and self.high is not None:
            if not self.low < self.high:
                raise ValueError(f"{self.field}: low: got {self.low:g}, allowed is below high, {self.high:g}")
            if self.log and self.low <= 0:
                raise ValueError(f"{self.field}: low: got {self.low:g}, allowed with log is above 0")
        return self

    def draw(self, rng: np.random.Generator, *, whole: bool) -> Any:
        """One value.

        Args:
            rng: Where from.
            whole: Whether it must be a whole number, both ends included.
        """
        if self.low is None or self.high is None:
            return self.values[int(rng.integers(len(self.values)))]
        low, high = (self.low - 0.5, self.high + 0.5) if whole and not self.log else (self.low, self.high)
        value = float(np.exp(rng.uniform(np.log(low), np.log(high)))) if self.log else float(rng.uniform(low, high))
        return int(min(max(round(value), self.low), self.high)) if whole else value

    def extremes(self) -> tuple[Any, ...]:
        """Values that must be allowed if all are."""
        return self.values or (self.low, self.high)
