"""Everything that can be set about an experiment, with its meaning, unit and bounds.

No field has a default here: the YAML files beside this one are the only source of those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator

from algorithms.networks.config import NetworkConfig
from algorithms.registry import Algorithm, get_algorithm
from envs.base import EnvConfig, Task
from envs.registry import Domain, get_domain
from rllib_configs.errors import describe

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A group of settings: no unknown keys, no changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Runners(Section):
    """Who samples, and how much at a time."""

    num_env_runners: int = Field(ge=0, description="Remote sampling processes; 0: the main process samples itself.")
    worlds: Count = Field(description="Worlds that each sampling process steps together.")
    rollout_length: Count = Field(description="Steps a world takes between two updates.")


class Stop(Section):
    """When training ends: at whatever comes first."""

    agent_steps: Count | None = Field(description="Agent-steps sampled in all; null: any number.")
    episodes: Count | None = Field(description="Episodes finished, over all worlds; null: any number.")
    iterations: Count | None = Field(description="Training iterations; null: any number.")
    minutes: Positive | None = Field(description="Time spent in training [minutes], resumed runs included; null: any.")
    curriculum_done: bool = Field(description="Whether passing the curriculum's last stage ends training.")
    patience: Count | None = Field(
        description="Episodes, over all worlds, without a better evaluation score after which training ends; null: "
        "never."
    )
    improvement: NonNegative = Field(description="How much higher a score must be to count as better [score].")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        bounds = ("agent_steps", "episodes", "iterations", "minutes")
        if all(getattr(self, name) is None for name in bounds):
            raise ValueError(f"got no bound on training, at least one of {', '.join(bounds)} is required")
        return self


class Evaluation(Section):
    """How the learner is measured: on fixed tasks and held-out seeds, never following the curriculum."""

    interval: int = Field(ge=0, description="Training iterations between evaluations during training; 0: none.")
    episodes: Annotated[int, Field(ge=2)] = Field(description="Episodes on each stage in such an evaluation.")
    suite: str | None = Field(
        description="What is examined after training: a suite by name or path of its YAML; null: the domain's, or "
        "held-out seeds of what was trained on where it has none."
    )
    final_episodes: Annotated[int, Field(ge=2)] | None = Field(
        description="Most episodes of each of its scenarios; null: as many as the suite says."
    )


class Checkpoints(Section):
    """What is kept on disk so that a killed run can go on."""

    interval: Count = Field(description="Training iterations between checkpoints.")
    keep: Count = Field(description="Checkpoints kept: the best by score, and the newest always.")


class Tracking(Section):
    """Where runs and models are written down."""

    enabled: bool = Field(description="Whether runs are tracked in MLflow and the best model is registered there.")
    uri: str = Field(min_length=1, description="MLflow tracking URI: a SQLite file on one host, a server on a cluster.")
    model: str | None = Field(description="Name in the model registry; null: the domain's name.")


class Resources(Section):
    """What the run takes of the machine."""

    cpus: Count | None = Field(description="CPUs a local Ray may use; null: all there are. Ignored on a cluster.")
    max_failures: int = Field(ge=-1, description="Times a crashed trial is restarted from its checkpoint; -1: always.")
    restart_delay: NonNegative = Field(description="Wait before a dead sampling process is restarted [s].")
    results: str = Field(min_length=1, description="Folder in which every experiment has a folder of its own.")
    storage: str | None = Field(
        description="URI, such as s3://bucket/path or gs://bucket/path, where checkpoints and everything that --resume "
        "needs are kept when the nodes share no folder; null: all is in `results`."
    )

    @field_validator("storage")
    @classmethod
    def _is_uri(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, separator, rest = value.partition("://")
        if not separator or not scheme or not rest.strip("/"):
            raise ValueError(f"got {value!r}, allowed is a URI such as s3://bucket/path or gs://bucket/path, or null")
        if "@" in rest.partition("/")[0] and ":" in rest.partition("@")[0]:
            raise ValueError("got a URI with a secret in it, allowed is one without: configurations are written down")
        return value


class ExperimentConfig(Section):
    """One experiment, complete but for its algorithm's own section, which `experiment_type` adds."""

    domain: str = Field(description="What is learned: a built-in domain, or package.module:attribute.")
    algorithm: str = Field(description="How it is learned: a built-in algorithm, or package.module:attribute.")
    seed: int = Field(ge=0, description="Seed of everything random: worlds, weights, actions, minibatches.")
    env: dict[str, Any] = Field(description="The domain's own settings; `entrepot envs` lists them.")
    task: dict[str, Any] | None = Field(
        description="The task played throughout, where there is no curriculum; null: the domain's default."
    )
    curriculum: str | None = Field(description="A curriculum by name or path of its YAML; null: one task throughout.")
    policies: Literal["shared", "per_role", "per_agent"] = Field(description="Who shares a network.")
    runners: Runners
    network: NetworkConfig = Field(description="The network of each policy.")
    stop: Stop
    evaluation: Evaluation
    checkpoint: Checkpoints
    tracking: Tracking
    resources: Resources

    @model_validator(mode="after")
    def _check(self) -> Self:
        domain = get_domain(self.domain)
        lines: list[str] = []
        for key, model, values in (("env", domain.config_type, self.env), ("task", domain.task_type, self.task)):
            try:
                model.model_validate(values or {})
            except ValidationError as error:
                lines += describe(error, model, key)
        if self.task is not None and self.curriculum is not None:
            lines.append(
                f"task: got one beside curriculum {self.curriculum!r}, allowed is one of the two; for the task alone "
                "set curriculum=null"
            )
        if lines:
            raise ValueError("\n".join(lines))
        return self

    def get_algorithm(self) -> Algorithm:
        """The algorithm."""
        return get_algorithm(self.algorithm)

    @property
    def settings(self) -> BaseModel:
        """The algorithm's own section."""
        section: BaseModel = getattr(self, self.get_algorithm().name)
        return section

    def get_domain(self) -> Domain:
        """The domain."""
        return get_domain(self.domain)

    def env_config(self) -> EnvConfig:
        """The domain's own settings, typed."""
        return self.get_domain().config_type.model_validate(self.env)

    def typed_task(self) -> Task:
        """The task played where there is no curriculum, typed."""
        return self.get_domain().task_type.model_validate(self.task or {})

    @property
    def model_name(self) -> str:
        """Name in the model registry."""
        return self.tracking.model or self.domain_name

    @property
    def domain_name(self) -> str:
        """The domain's name as files and models are called: of what has an address only, that, with dots throughout."""
        return re.sub(r"[^A-Za-z0-9_.-]", ".", self.get_domain().name)


@cache
def experiment_type(algorithm: str) -> type[ExperimentConfig]:
    """The schema of experiments with an algorithm: all that is above, and a section named after the algorithm.

    Raises:
        ValueError: If there is no such algorithm, or its name is one of ours.
    """
    found = get_algorithm(algorithm)
    if found.name in ExperimentConfig.model_fields:
        raise ValueError(
            f"algorithm: got the name {found.name!r}, allowed is none of {', '.join(ExperimentConfig.model_fields)}"
        )
    section: Any = (found.settings_type(), Field(description=found.summary))
    made: type[ExperimentConfig] = create_model(
        ExperimentConfig.__name__, __base__=ExperimentConfig, __module__=__name__, **{found.name: section}
    )
    return made


def experiment(tree: Mapping[str, Any]) -> ExperimentConfig:
    """An experiment from its values.

    Raises:
        pydantic.ValidationError: If a key or value is not allowed.
        ValueError: If there is no such algorithm.
    """
    return experiment_type(str(tree.get("algorithm", ""))).model_validate(tree)
