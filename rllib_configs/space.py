"""Search spaces: which settings a sweep tries, and from what range, typed and checked against the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from envs.registry import file_of, same_domain
from rllib_configs.errors import ConfigError, describe
from rllib_configs.overrides import FOLDER, check_path, read_yaml, set_value, validate
from rllib_configs.schema import Count, ExperimentConfig


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Uniform(_Entry):
    """A number from a range, every one as likely as another."""

    kind: Literal["uniform"]
    low: float = Field(allow_inf_nan=False, description="Smallest value.")
    high: float = Field(allow_inf_nan=False, description="Largest value.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    def extremes(self) -> list[Any]:
        """Values that must be allowed if all are."""
        return [self.low, self.high]


class LogUniform(_Entry):
    """A positive number from a range, every order of magnitude as likely as another."""

    kind: Literal["loguniform"]
    low: float = Field(gt=0, allow_inf_nan=False, description="Smallest value.")
    high: float = Field(gt=0, allow_inf_nan=False, description="Largest value.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    def extremes(self) -> list[Any]:
        """Values that must be allowed if all are."""
        return [self.low, self.high]


class Integer(_Entry):
    """A whole number from a range, both ends included."""

    kind: Literal["integer"]
    low: int = Field(description="Smallest value.")
    high: int = Field(description="Largest value.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self.low, self.high)
        return self

    def extremes(self) -> list[Any]:
        """Values that must be allowed if all are."""
        return [self.low, self.high]


class Choice(_Entry):
    """One of some values."""

    kind: Literal["choice"]
    values: tuple[Any, ...] = Field(min_length=2, description="The values.")

    def extremes(self) -> list[Any]:
        """Values that must be allowed if all are."""
        return [list(value) if isinstance(value, tuple) else value for value in self.values]


Dimension = Annotated[Uniform | LogUniform | Integer | Choice, Field(discriminator="kind")]


class SweepConfig(_Entry):
    """A sweep: what is tried, and how long each trial may show what it is worth."""

    domain: str | None = Field(None, description="The domain it is for; null: any that the algorithm can learn.")
    iterations: Count = Field(description="Training iterations of a trial that is not stopped early.")
    grace: Count = Field(description="Iterations every trial gets before it may be stopped.")
    reduction: int = Field(ge=2, description="Of so many trials at a rung, one goes on (ASHA, arXiv:1810.05934).")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of all trials, by dotted path, beside the domain's own."
    )
    algorithm: str = Field("ppo", description="The algorithm whose settings these are.")
    space: dict[str, Dimension] = Field(min_length=1, description="What is tried, by dotted path.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.grace > self.iterations:
            raise ValueError(f"grace: got {self.grace}, allowed is at most iterations, {self.iterations}")
        if twice := sorted(set(self.settings) & set(self.space)):
            raise ValueError(f"settings: got {twice[0]}, which is in the space too, allowed is one of the two")
        return self


def load_sweep(domain: str, file: str | Path | None = None, algorithm: str | None = None) -> SweepConfig:
    """Reads a sweep.

    Args:
        domain: The domain; it comes with a sweep of its own unless it is a user's.
        file: A user's own YAML, in place of that.
        algorithm: Whose settings are searched; None: those of the algorithm that the domain's own sweep is for. One
            that has no sweep for the domain has one for all.

    Raises:
        ConfigError: If there is none, or a key or value in it is not allowed; one line a mistake.
    """
    path = Path(file) if file is not None else default_space(domain, algorithm)
    if file is None and not path.is_file():
        known = sorted(found.stem.removesuffix("_sweep") for found in FOLDER.glob("*_sweep.yaml"))
        who = repr(domain) if algorithm is None else f"{domain!r} with {algorithm!r}"
        raise ConfigError(f"sweep: {who} comes with no search space, {', '.join(known)} do; give one with --space")
    try:
        sweep = SweepConfig.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in describe(error, SweepConfig))) from error
    if sweep.domain is not None and not same_domain(sweep.domain, domain):
        raise ConfigError(f"{path}: domain: got {sweep.domain!r}, allowed is the sweep's, {domain!r}")
    if algorithm is not None and sweep.algorithm != algorithm:
        raise ConfigError(f"{path}: algorithm: got {sweep.algorithm!r}, allowed is the sweep's, {algorithm!r}")
    for key in (*sweep.settings, *sweep.space):
        check_path(key, domain, sweep.algorithm)
    return sweep


def default_space(domain: str, algorithm: str | None = None) -> Path:
    """Where the search space that comes with a domain, or with an algorithm, lies, if it comes with one."""
    own = file_of(domain, "sweep.yaml") or FOLDER / f"{domain}_sweep.yaml"
    if algorithm is None or (own.is_file() and (read_yaml(own) or {}).get("algorithm", "ppo") == algorithm):
        return own
    return FOLDER / f"{algorithm}_sweep.yaml"


def check_space(config: ExperimentConfig, sweep: SweepConfig) -> list[ExperimentConfig]:
    """Tries the ends of every range and every choice, so that no trial fails on a value.

    Returns:
        The configurations that were tried.

    Raises:
        ConfigError: If one is not allowed.
    """
    plain = config.model_dump(mode="json")
    tried = []
    for path, value in _extremes(sweep):
        tree = deepcopy(plain)
        set_value(tree, path, value)
        try:
            tried.append(validate(tree))
        except ConfigError as error:
            raise ConfigError(f"space: {error}") from error
    return tried


def _extremes(sweep: SweepConfig) -> Iterator[tuple[str, Any]]:
    for path, dimension in sweep.space.items():
        for value in dimension.extremes():
            yield path, value


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values a searcher chose, as plain Python ones, lists where it made tuples."""
    return {
        path: list(value) if isinstance(value, tuple) else value.item() if hasattr(value, "item") else value
        for path, value in values.items()
    }


def _check_order(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"low: got {low:g}, allowed is below high, {high:g}")
