"""From the best checkpoint to a bundle, its examination, a report and a registered model; the whole of `train`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.compare import compare, sampled
from evaluation.curves import draw_suite
from evaluation.front_view import front_view
from evaluation.results import Comparison, PolicyResult
from evaluation.suite import Suite
from evaluation.views import views_of
from policies.bundle import BundleError, BundlePolicy, load_bundle
from policies.registry import ModelRegistry, RegistryError, Score, Version
from rllib_configs.errors import one_line
from rllib_configs.schema import ExperimentConfig
from rllib_configs.stages import stages_of
from tune import figures, paths
from tune.checkpoints import load_modules
from tune.events import Event, EventKind, Listener, listening, publish
from tune.experiment import ExperimentResult, train
from tune.files import read_json, write_json
from tune.launch import hush
from tune.mirror import mirror_of
from tune.preflight import prepare
from tune.progress import Display
from tune.reports import LEARNER, write_experiment_report
from tune.suites import suite_of
from tune.tracking import RUNS
from tune.tracking_uri import artifact_root

Say = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """All that a run left behind.

    Attributes:
        name: Name of the experiment.
        folder: Its folder.
        config: Its configuration.
        figures: The flat figures of the last training iteration.
        best_eval_score: Score of the exported policy in the evaluation during training; None without one.
        stopped_by: Why training ended, in words.
        history: The flat figures of every iteration.
        bundle: The exported policy's folder.
        comparison: What its examination found.
        report: The HTML report.
        model: Its name in the model registry; None if it is not registered.
        version: Its version there.
        champion: Version that is the champion now; None if there is none.
        note: What went wrong in registering it, in one line.
        warning: What to beware of in serving it, in one line.
    """

    name: str
    folder: Path
    config: ExperimentConfig
    figures: dict[str, Any]
    best_eval_score: float | None
    stopped_by: str
    history: list[dict[str, Any]] = field(repr=False)
    bundle: Path
    comparison: Comparison = field(repr=False)
    report: Path
    model: str | None
    version: int | None
    champion: int | None
    note: str = ""
    warning: str = ""

    def scores(self) -> dict[str, dict[str, float]]:
        """Score by scenario and policy, where there is one."""
        return {
            scenario.name: {p.policy: p.score.estimate for p in scenario.policies if p.score is not None}
            for scenario in (*self.comparison.overall, *self.comparison.scenarios)
        }


def run(
    config: ExperimentConfig,
    *,
    name: str | None = None,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
    quiet: bool = False,
) -> Finished:
    """Trains, exports the best checkpoint, examines it, writes the report and registers the model.

    Args:
        config: The experiment.
        name: Its name; made up if None.
        resume: Go on with an experiment that was interrupted, in training or after it.
        listeners: Told what happens.
        quiet: Whether nothing is shown.

    Raises:
        ConfigError: If the configuration cannot be run.
        tune.files.FolderError: If results or storage cannot be written.
        tune.experiment.TrainingError: If training failed for good or was interrupted.
    """
    if resume:  # what is shown are its own name and bounds
        config, folder = prepare(config, name, resume=True)
        name = folder.name
    if quiet:
        result = train(config, name=name, resume=resume, listeners=listeners)
        with listening(result.name, *listeners):
            return finish(result)
    with Display(name or config.domain, config.stop) as display:
        result = train(config, name=name, resume=resume, listeners=[display, *listeners])
        with listening(result.name, display, *listeners):
            return finish(result)


def finish(result: ExperimentResult) -> Finished:
    """Everything after training. What an interrupted call had finished is done again, or found done.

    Raises:
        policies.bundle.BundleError: If the exported graph does not do what the networks do, or cannot be written.
        OSError: If a result cannot be written, here or to storage.
    """

    def say(text: str) -> None:
        publish(Event(EventKind.FINISHING, result.name, figures={"status": text}))

    hush()
    say("exporting the best checkpoint")
    bundle = _export(result)
    comparison = _examine(result, bundle, say)
    version, champion, note = None, None, ""
    if result.config.tracking.enabled:
        say("registering the model")
        try:
            version, champion = _register(result, comparison)
        except (RegistryError, BundleError) as error:  # a registry that is down costs no training
            note = one_line(error)
    say("writing the report")
    report = _report(result, bundle, comparison, version)
    finished = Finished(
        name=result.name,
        folder=result.folder,
        config=result.config,
        figures=result.figures,
        best_eval_score=result.best.get(figures.EVAL),
        stopped_by=result.stopped_by,
        history=result.history,
        bundle=result.folder / paths.BUNDLE,
        comparison=comparison,
        report=report,
        model=None if version is None else version.name,
        version=None if version is None else version.version,
        champion=champion,
        note=note,
        warning=unsure(comparison),
    )
    _save_summary(finished, bundle)
    if (mirror := mirror_of(result.config, result.folder)) is not None:
        say("writing to storage")
        mirror.push()
    publish(Event(EventKind.FINISHED, result.name, figures=dict(result.figures)))
    return finished


def _export(result: ExperimentResult) -> BundlePolicy:
    """Writes the bundle of the best checkpoint, unless an earlier call has, and loads it as everyone else will."""
    folder = result.folder / paths.BUNDLE
    iteration = float(result.best.get(figures.ITERATION, 0))
    try:
        policy = load_bundle(folder, verify=True)
        if policy.manifest.metrics.get(figures.ITERATION) == iteration:
            return policy
    except BundleError:
        pass
    trained = load_modules(result.config, result.checkpoint)
    stages = stages_of(result.config).stages
    task = stages[int(result.best.get(figures.STAGE, 0))].task
    numbers = {name: float(value) for name, value in result.best.items() if isinstance(value, (int, float))}
    export = result.config.get_algorithm().exporter()
    export(
        folder,
        trained.modules,
        trained.mapping,
        name=result.config.model_name,
        domain=result.config.domain,
        env_config=result.config.env_config(),
        task=task,
        metrics=numbers,
    )
    return load_bundle(folder, verify=True)


def _examine(result: ExperimentResult, policy: BundlePolicy, say: Say) -> Comparison:
    """Compares the exported policy with the baselines and writes that down."""
    suite = suite_of(result.config)
    comparison = compare(
        suite, result.config.env_config(), {LEARNER: policy}, progress=lambda title: say(f"evaluating: {title}")
    )
    comparison.save(result.folder / paths.EVALUATION)
    return comparison


def _report(result: ExperimentResult, policy: BundlePolicy, comparison: Comparison, version: Version | None) -> Path:
    """Draws the curves within an episode and writes the report."""
    curves = []
    if comparison.informed:  # a domain without yardsticks has nothing to draw either
        curves = draw_suite(suite_of(result.config), result.config.env_config(), {LEARNER: policy})
    return write_experiment_report(
        result.folder / paths.REPORT,
        result.config,
        comparison,
        curves,
        [*front_view(comparison), *views_of(suite_of(result.config), result.config.env_config(), policy, comparison)],
        result.history,
        name=result.name,
        stopped_by=result.stopped_by,
        model=None if version is None else f"{version.name} version {version.version}",
    )


def _register(result: ExperimentResult, comparison: Comparison) -> tuple[Version | None, int | None]:
    """Registers the bundle, once; returns its version and the champion's."""
    found = headline(comparison)
    if found is None:
        return None, None
    score = found.score or found.mean_return
    uri = result.config.tracking.uri
    registry = ModelRegistry(uri, artifact_root(uri))
    name = result.config.model_name
    bundle = result.folder / paths.BUNDLE
    digest = load_bundle(bundle).manifest.sha256
    known = read_json(result.folder / paths.REGISTERED) or {}
    if (known.get("uri"), known.get("sha256")) == (uri, digest):
        return registry.version(name, int(known["version"])), _champion(registry, name)
    runs = (read_json(result.folder / RUNS) or {}).get("runs", {})
    version = registry.register(
        bundle,
        name,
        Score(score.estimate, score.low, score.high, evaluation_name(suite_of(result.config), result.config)),
        run_id=next(iter(runs.values()), None),
        tags={"experiment": result.name},
    )
    write_json(result.folder / paths.REGISTERED, {"uri": uri, "sha256": digest, "version": version.version})
    return version, _champion(registry, name)


