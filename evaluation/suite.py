"""What a policy is examined on: held-out seeds of the stages, stress, and the real world. Typed, from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from curriculum.config import Curriculum, load_curriculum, template_path
from curriculum.files import DomainTask, read_typed
from envs.base import Task
from envs.registry import file_of
from envs.yaml_files import FileError

Kind = Literal["held_out", "stress", "real"]


class Scenario(BaseModel):
    """One examination: a task, played on the same worlds by everyone.

    In YAML `stage: NAME` starts from that stage of the curriculum; `task` then holds only what differs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9_]+$", description="Unique name, in lower case.")
    title: str = Field(min_length=1, description="Name for people.")
    kind: Kind = Field(description="held_out: known difficulty, new seeds; stress: worse than trained on; real: data.")
    description: str = Field("", description="What is asked here, in a sentence.")
    stage: str | None = Field(None, description="Stage of the curriculum whose task this starts from.")
    task: DomainTask = Field(description="What is played.")
    env: dict[str, Any] = Field({}, description="Fields of the env's config that differ from the run's.")
    episodes: int = Field(256, ge=1, description="Episodes a policy plays, of each variant.")
    variants: tuple[dict[str, Any], ...] = Field(
        (),
        description="Task fields that vary, such as periods of a price history: each variant counts as one sample, "
        "since episodes on the same prices are no independent evidence.",
    )
    exclude: tuple[str, ...] = Field((), description="Baselines that cannot play here, such as an oracle on real data.")

    @model_validator(mode="before")
    @classmethod
    def _from_stage(cls, data: Any, info: ValidationInfo) -> Any:
        """Completes a task that starts from a stage."""
        if not isinstance(data, Mapping) or data.get("stage") is None or isinstance(data.get("task"), Task):
            return data
        curriculum = (info.context or {}).get("curriculum")
        stages = {stage.name: stage for stage in curriculum.stages} if isinstance(curriculum, Curriculum) else {}
        if data["stage"] not in stages:
            raise ValueError(f"stage: got {data['stage']!r}, allowed are {', '.join(stages) or 'none: no curriculum'}")
        changed = data.get("task") or {}
        if not isinstance(changed, Mapping):
            return data
        return {**data, "task": {**stages[data["stage"]].task.model_dump(exclude_unset=True), **changed}}

    @model_validator(mode="after")
    def _named_tasks(self) -> Self:
        """Gives the task the scenario's name, and checks that every variant is a task."""
        object.__setattr__(self, "task", self.task.model_copy(update={"name": self.name}))
        assert self.tasks
        return self

    @property
    def tasks(self) -> list[Task]:
        """The task, or its variants."""
        fields = self.task.model_dump(exclude_unset=True)
        return [
            type(self.task).model_validate({**fields, "name": f"{self.name}_{number}", **variant})
            for number, variant in enumerate(self.variants)
        ] or [self.task]


class Front(Scenario):
    """A scenario whose variants are weights of its objectives: what each policy reaches with them is its front.

    Points are mean objectives of an episode, per agent; a front is worth the volume between it and the reference point
    (Zitzler and Thiele 1998). Only ratios and differences of volumes on the same front mean something.
    """

    objectives: tuple[str, ...] = Field(min_length=2, description="Objectives of the env that span it.")
    reference: dict[str, float] = Field(
        description="A point that is worse in all of them: what volumes are measured from."
    )
    swept: tuple[str, ...] = Field(
        (),
        description="Yardsticks that look at the weights, as learners do; others play once, as it is all the same.",
    )

    @model_validator(mode="after")
    def _spanned(self) -> Self:
        if set(self.reference) != set(self.objectives):
            given, allowed = ", ".join(self.reference), ", ".join(self.objectives)
            raise ValueError(f"reference: got {given}, allowed is a value for each of {allowed}")
        if len(self.variants) < 2:
            raise ValueError(
                f"variants: got {len(self.variants)}, allowed are 2 or more: a front has more than one point"
            )
        return self


class Column(BaseModel):
    """One of the domain's figures, as tables show it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(min_length=1, description="Key in the env's metrics.")
    title: str = Field(min_length=1, description="Heading.")
    format: Literal["percent", "number"] = Field("number", description="percent shows 0.1 as 10.0%.")
    digits: int = Field(2, ge=0, le=6, description="Digits after the point.")
    better: Literal["higher", "lower", "neither"] = Field("neither", description="Which direction is good.")
    description: str = Field("", description="What the figure means, for the report's glossary.")

    def show(self, value: float) -> str:
        """The value as text."""
        if self.format == "percent":
            return f"{fixed(100 * value, self.digits)}%"
        return fixed(value, self.digits)


def fixed(value: float, digits: int) -> str:
    """A number with so many digits after the point; what rounds to zero has no sign."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


