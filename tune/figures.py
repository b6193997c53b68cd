"""The few figures of a training iteration that stopping, searching, tracking and the display speak of, by flat names.

RLlib's results are deeply nested, and Tune loses nested names in places (ray-project/ray#57533); so a callback writes
these at the top level of every result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rllib_configs.schema import Stop

ITERATION = "training_iteration"
SECONDS = "seconds"
AGENT_STEPS = "agent_steps"
EPISODES = "episodes"
RATE = "agent_steps_per_second"
RETURN = "mean_return"
STAGE = "curriculum/stage"
STAGE_NAME = "curriculum/stage_name"
STAGES = "curriculum/stages"
STAGE_SCORE = "curriculum/score"
STAGE_BAR = "curriculum/bar"
CURRICULUM_DONE = "curriculum/mastered"
EVAL = "eval_score"
EVAL_LOW = "eval_score_low"
EVAL_HIGH = "eval_score_high"
EVAL_ITERATION = "eval_iteration"
EVAL_UNIT = "eval_unit"
EVAL_SAMPLED = "eval_sampled"
CHECKPOINT_SCORE = "checkpoint_score"
BEST = "best_eval_score"
SINCE_BEST = "episodes_since_best"
SKIPPED = "skipped_steps"

NAMES = (
    ITERATION,
    SECONDS,
    AGENT_STEPS,
    EPISODES,
    RATE,
    RETURN,
    STAGE,
    STAGE_NAME,
    STAGES,
    STAGE_SCORE,
    STAGE_BAR,
    CURRICULUM_DONE,
    EVAL,
    EVAL_LOW,
    EVAL_HIGH,
    EVAL_ITERATION,
    EVAL_UNIT,
    EVAL_SAMPLED,
    BEST,
    SINCE_BEST,
    SKIPPED,
)
"""Every flat name. `eval_score` is the latest evaluation's, carried forward; `skipped_steps` counts the gradient steps
that were left out so far because they were not finite. In a domain without yardsticks `eval_unit` says `return`: then
`eval_score` is the mean return, and `eval_sampled` that of the policy that samples its actions.

`checkpoint_score` is minus infinity where there was no evaluation: a checkpoint is ranked by no other policy's score.
"""


def evaluated(row: Mapping[str, Any]) -> bool:
    """Whether there was an evaluation in this iteration."""
    return EVAL in row and row.get(EVAL_ITERATION) == row.get(ITERATION)


def pick(result: Mapping[str, Any]) -> dict[str, Any]:
    """The flat figures of a result, as plain values; what is missing is left out."""
    return {name: _plain(result[name]) for name in NAMES if result.get(name) is not None}


def _plain(value: Any) -> Any:
    """A NumPy scalar as a Python one."""
    return value.item() if hasattr(value, "item") else value


@dataclass
class Best:
    """The best evaluation score so far, and how long ago that was.

    Attributes:
        improvement: How much higher a score must be to count as better.
        score: The best, minus infinity before the first.
        at_episode: Episodes finished when the best was reached.
    """

    improvement: float = 0.0
    score: float = -math.inf
    at_episode: int = 0
    _bar: float = field(default=-math.inf, repr=False)

    def record(self, score: float, episodes: int) -> bool:
        """Takes down an evaluation.

        Patience is measured from the last *clear* improvement, so that a slow creep does not keep a run alive.

        Returns:
            Whether it is the best so far.
        """
        if math.isnan(score):
            return False
        if self._bar == -math.inf or score >= self._bar + self.improvement:
            self._bar = score
            self.at_episode = episodes
        best = score > self.score
        self.score = max(self.score, score)
        return best

    def get_state(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {"score": self.score, "at_episode": self.at_episode, "bar": self._bar}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.score, self.at_episode, self._bar = state["score"], state["at_episode"], state["bar"]


def reason_to_stop(figures: Mapping[str, Any], stop: Stop) -> str | None:
    """Why training ends after this result, None if it goes on."""
    for name, limit, unit in limits(stop):
        if figures.get(name, 0) >= limit:
            return f"{limit:,.10g} {unit}" if name != SECONDS else f"{limit / 60:,.10g} minutes"
    if stop.curriculum_done and figures.get(CURRICULUM_DONE):
        return "the curriculum is passed"
    if stop.patience is not None and figures.get(SINCE_BEST, 0) >= stop.patience:
        return f"no better score for {stop.patience:,} episodes"
    return None


def limits(stop: Stop) -> list[tuple[str, float, str]]:
    """The bounds that are set: the figure's name, its limit, and its unit in words."""
    bounds = [
        (ITERATION, stop.iterations, "iterations"),
        (AGENT_STEPS, stop.agent_steps, "agent-steps"),
        (EPISODES, stop.episodes, "episodes"),
        (SECONDS, None if stop.minutes is None else 60 * stop.minutes, "seconds"),
    ]
    return [(name, float(limit), unit) for name, limit, unit in bounds if limit is not None]


def share_done(figures: Mapping[str, Any], stop: Stop) -> float:
    """How much of the run is over by whichever bound is nearest, 0 to 1."""
    shares = [figures.get(name, 0) / limit for name, limit, _ in limits(stop)]
    return min(1.0, max(shares, default=0.0))
