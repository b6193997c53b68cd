"""The state machine that moves a learner between stages. Pure: scores go in, changes of stage come out.

The score of a stage is the mean over its latest episodes. One moves on when the *lower* confidence bound of that mean
reaches the stage's bar, and falls back when the *upper* bound is below the stage's floor, so that luck does neither.
Between the two lies the hysteresis. Whoever keeps failing on a plateau sees the bar lowered (patience), and whoever
fell back must show more episodes before the next attempt (setback).
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr, stdtrit

from curriculum.config import Curriculum, Stage
from envs.base import Task


class Change(StrEnum):
    """What can happen to a learner."""

    PROMOTED = "promoted"
    REGRESSED = "regressed"
    RELAXED = "relaxed"
    MASTERED = "mastered"


GOLDEN_RATIO = (1 + 5**0.5) / 2
MAX_SETBACKS = 4
"""Falls that still raise the number of episodes asked for; more would lock a stage for good."""


@dataclass(frozen=True)
class Event:
    """One change.

    Attributes:
        change: What happened.
        stage: Index of the stage it happened on.
        name: Name of that stage.
        to: Index of the stage afterwards.
        episodes: Episodes recorded on all stages up to then.
        score: Mean score that decided.
        bar: Score that promotion asked for; after a relaxation, the new one.
    """

    change: Change
    stage: int
    name: str
    to: int
    episodes: int
    score: float
    bar: float


@dataclass(frozen=True)
class Standing:
    """The score of the current stage.

    Attributes:
        score: Mean over the window; NaN without episodes.
        low: Its one-sided lower confidence bound (Student's t); minus infinity below two episodes.
        high: Its one-sided upper bound.
        episodes: Episodes since the stage was entered.
        needed: Episodes a decision needs.
    """

    score: float
    low: float
    high: float
    episodes: int
    needed: int


@dataclass(frozen=True)
class Trend:
    """Least-squares line through the window's scores.

    Attributes:
        slope: Change of score in 1,000 episodes.
        rising: One-sided confidence that the score rises, 0 to 1; 0.5 is neither.
    """

    slope: float
    rising: float


class CurriculumManager:
    """Decides which stage is trained on.

    Args:
        curriculum: The stages and how cautious moves are.

    Attributes:
        curriculum: The stages.
        stage: Index of the current stage.
        events: Everything that happened, oldest first.
        total_episodes: Episodes recorded on all stages.
        mastered: Whether the last stage's bar was ever reached.
    """

    def __init__(self, curriculum: Curriculum) -> None:
        self.curriculum = curriculum
        self.stage = 0
        self.events: list[Event] = []
        self.total_episodes = 0
        self.mastered = False
        self._scores: deque[float] = deque(maxlen=curriculum.window)
        self._episodes = 0
        self._waited = 0
        self._relaxed = [0] * len(curriculum.stages)
        self._setbacks = [0] * len(curriculum.stages)

    @property
    def current(self) -> Stage:
        """The stage that is trained on."""
        return self.curriculum.stages[self.stage]

    @property
    def bar(self) -> float:
        """Score that promotion from the current stage asks for, relaxations included."""
        given_up = min(self.curriculum.relax_limit, self.curriculum.relax * self._relaxed[self.stage])
        return self.current.promote_at * (1 - given_up)

    def record(self, scores: ArrayLike) -> list[Event]:
        """Takes down the scores of episodes of the *current* stage and decides; at most one stage changes.

        Args:
            scores: Scores of finished episodes, oldest first, `[E]`; may be empty.

        Returns:
            What happened, usually nothing.

        Raises:
            ValueError: If a score is not finite.
        """
        array = np.asarray(scores, dtype=np.float64).ravel()
        if not np.isfinite(array).all():
            raise ValueError(f"scores: got {array[~np.isfinite(array)][0]}, allowed are finite numbers")
        if not array.size:
            return []
        self._scores.extend(array.tolist())
        self._episodes += array.size
        self._waited += array.size
        self.total_episodes += array.size
        standing = self.standing()
        before = len(self.events)
        if standing.episodes >= standing.needed and len(self._scores) >= 2:
            if standing.low >= self.bar:
                self._advance(standing)
            elif self.stage > 0 and standing.high < self.current.regress_below:
                self._fall_back(standing)
            else:
                self._lower_bar(standing)
        return self.events[before:]

    def standing(self) -> Standing:
        """How the learner does on the current stage."""
        falls = min(self._setbacks[self.stage], MAX_SETBACKS)
        needed = int(np.ceil(self.current.min_episodes * self.curriculum.setback**falls))
        scores = np.array(self._scores)
        if scores.size < 2:
            mean = float(scores.mean()) if scores.size else float("nan")
            return Standing(mean, -np.inf, np.inf, self._episodes, needed)
        mean, error = float(scores.mean()), float(scores.std(ddof=1) / np.sqrt(scores.size))
        margin = float(stdtrit(scores.size - 1, self.curriculum.confidence)) * error
        return Standing(mean, mean - margin, mean + margin, self._episodes, needed)

    def trend(self) -> Trend:
        """Whether the current stage's score rises: ordinary least squares over the window, against episode number."""
        scores = np.array(self._scores)
        if scores.size < 3:
            return Trend(0.0, 0.5)
        time = np.arange(scores.size) - (scores.size - 1) / 2
        spread = float((time**2).sum())
        slope = float((time * scores).sum() / spread)
        residual = scores - scores.mean() - slope * time
        error = float(np.sqrt((residual**2).sum() / (scores.size - 2) / spread))
        if error == 0.0:
            return Trend(1000 * slope, float(0.5 + 0.5 * np.sign(slope)))
        return Trend(1000 * slope, float(stdtr(scores.size - 2, slope / error)))

    def tasks(self, num_worlds: int) -> list[Task]:
        """What each world should play: the current stage, and, evenly spread among the worlds, earlier ones.

        Args:
            num_worlds: Worlds of the whole run.

        Returns:
            One task a world; the first always plays the current stage.
        """
        weights = np.full(self.stage + 1, self.curriculum.rehearsal)
        weights[0] = 1.0  # the current stage; then the one before it, and so on
        # Multiples of the golden ratio, less their whole parts, fill [0, 1) evenly, however many one takes.
        places = np.arange(num_worlds) * GOLDEN_RATIO % 1.0
        ends = weights.cumsum()
        back = np.searchsorted(ends / ends[-1], places, side="right")
        return [self.curriculum.stages[self.stage - int(steps)].task for steps in back]

    def get_state(self) -> dict[str, Any]:
        """Everything, as plain values that JSON can hold."""
        return {
            "stages": [stage.name for stage in self.curriculum.stages],
            "stage": self.stage,
            "scores": list(self._scores),
            "episodes": self._episodes,
            "waited": self._waited,
            "total_episodes": self.total_episodes,
            "mastered": self.mastered,
            "relaxed": list(self._relaxed),
            "setbacks": list(self._setbacks),
            "events": [{**asdict(event), "change": event.change.value} for event in self.events],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned.

        Raises:
            ValueError: If the state belongs to a curriculum with other stages.
        """
        names = [stage.name for stage in self.curriculum.stages]
        if state["stages"] != names:
            raise ValueError(f"curriculum state: got the stages {state['stages']}, allowed are this run's, {names}")
        self.stage = state["stage"]
        self._scores = deque(state["scores"], maxlen=self.curriculum.window)
        self._episodes = state["episodes"]
        self._waited = state["waited"]
        self.total_episodes = state["total_episodes"]
        self.mastered = state["mastered"]
        self._relaxed = list(state["relaxed"])
        self._setbacks = list(state["setbacks"])
        self.events = [Event(**{**event, "change": Change(event["change"])}) for event in state["events"]]

    def _advance(self, standing: Standing) -> None:
        """Moves on, or takes down that the last stage is mastered."""
        if self.stage + 1 < len(self.curriculum.stages):
            self._note(Change.PROMOTED, standing, self.stage + 1)
            self._enter(self.stage + 1)
        elif not self.mastered:
            self.mastered = True
            self._note(Change.MASTERED, standing, self.stage)

    def _fall_back(self, standing: Standing) -> None:
        """Returns to the stage before, which then asks for more episodes."""
        self._note(Change.REGRESSED, standing, self.stage - 1)
        self._setbacks[self.stage - 1] += 1
        self._enter(self.stage - 1)

    def _lower_bar(self, standing: Standing) -> None:
        """Lowers the bar where patience has run out on a plateau."""
        if not self.curriculum.patience or self._waited < self.curriculum.patience or self.mastered:
            return
        self._waited = 0
        if self.trend().rising >= self.curriculum.confidence:
            return  # still learning: patience starts anew
        bar = self.bar
        self._relaxed[self.stage] += 1
        if self.bar < bar:
            self._note(Change.RELAXED, standing, self.stage)
        else:  # at the limit, nothing is left to give up
            self._relaxed[self.stage] -= 1

    def _note(self, change: Change, standing: Standing, to: int) -> None:
        """Takes down a change."""
        event = Event(change, self.stage, self.current.name, to, self.total_episodes, standing.score, self.bar)
        self.events.append(event)

    def _enter(self, stage: int) -> None:
        """Starts counting afresh on another stage."""
        self.stage = stage
        self._scores.clear()
        self._episodes = 0
        self._waited = 0
