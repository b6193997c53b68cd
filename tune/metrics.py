"""Figures of training for Prometheus: after every iteration they are handed to Ray, which exports them on each node.

Prometheus knows them as `ray_entrepot_training_…`; `cluster/monitoring` has dashboards and alerts on them.

What becomes of a series is Ray's doing. It forgets a gauge 20 to 30 s after it was last set, but iterations may take
longer, and a trial that stands still should be seen: so a thread sets them again as long as the process lives. Those of
a trial that has ended are gone half a minute later. A counter stands still from then on, until its node's agent ends.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_SAMPLING_TIMER,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_MODULE_STEPS_TRAINED,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from ray.util.metrics import Counter, Gauge

from algorithms.learner import SKIPPED_STEPS_KEY
from rllib_configs.schema import Stop
from tune import figures

logger = logging.getLogger("entrepot")

PREFIX = "entrepot_training_"
TRIAL_TAGS = ("experiment", "trial")
"""Tags of every series."""
REFRESH = 5.0
"""How often gauges are set again [s]: Ray's processes report every 10 s what was set since."""

COUNTERS: Mapping[str, str] = {
    "agent_steps": "Agent-steps sampled; begins where the checkpoint was that the process went on from.",
    "episodes": "Episodes finished; begins where the checkpoint was that the process went on from.",
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "iteration": ("Training iterations done.", ()),
    "progress": ("How much of the run is over, by whichever of its bounds is nearest [0 to 1].", ()),
    "agent_steps_per_second": ("Agent-steps of the last iteration by the time it took [1/s].", ()),
    "mean_return": ("Mean return of the training episodes that ended in the last iteration that had some.", ()),
    "task_return": ("The same by task.", ("task",)),
    "score": ("Score of the latest evaluation: 0 is the naive policy's, 1 the informed one's.", ()),
    "score_low": ("Lower end of its confidence interval.", ()),
    "score_high": ("Upper end of its confidence interval.", ()),
    "best_score": ("Best evaluation score of the run.", ()),
    "task_score": ("Score of the latest evaluation by task.", ("task",)),
    "stage": ("Index of the curriculum's stage; 0 is the first.", ()),
    "on_stage": ("1 for the stage that is trained on, 0 for one just left.", ("stage",)),
    "stages": ("Stages of the curriculum.", ()),
    "stage_score": ("Score on the present stage, as the curriculum counts it.", ()),
    "stage_bar": ("Score that passes the present stage.", ()),
    "iteration_seconds": ("Time of the last iteration, evaluations and exams included [s].", ()),
    "sampling_seconds": ("Sampling in an iteration; RLlib's running mean [s].", ()),
    "update_seconds": ("The learner's update in an iteration; RLlib's running mean [s].", ()),
    "sync_seconds": ("Sending the weights to the runners in an iteration; RLlib's running mean [s].", ()),
    "runners_wanted": ("Remote runners that are configured; 0: the main process samples itself.", ()),
    "runners_healthy": ("Remote runners that sample.", ()),
    "runner_restarts": ("Runners restarted since the process began.", ()),
    "replay_rows": ("Rows in the replay buffer; 0 where the algorithm has none.", ()),
    "replay_capacity": ("Rows that the replay buffer takes; 0 where the algorithm has none.", ()),
    "checkpoint_timestamp_seconds": ("When the process wrote its last checkpoint, or began [Unix time, s].", ()),
    "kl": ("Change of the policy in the last update, Kullback-Leibler divergence [nats].", ("module",)),
    "kl_coefficient": ("Weight of the penalty on that change; 0: no penalty.", ("module",)),
    "entropy": ("Entropy of the policy [nats].", ("module",)),
    "policy_loss": ("The policy's part of the loss.", ("module",)),
    "value_loss": ("The critic's part of the loss, before its weight.", ("module",)),
    "explained_variance": ("Share of the returns' variance that the critic explains; 1 is all.", ("module",)),
    "gradient_norm": ("Norm of the gradient, before it is clipped.", ("module",)),
    "learning_rate": ("Learning rate of the optimiser.", ("module",)),
    "diverged": (
        "1 where a loss (it has no series then) or a gradient of the last update was no finite number, else 0.",
        ("module",),
    ),
}

