"""The callback inside the algorithm that writes the flat figures of `tune.figures` into every result."""

from __future__ import annotations

import math
import time
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils.metrics import ALL_MODULES, LEARNER_RESULTS, NUM_AGENT_STEPS_SAMPLED_LIFETIME
from ray.tune.result import SHOULD_CHECKPOINT

from algorithms.learner import SKIPPED_STEPS_KEY
from tune import figures
from tune.figures import Best


class FiguresCallback(RLlibCallback):
    """Counts, rates and scores of an iteration; comes after the curriculum's and the evaluation's callbacks.

    Its counts are saved with the checkpoint, so a restored run goes on counting where it was.

    Args:
        improvement: How much higher a score must be to count as better.

    Attributes:
        episodes: Episodes finished in all.
        best: The best evaluation score.
        seconds: Wall time that training has taken, evaluations and exams included, which Ray's own count leaves out.
        skipped: Gradient steps left out in all, because they were not finite.
    """

    def __init__(self, improvement: float = 0.0) -> None:
        super().__init__()
        self.episodes = 0
        self.best = Best(improvement)
        self.seconds = 0.0
        self.skipped = 0
        self._since = time.monotonic()

    def on_algorithm_init(self, *, algorithm: Any, metrics_logger: Any = None, **kwargs: Any) -> None:
        """Starts the clock."""
        self._since = time.monotonic()

    def on_train_result(
        self, *, algorithm: Any, metrics_logger: Any = None, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Adds the figures, and asks for a checkpoint where the evaluation was the best so far."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        finished = algorithm.finished_episodes
        self.episodes += len(finished)
        for name, learned in result.get(LEARNER_RESULTS, {}).items():
            skipped = float(learned.get(SKIPPED_STEPS_KEY, 0))
            if name != ALL_MODULES and math.isfinite(skipped):  # not a number: the module did not learn this time
                self.skipped += int(skipped)
        # Tune complains about checkpoints without a score: those of policies that were not evaluated rank last.
        result[figures.CHECKPOINT_SCORE] = -math.inf
        if figures.evaluated(result):
            score = float(result[figures.EVAL])
            result[figures.CHECKPOINT_SCORE] = score
            result[SHOULD_CHECKPOINT] = self.best.record(score, self.episodes)
        report: dict[str, Any] = {
            figures.AGENT_STEPS: result[NUM_AGENT_STEPS_SAMPLED_LIFETIME],
            figures.RATE: result["agent_steps_per_s"],
            figures.EPISODES: self.episodes,
            figures.SECONDS: self.seconds,
            figures.BEST: self.best.score,
            figures.SINCE_BEST: self.episodes - self.best.at_episode,
            figures.SKIPPED: self.skipped,
        }
        if finished:
            report[figures.RETURN] = sum(episode.mean_return for episode in finished) / len(finished)
        result.update({name: value for name, value in report.items() if math.isfinite(value)})

    def get_state(self) -> dict[str, Any]:
        """The counts and the best score, as plain values."""
        return {
            "episodes": self.episodes,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "best": self.best.get_state(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        self.episodes, self.seconds, self.skipped = state["episodes"], state["seconds"], state["skipped"]
        self._since = time.monotonic()
        self.best.set_state(state["best"])