class Measure(BaseModel):
    """What a curve over an episode shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attribute: str | None = Field(
        None, description="Attribute of the env, by group [B, A], drawn relative to its start; None: cumulative reward."
    )
    title: str = Field("Cumulative reward", min_length=1, description="Title of the axis.")
    dates: str | None = Field(
        None, description="Dotted name of a method of the env that gives each world's date; None, or not there: steps."
    )
    policies: tuple[str, ...] = Field((), description="Yardsticks that are drawn; none: all but the random policy.")
    worlds: int = Field(64, ge=1, description="Episodes that a curve is the mean of, at most.")
    scenarios: tuple[str, ...] = Field((), description="Scenarios that curves are drawn for; none: the first.")


class Validation(BaseModel):
    """What is evaluated during training: fixed stages on fixed seeds, whatever stage is trained on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(20_000_001, ge=0, description="Seed of the worlds; neither trained nor tested on.")
    episodes: int = Field(128, ge=2, description="Episodes on each stage.")
    stages: tuple[str, ...] = Field((), description="Stages of the curriculum; none: all of them.")


class Suite(BaseModel):
    """All examinations of a domain."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: str = Field(min_length=1, description="Name of the domain, as in envs.registry.")
    title: str = Field("Evaluation", min_length=1, description="Name for people.")
    noun: str = Field("worlds", min_length=1, description="What the worlds are, for people, in the plural.")
    seed: int = Field(30_000_001, ge=0, description="Seed of the worlds; neither trained nor validated on.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Two-sided confidence of all intervals.")
    headline: str | None = Field(None, description="Metric whose paired differences are tested beside the returns.")
    columns: tuple[Column, ...] = Field((), description="The domain's figures that tables show.")
    measure: Measure = Field(Measure(), description="Curves over an episode.")
    validation: Validation = Field(Validation(), description="Evaluation during training.")
    scenarios: tuple[Scenario, ...] = Field(min_length=1, description="The examinations, in the order of the tables.")
    front: Front | None = Field(
        None, description="What is reached with which weights of the objectives; None: not asked."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Names are unique, and names that are referred to exist."""
        names = [scenario.name for scenario in self.scenarios]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"scenarios: got the name {twice[0]!r} twice, allowed are unique names")
        for name in self.measure.scenarios:
            if name not in names:
                raise ValueError(f"measure.scenarios: got {name!r}, allowed are {', '.join(names)}")
        metrics = [column.metric for column in self.columns]
        if self.headline is not None and self.headline not in metrics:
            raise ValueError(f"headline: got {self.headline!r}, allowed are the columns' metrics, {', '.join(metrics)}")
        return self

    def scenario(self, name: str) -> Scenario:
        """The scenario of that name.

        Raises:
            ValueError: If there is none.
        """
        found = next((scenario for scenario in self.scenarios if scenario.name == name), None)
        if found is None:
            raise ValueError(f"scenario: got {name!r}, allowed are {', '.join(s.name for s in self.scenarios)}")
        return found


def suite_path(domain: str) -> Path:
    """Where the suite that comes with a domain lies, if one does."""
    return file_of(domain, "suite.yaml") or Path(__file__).with_name(f"{domain}.yaml")


def load_suite(source: str | Path, curriculum: Curriculum | None = None) -> Suite:
    """Reads a suite.

    Args:
        source: A YAML file, or the name of a domain that comes with one.
        curriculum: What `stage: NAME` refers to; the domain's own if None.

    Raises:
        FileError: If there is none, or a key or value in it is not allowed.
    """
    path = Path(source)
    if isinstance(source, str) and not source.endswith((".yaml", ".yml")):
        path = suite_path(source)
        if not path.is_file():
            known = ", ".join(sorted(found.stem for found in Path(__file__).parent.glob("*.yaml")))
            raise FileError(f"suite: got {source!r}, allowed are {known}, or a YAML file")
        if curriculum is None and template_path(source).is_file():
            curriculum = load_curriculum(source)
    return read_typed(path, Suite, {"curriculum": curriculum})


def validation_tasks(suite: Suite, curriculum: Curriculum) -> list[Task]:
    """The tasks that are evaluated during training.

    Raises:
        ValueError: If a stage that the suite names is not in the curriculum.
    """
    stages = {stage.name: stage.task for stage in curriculum.stages}
    for name in suite.validation.stages:
        if name not in stages:
            raise ValueError(f"validation.stages: got {name!r}, allowed are {', '.join(stages)}")
    return [stages[name] for name in suite.validation.stages or stages]