FLAT = {
    "iteration": figures.ITERATION,
    "agent_steps_per_second": figures.RATE,
    "mean_return": figures.RETURN,
    "score": figures.EVAL,
    "score_low": figures.EVAL_LOW,
    "score_high": figures.EVAL_HIGH,
    "best_score": figures.BEST,
    "stage": figures.STAGE,
    "stages": figures.STAGES,
    "stage_score": figures.STAGE_SCORE,
    "stage_bar": figures.STAGE_BAR,
}
"""Gauges by their key at the top of a result."""
TIMES = {
    "sampling_seconds": ENV_RUNNER_SAMPLING_TIMER,
    "update_seconds": LEARNER_UPDATE_TIMER,
    "sync_seconds": SYNCH_WORKER_WEIGHTS_TIMER,
}
"""Gauges by their key among a result's timers."""
LEARNING = {
    "kl": "mean_kl_loss",
    "kl_coefficient": "curr_kl_coeff",
    "entropy": "entropy",
    "policy_loss": "policy_loss",
    "value_loss": "vf_loss",
    "explained_variance": "vf_explained_var",
    "gradient_norm": "gradient_norm",
    "learning_rate": "default_optimizer_learning_rate",
}
"""Gauges by their key among what the learner says of a module."""
LOSSES = ("policy_loss", "value_loss", "entropy", "kl")
"""Those that are finite numbers as long as there is something to learn from."""
TASK_SCORE = f"{figures.EVAL}/"

Samples = dict[tuple[str, str], float]
"""Values by gauge, and by the value of its own tag; "" where it has none."""


@dataclass(frozen=True)
class TrialName:
    """What a run is called in Prometheus.

    Attributes:
        experiment: Name of the experiment.
        trial: Id of the trial.
    """

    experiment: str
    trial: str


def samples_of(result: Mapping[str, Any], stop: Stop) -> Samples:
    """The gauges that a result of RLlib's has values for, after the callbacks of `tune.trainable` have added theirs.

    Args:
        result: The result.
        stop: When training ends.

    Returns:
        Them, not-a-number included: RLlib says so of what was measured before and not in this iteration, and a learner
        of what broke.
    """
    found: Samples = {}
    _pick(found, "", result, FLAT)
    _pick(found, "", result.get(TIMERS, {}), TIMES)
    found["progress", ""] = figures.share_done(result, stop)
    for module, learned in result.get(LEARNER_RESULTS, {}).items():
        if module != ALL_MODULES and learned.get(NUM_MODULE_STEPS_TRAINED, 0) > 0:
            _pick(found, module, learned, LEARNING)
            finite = all(math.isfinite(found.get((name, module), 0)) for name in LOSSES)
            found["diverged", module] = float(not finite or learned.get(SKIPPED_STEPS_KEY, 0) > 0)
            if ("kl", module) in found:
                found.setdefault(("kl_coefficient", module), 0.0)  # RLlib says nothing of it where there is none
    for task, played in result.get("tasks", {}).items():
        _pick(found, task, played, {"task_return": EPISODE_RETURN_MEAN})
    for key in result:
        if key.startswith(TASK_SCORE):
            _pick(found, key.removeprefix(TASK_SCORE), result, {"task_score": key})
    if figures.STAGE_NAME in result:
        found["on_stage", str(result[figures.STAGE_NAME])] = 1.0
    return found


