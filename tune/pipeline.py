"""Training as a library call: configure, `await pipeline.train()`, and hear of everything that happens meanwhile."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from envs.registry import get_domain
from rllib_configs.overrides import load
from rllib_configs.schema import ExperimentConfig
from rllib_configs.stages import stages_of
from tune import figures, paths
from tune.events import Event, Listener, ask_to_stop, forget_asking
from tune.finish import Finished, run


class TrainingConfig(BaseModel):
    """How long to train and how often to look. Episodes are counted over all worlds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    total_episodes: int = Field(10_000, ge=1, description="Episodes after which training ends.")
    eval_frequency: int = Field(500, ge=0, description="Episodes between evaluations; 0: none during training.")
    checkpoint_frequency: int = Field(2_000, ge=1, description="Episodes between checkpoints.")
    use_curriculum: bool = Field(True, description="Whether stages of rising difficulty are trained on.")
    use_synthetic_data: bool = Field(True, description="Whether data are simulated; else the domain's real ones.")
    early_stopping_patience: int | None = Field(
        None, ge=1, description="Episodes without a better evaluation score after which training ends; None: never."
    )


class RLTrainingPipeline:
    """One experiment, from configuration to registered model.

    Args:
        domain: What is learned: a name from `envs.registry`, or `package.module:attribute`.
        training: How long, and how often to look.
        env: Settings of the environment that differ from the domain's configuration.
        experiment_name: Name of the experiment and of its folder; made up if None.
        settings: Any other settings by dotted path, such as `{"ppo.lr": 1e-3}`; they win over all else.
        listeners: Called with every `tune.events.Event`, from the training thread.
        quiet: Whether nothing is shown on the terminal.

    Attributes:
        config: The complete configuration.
        experiment_name: Name of the experiment.
        results: What `train` returned; None before.

    Raises:
        ConfigError: If a key or value is not allowed.
    """

    def __init__(
        self,
        domain: str = "trading",
        training: TrainingConfig | None = None,
        *,
        env: Mapping[str, Any] | None = None,
        experiment_name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        listeners: Sequence[Listener] = (),
        quiet: bool = False,
    ) -> None:
        self.training = training or TrainingConfig()
        values = {f"env.{key}": value for key, value in (env or {}).items()}
        self.config = configured(domain, self.training, {**values, **(settings or {})})
        self.experiment_name = experiment_name or paths.new_name(self.config)
        self.results: dict[str, Any] | None = None
        self._listeners = list(listeners)
        self._quiet = quiet

    def train_sync(self, *, resume: bool = False) -> dict[str, Any]:
        """Trains, evaluates, reports and registers; blocks until all is done.

        Args:
            resume: Go on with an experiment of this name that was interrupted.

        Returns:
            `best_eval_score` (0 naive, 1 informed; None without evaluations), `experiment`, `folder`, `episodes`,
            `agent_steps`, `stopped_by`, `bundle`, `report`, `model`, `version`, `champion`, `scores` (by scenario and
            policy) and `history`.
        """
        try:
            finished = run(
                self.config, name=self.experiment_name, resume=resume, listeners=self._listeners, quiet=self._quiet
            )
        finally:
            forget_asking(self.experiment_name)
        self.results = results_of(finished)
        return self.results

    async def train(self, *, resume: bool = False) -> dict[str, Any]:
        """The same as `train_sync`, without blocking the event loop.

        When the awaiting task is cancelled, training ends and can be resumed from its last checkpoint.
        """
        work = asyncio.create_task(asyncio.to_thread(self.train_sync, resume=resume))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            ask_to_stop(self.experiment_name)  # the thread cannot be cancelled, and takes this back when it ends
            await asyncio.wait([work])
            raise

    async def events(self, *, resume: bool = False) -> AsyncIterator[Event]:
        """Trains, and yields what happens as it happens; `results` are there afterwards."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue[Event | None] = asyncio.Queue()

        def hear(event: Event) -> None:
            loop.call_soon_threadsafe(waiting.put_nowait, event)

        self._listeners.append(hear)
        work = asyncio.create_task(self.train(resume=resume))
        work.add_done_callback(lambda _: waiting.put_nowait(None))
        try:
            while (event := await waiting.get()) is not None:
                yield event
            await work
        finally:
            self._listeners.remove(hear)
            if not work.done():
                work.cancel()
                await asyncio.wait([work])


def create_trading_pipeline(
    num_agents: int = 4,
    total_episodes: int = 10_000,
    use_curriculum: bool = True,
    experiment_name: str | None = None,
    **options: Any,
) -> RLTrainingPipeline:
    """A pipeline that trains a team of traders.

    Args:
        num_agents: Traders in one market.
        total_episodes: Episodes, over all worlds, after which training ends.
        use_curriculum: Whether the five stages are trained on in order; else the domain's default task.
        experiment_name: Name of the experiment; made up if None.
        options: More arguments of `RLTrainingPipeline`.
    """
    training = options.pop("training", None) or TrainingConfig()
    return RLTrainingPipeline(
        "trading",
        training.model_copy(update={"total_episodes": total_episodes, "use_curriculum": use_curriculum}),
        env={"num_agents": num_agents, **options.pop("env", {})},
        experiment_name=experiment_name,
        **options,
    )


def configured(domain: str, training: TrainingConfig, values: Mapping[str, Any]) -> ExperimentConfig:
    """The experiment that a `TrainingConfig` describes, over the domain's own configuration.

    Args:
        domain: The domain.
        training: How long, and how often to look.
        values: Settings by dotted path, which win.
    """
    bounds: dict[str, Any] = {
        "stop.episodes": training.total_episodes,
        "stop.iterations": None,
        "stop.agent_steps": None,
        "stop.minutes": None,
        "stop.curriculum_done": False,
        "stop.patience": training.early_stopping_patience,
    }
    if not training.use_curriculum:
        bounds["curriculum"] = None
    if "data" in get_domain(domain).config_type.model_fields:
        bounds["env.data"] = "synthetic" if training.use_synthetic_data else "real"
    config = load(domain, values={**bounds, **values})
    looks = {
        "evaluation.interval": _iterations(config, training.eval_frequency),
        "checkpoint.interval": max(1, _iterations(config, training.checkpoint_frequency)),
    }
    return load(domain, values={**bounds, **looks, **values})


def _iterations(config: ExperimentConfig, episodes: int) -> int:
    """Training iterations in which about so many episodes end; at least 1 unless `episodes` is 0."""
    if episodes == 0:
        return 0
    runners = config.runners
    steps = max(1, runners.num_env_runners) * runners.worlds * runners.rollout_length
    length = max(stage.task.max_steps for stage in stages_of(config).stages)
    return max(1, math.floor(episodes * length / steps))


def results_of(finished: Finished) -> dict[str, Any]:
    """What is left of a run, as plain values."""
    return {
        "best_eval_score": finished.best_eval_score,
        "experiment": finished.name,
        "folder": str(finished.folder),
        "episodes": finished.figures.get(figures.EPISODES, 0),
        "agent_steps": finished.figures.get(figures.AGENT_STEPS, 0),
        "stopped_by": finished.stopped_by,
        "bundle": str(finished.bundle),
        "report": str(finished.report),
        "model": finished.model,
        "version": finished.version,
        "champion": finished.version is not None and finished.champion == finished.version,
        "scores": finished.scores(),
        "history": finished.history,
    }
