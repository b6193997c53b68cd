"""The course of training as the report draws it: a score with its interval over steps, and where stages begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from evaluation.statistics import Interval


class LearningPoint(BaseModel):
    """One evaluation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(ge=0, description="Steps trained on before.")
    score: Interval = Field(description="Mean score over the validation tasks.")


class StageStart(BaseModel):
    """When training moved to a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(ge=0, description="Steps trained on before.")
    stage: int = Field(ge=0, description="Index of the stage.")
    name: str = Field(description="Its name.")


class LearningCurve(BaseModel):
    """All evaluations of a run and all its stages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: tuple[LearningPoint, ...] = Field(description="Evaluations, oldest first.")
    stages: tuple[StageStart, ...] = Field(
        (), description="Stages in the order they were entered; none: no curriculum."
    )
    unit: str = Field("agent-steps", description="What steps count.")
    end: int = Field(0, ge=0, description="Steps of the whole run.")

    @classmethod
    def from_rows(
        cls, rows: Sequence[Mapping[str, Any]], *, steps: str = "agent_steps", unit: str = "agent-steps"
    ) -> LearningCurve:
        """Reads flat training results, one a row and in order, as the two callbacks leave them.

        Args:
            rows: Results; those of iterations without an evaluation repeat the last one's figures.
            steps: Key of the steps trained on.
            unit: What these count.
        """
        points: dict[int, LearningPoint] = {}
        stages: list[StageStart] = []
        end = 0
        for row in rows:
            done, at = int(row.get(steps, 0)), row.get("eval_iteration")
            if at is not None and int(at) not in points:
                score = Interval(estimate=row["eval_score"], low=row["eval_score_low"], high=row["eval_score_high"])
                points[int(at)] = LearningPoint(steps=done if int(at) else 0, score=score)
            stage, name = row.get("curriculum/stage"), str(row.get("curriculum/stage_name", ""))
            if stage is not None and not stages:
                stages.append(StageStart(steps=0, stage=int(stage), name=name))
            elif stage is not None and stages[-1].stage != stage:
                stages.append(StageStart(steps=done, stage=int(stage), name=name))
            end = done
        return cls(points=tuple(points.values()), stages=tuple(stages), unit=unit, end=end)

    @property
    def best(self) -> LearningPoint | None:
        """The evaluation with the highest score."""
        return max(self.points, key=lambda point: point.score.estimate, default=None)