def _pick(found: Samples, tag: str, values: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    """Adds what there is."""
    for name, key in keys.items():
        if isinstance(value := values.get(key), Real):
            found[name, tag] = float(value)


def samples_from(algorithm: Any) -> Samples:
    """The gauges of the algorithm itself: its runners, and its replay buffer if it has one."""
    group = algorithm.env_runner_group
    buffer = getattr(algorithm, "local_replay_buffer", None)
    return {
        ("runners_wanted", ""): float(algorithm.config.num_env_runners),
        ("runners_healthy", ""): float(group.num_healthy_remote_env_runners()),
        ("runner_restarts", ""): float(group.num_remote_worker_restarts()),
        ("replay_rows", ""): 0.0 if buffer is None else float(len(buffer)),
        ("replay_capacity", ""): float(getattr(buffer, "capacity", 0.0)),
    }


class MetricsCallback(RLlibCallback):
    """Exports an iteration's figures; comes after the callbacks whose figures it reads.

    Whatever goes wrong with that costs the figures, and never the run.

    Args:
        name: What the run is called.
        stop: When it ends.
    """

    def __init__(self, name: TrialName, stop: Stop) -> None:
        super().__init__()
        self._name = name
        self._stop = stop
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}
        self._counted: dict[str, float] = {}
        self._samples: Samples = {}
        self._lock = threading.Lock()  # of the samples, and of what is set last
        self._since = time.monotonic()
        self._over = threading.Event()
        self._failed = False

    def on_algorithm_init(self, *, algorithm: Any, metrics_logger: Any = None, **kwargs: Any) -> None:
        """Registers the figures, and starts the clock."""
        self._since = time.monotonic()
        try:
            tags = {"experiment": self._name.experiment, "trial": self._name.trial}
            for name, text in COUNTERS.items():
                self._counters[name] = Counter(PREFIX + name, text, TRIAL_TAGS).set_default_tags(tags)
            for name, (text, own) in GAUGES.items():
                self._gauges[name] = Gauge(PREFIX + name, text, TRIAL_TAGS + own).set_default_tags(tags)
            self.saved()
            threading.Thread(target=self._refresh, name="metrics", daemon=True).start()
        except Exception as error:
            self._fail(error)

    def on_train_result(
        self, *, algorithm: Any, metrics_logger: Any = None, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Exports the figures."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        try:
            samples = samples_of(result, self._stop) | samples_from(algorithm)
            samples["iteration_seconds", ""] = seconds
            self._export(samples)
            self._count("agent_steps", result.get(figures.AGENT_STEPS, 0))
            self._count("episodes", result.get(figures.EPISODES, 0))
        except Exception as error:
            self._fail(error)

    def saved(self) -> None:
        """Takes down that a checkpoint has been written just now."""
        try:
            self._export({("checkpoint_timestamp_seconds", ""): time.time()})
        except Exception as error:
            self._fail(error)

    def close(self) -> None:
        """Lets Ray forget the gauges."""
        self._over.set()

    def _export(self, samples: Samples) -> None:
        """Sets gauges, and keeps them to be set again; of a stage that was left, and of what broke, nothing is kept."""
        with self._lock:
            if any(name == "on_stage" for name, _ in samples):
                for name, tag in [key for key in self._samples if key[0] == "on_stage" and key not in samples]:
                    self._set(name, tag, 0.0)
                    del self._samples[name, tag]
            for (name, tag), value in samples.items():
                if math.isfinite(value):
                    self._set(name, tag, value)
                    self._samples[name, tag] = value
                elif name in LEARNING:
                    self._samples.pop((name, tag), None)

    def _refresh(self) -> None:
        """Sets all gauges again, until the trial has ended."""
        while not self._over.wait(REFRESH):
            try:
                with self._lock:
                    for (name, tag), value in self._samples.items():
                        self._set(name, tag, value)
            except Exception as error:
                self._fail(error)

    def _set(self, name: str, tag: str, value: float) -> None:
        own = GAUGES[name][1]
        self._gauges[name].set(value, {own[0]: tag} if own else None)

    def _count(self, name: str, total: float) -> None:
        """Brings a counter up to what there has been in all; Ray's own knows increments above 0 only."""
        more = float(total) - self._counted.get(name, 0.0)
        if more > 0 and math.isfinite(more):
            self._counters[name].inc(more)
            self._counted[name] = float(total)

    def _fail(self, error: Exception) -> None:
        """Says once that figures are not exported."""
        if not self._failed:
            logger.warning("metrics: not all can be exported, training goes on without them (%s)", error)
        self._failed = True
