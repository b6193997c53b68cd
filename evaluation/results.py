"""What an evaluation found, as typed values that JSON can hold."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from evaluation.statistics import Difference, Interval
from evaluation.suite import Column, Kind
from policies.files import write_text

ALL_RULES = "all_rules"
"""What the yardsticks together are called on a front: with each weighting whichever of their points one likes."""


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class PolicyResult(_Result):
    """How one policy did in one scenario, or over all scenarios of a kind."""

    policy: str = Field(description="Name of the policy.")
    learned: bool = Field(description="Whether it was trained; the others are yardsticks.")
    sampled: bool = Field(False, description="Whether it is a learned policy again, with its actions sampled.")
    score: Interval | None = Field(description="Score: 0 naive, 1 informed; None where no score is defined.")
    mean_return: Interval = Field(description="Mean return of an episode, over agents [reward].")
    metrics: dict[str, Interval] = Field({}, description="The domain's figures, by name.")
    differences: dict[str, Difference] = Field(
        {}, description="Mean return minus that of each yardstick on the same worlds [reward; overall: score]."
    )
    headline_differences: dict[str, Difference] = Field(
        {}, description="The same of the suite's headline figure, in its unit."
    )


class ScenarioResult(_Result):
    """One scenario, all policies on the same worlds."""

    name: str = Field(description="Name of the scenario, or of the kind where scenarios are taken together.")
    title: str = Field(description="Name for people.")
    kind: Kind = Field(description="held_out, stress or real.")
    description: str = Field("", description="What is asked here.")
    samples: int = Field(description="Independent samples behind each interval.")
    policies: tuple[PolicyResult, ...] = Field(description="One entry a policy, best mean return first.")
    bound: float | None = Field(None, description="Mean return that provably nobody exceeds, where one is proved.")
    bound_score: float | None = Field(None, description="Its score.")

    def of(self, policy: str) -> PolicyResult | None:
        """The result of one policy, None if it did not take part."""
        return next((result for result in self.policies if result.policy == policy), None)


class PolicyFront(_Result):
    """What one policy, or several together, reach with each of a front's weights."""

    policy: str = Field(description="Name of the policy; `all_rules`: the best of all yardsticks together.")
    learned: bool = Field(description="Whether it was trained.")
    points: tuple[tuple[float, ...], ...] = Field(description="Mean objectives, one point a weighting.")
    best: tuple[bool, ...] = Field(description="Whether nobody at all has a point that is better in all of them.")
    volume: Interval = Field(description="Volume between its points and the reference.")
    differences: dict[str, Interval] = Field({}, description="Volume less that of each yardstick on the same worlds.")


class FrontResult(_Result):
    """Fronts of all policies."""

    title: str = Field(description="Name for people.")
    description: str = Field("", description="What is asked here.")
    objectives: tuple[str, ...] = Field(description="What spans it.")
    weights: tuple[dict[str, float], ...] = Field(description="The weightings, in the order of the points.")
    reference: tuple[float, ...] = Field(description="What volumes are measured from.")
    samples: int = Field(description="Worlds behind each point.")
    policies: tuple[PolicyFront, ...] = Field(description="One entry a policy, the largest volume first.")


class Comparison(_Result):
    """Learned policies and yardsticks over a whole suite."""

    domain: str = Field(description="Name of the domain.")
    title: str = Field(description="Title of the suite.")
    noun: str = Field("worlds", description="What the worlds are, for people, in the plural.")
    seed: int = Field(description="Seed of the worlds.")
    confidence: float = Field(description="Two-sided confidence of all intervals.")
    naive: str = Field(description="Policy that scores 0.")
    informed: str = Field(description="Policy that scores 1; empty where there is none, and so no score.")
    attainable: str = Field(
        "",
        description="Policy that earns what an observer with the agents' information can; empty where none is known.",
    )
    learners: tuple[str, ...] = Field(description="Names of the learned policies.")
    headline: str | None = Field(None, description="Metric whose paired differences are tested beside the returns.")
    columns: tuple[Column, ...] = Field((), description="How the figures are shown.")
    overall: tuple[ScenarioResult, ...] = Field((), description="All scenarios of a kind that have scores, together.")
    scenarios: tuple[ScenarioResult, ...] = Field(description="Each scenario.")
    front: FrontResult | None = Field(None, description="What is reached with which weights, where the suite asks.")

    def save(self, path: Path) -> None:
        """Writes JSON, aside first and then renamed, so that nothing half-written is left behind."""
        write_text(path, self.model_dump_json(indent=1))

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Reads what `save` wrote."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))
