"""Writes an experiment's report, at its end or anew from what it left on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from evaluation.curves import Curves, draw_suite
from evaluation.progress import LearningCurve
from evaluation.report import Report, write_report
from evaluation.results import Comparison
from evaluation.views import View, views_of
from policies.bundle import load_bundle
from rllib_configs.errors import ConfigError
from rllib_configs.schema import ExperimentConfig
from rllib_configs.stages import load_stages
from tune import figures, history, paths
from tune.files import read_json
from tune.progress import duration, stage_of, steps
from tune.suites import suite_of

LEARNER = "trained"
"""Name of the trained team in tables."""


def write_experiment_report(
    path: Path,
    config: ExperimentConfig,
    comparison: Comparison,
    curves: Sequence[Curves],
    views: Sequence[View],
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str,
    stopped_by: str,
    model: str | None = None,
) -> Path:
    """Writes the report of an experiment.

    Args:
        path: The HTML file.
        config: The experiment's configuration.
        comparison: Its final evaluation.
        curves: Curves within an episode.
        views: The domain's own pictures.
        rows: The flat figures of every iteration.
        name: Its name.
        stopped_by: Why training ended.
        model: Name and version in the registry, if it is there.

    Raises:
        OSError: If it cannot be written.
    """
    last = rows[-1] if rows else {}
    stages = load_stages(config)
    facts = {
        "domain": config.domain,
        "trained": f"{duration(last.get(figures.SECONDS, 0))}, {steps(last.get(figures.AGENT_STEPS, 0))} agent-steps, "
        f"{last.get(figures.EPISODES, 0):,} episodes",
        "ended by": stopped_by,
        "stage reached": stage_of(last),
        "seed": str(config.seed),
        "model": model or "",
    }
    commands = {
        "Repeat this run": f"entrepot train {config.domain} --config {paths.CONFIG}",
        "Examine the policy again": f"entrepot evaluate {model.replace(' version ', '@') if model else paths.BUNDLE}",
        "Search for better settings": f"entrepot sweep {config.domain} --samples 8",
    }
    report = Report(
        title=name,
        comparison=comparison,
        # It is drawn between two yardsticks, so only where there are some.
        learning=LearningCurve.from_rows(rows)
        if comparison.informed and any(figures.EVAL in row for row in rows)
        else None,
        stage_titles={} if stages is None else {stage.name: stage.title for stage in stages.stages},
        curves=tuple(curves),
        views=tuple(views),
        facts={label: fact for label, fact in facts.items() if fact},
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=100),
        commands=commands,
    )
    return write_report(path, report)


def rewrite_report(experiment: str, results: Path, output: Path | None = None) -> Path:
    """Writes the report of a finished experiment anew.

    Args:
        experiment: Its name, or its folder.
        results: Folder that holds the experiments.
        output: File to write; `report.html` in the experiment's folder if None.

    Raises:
        ConfigError: If there is no such experiment, or it was never evaluated.
        OSError: If the report cannot be written.
    """
    given = Path(experiment)
    folder = given if (given / paths.CONFIG).is_file() else paths.find_folder(results, experiment, "")
    config = paths.load_config(folder)
    if not (folder / paths.EVALUATION).is_file():
        raise ConfigError(f"report: {folder} holds no {paths.EVALUATION}; finish it with entrepot train --resume")
    comparison = Comparison.load(folder / paths.EVALUATION)
    policy = load_bundle(folder / paths.BUNDLE)
    curves = []
    if comparison.informed:
        curves = draw_suite(suite_of(config), config.env_config(), {LEARNER: policy})
    summary = read_json(folder / paths.FINISHED) or {}
    return write_experiment_report(
        (output or folder / paths.REPORT).absolute(),
        config,
        comparison,
        curves,
        views_of(suite_of(config), config.env_config(), policy, comparison),
        history.read(folder),
        name=folder.absolute().name,
        stopped_by=str(summary.get("stopped_by", "")),
        model=f"{summary['model']} version {summary['version']}" if summary.get("version") else None,
    )