def _champion(registry: ModelRegistry, name: str) -> int | None:
    champion = registry.champion(name)
    return None if champion is None else champion.version


def headline(comparison: Comparison) -> PolicyResult | None:
    """The learner over all held-out scenarios together, or in the first that has scores, or returns only."""
    for scenario in (*comparison.overall, *comparison.scenarios):
        learner = scenario.of(LEARNER)
        if scenario.kind == "held_out" and learner is not None and (learner.score or not comparison.informed):
            return learner
    return None


def unsure(comparison: Comparison) -> str:
    """A warning where the team earns less by its most likely actions, which are served, than by sampled ones."""
    for scenario in comparison.scenarios:
        served, drawn = scenario.of(LEARNER), scenario.of(sampled(LEARNER))
        if served is not None and drawn is not None and served.mean_return.high < drawn.mean_return.low:
            return (
                f"in {scenario.name} the most likely actions return {served.mean_return.estimate:.4g} and sampled ones "
                f"{drawn.mean_return.estimate:.4g}: the team relies on chance, so ask the service for sampled actions"
            )
    return ""


def evaluation_name(suite: Suite, config: ExperimentConfig) -> str:
    """Names an evaluation so that only scores of the very same one are compared: suite, seeds and env."""
    content = [suite.model_dump(mode="json"), config.env_config().model_dump(mode="json")]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return f"{suite.domain}-{digest[:12]}"


def _save_summary(finished: Finished, policy: BundlePolicy) -> None:
    write_json(
        finished.folder / paths.FINISHED,
        {
            "experiment": finished.name,
            "best_eval_score": finished.best_eval_score,
            "stopped_by": finished.stopped_by,
            "figures": finished.figures,
            "sha256": policy.manifest.sha256,
            "model": finished.model,
            "version": finished.version,
            "champion": finished.champion,
            "scores": finished.scores(),
            "returns": {
                scenario.name: {policy.policy: policy.mean_return.estimate for policy in scenario.policies}
                for scenario in finished.comparison.scenarios
            },
            "bounds": {s.name: s.bound_score for s in finished.comparison.scenarios if s.bound_score is not None},
            "warning": finished.warning,
        },
    )
