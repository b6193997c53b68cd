"""What a curriculum is: stages of rising difficulty, and what it takes to move between them."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curriculum.files import DomainTask, read_typed
from envs.registry import file_of
from envs.yaml_files import FileError


class Stage(BaseModel):
    """One difficulty. Scores are in the units of `policies.score`: 0 is naive, 1 is informed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[a-z0-9_]+$", description="Unique name, in lower case; becomes the name of the stage's task."
    )
    title: str = Field(min_length=1, description="Name for people.")
    description: str = Field("", description="What is new here, in a sentence.")
    task: DomainTask = Field(description="What is played: fields of the domain's task.")
    promote_at: float = Field(
        gt=0, allow_inf_nan=False, description="Score whose lower confidence bound must be reached to move on."
    )
    regress_below: float = Field(
        -0.5, allow_inf_nan=False, description="Score below which, with confidence, one falls back to the stage before."
    )
    min_episodes: int = Field(200, ge=2, description="Episodes a decision needs at least.")

    @model_validator(mode="after")
    def _named_task(self) -> Self:
        """Gives the task the stage's name, by which finished episodes are told apart."""
        if self.task.name != self.name:
            object.__setattr__(self, "task", self.task.model_copy(update={"name": self.name}))
        return self


class Curriculum(BaseModel):
    """Stages in order, and how cautious the moves between them are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    domain: str = Field(min_length=1, description="Name of the domain, as in envs.registry.")
    stages: tuple[Stage, ...] = Field(min_length=1, description="Stages in rising difficulty.")
    window: int = Field(1000, ge=2, description="Latest episodes of the stage that its score is the mean of.")
    confidence: float = Field(
        0.9, gt=0.5, lt=1, description="One-sided confidence of the bounds that decide; higher moves later."
    )
    rehearsal: float = Field(
        1.0,
        ge=0,
        le=10,
        allow_inf_nan=False,
        description="Worlds that replay each earlier stage, for one world of the current stage. 0: none, and what was "
        "learned is forgotten. 1: all stages seen so far get the same share.",
    )
    patience: int = Field(
        0,
        ge=0,
        description="Episodes on a stage after which a score that no longer rises lowers the bar; 0: never.",
    )
    relax: float = Field(0.1, ge=0, lt=1, description="Share of the bar that is given up each time patience runs out.")
    relax_limit: float = Field(0.5, ge=0, lt=1, description="Share of the bar that can be given up at most.")
    exam_every: int = Field(
        0,
        ge=0,
        description="Iterations between exams, in which the policy plays the stage without exploring, in worlds that "
        "are not trained on and in which the references have played too: its scores are those. 0: its scores are those "
        "of training, where every step explores, and pays for it.",
    )
    exam_episodes: int = Field(128, ge=2, description="Episodes of an exam.")
    setback: float = Field(
        2.0, ge=1, description="Factor on min_episodes of a stage for every time one fell back to it: no ping-pong."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Names are unique, windows hold a decision's episodes, and no score both promotes and regresses."""
        names = [stage.name for stage in self.stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"stages: got the name {twice[0]!r} twice, allowed are unique names")
        for stage in self.stages:
            if stage.min_episodes > self.window:
                raise ValueError(
                    f"stages: {stage.name}: min_episodes: got {stage.min_episodes}, "
                    f"allowed is at most the window, {self.window}"
                )
            lowest = stage.promote_at * (1 - self.relax_limit if self.patience else 1)
            if stage.regress_below >= lowest:
                raise ValueError(
                    f"stages: {stage.name}: regress_below: got {stage.regress_below}, "
                    f"allowed is below the lowest bar for promotion, {lowest:g}"
                )
        return self


def template_path(domain: str) -> Path:
    """Where the curriculum that comes with a domain lies, if one does."""
    return file_of(domain, "curriculum.yaml") or Path(__file__).with_name(f"{domain}.yaml")


def load_curriculum(source: str | Path) -> Curriculum:
    """Reads a curriculum.

    Args:
        source: A YAML file, or the name of a domain that comes with one.

    Raises:
        FileError: If there is none, or a key or value in it is not allowed.
    """
    if isinstance(source, str) and not source.endswith((".yaml", ".yml")):
        path = template_path(source)
        if not path.is_file():
            known = ", ".join(sorted(found.stem for found in Path(__file__).parent.glob("*.yaml")))
            raise FileError(f"curriculum: got {source!r}, allowed are {known}, or a YAML file")
        return read_typed(path, Curriculum)
    return read_typed(Path(source), Curriculum)
