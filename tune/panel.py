"""What `train` ends with: the table, where things are, and what to type next."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluation.table import table_of
from rllib_configs.overrides import default_algorithm
from rllib_configs.space import default_space
from tune import figures
from tune.finish import Finished
from tune.progress import duration, stage_of, steps

USUAL_URI = "sqlite:///mlflow.db"
"""Where commands look for models if nobody says."""


def panel(finished: Finished) -> RenderableType:
    """The comparison with the baselines, then the run in a few lines."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(finished):
        facts.add_row(name, value)
    following = Table.grid(padding=(0, 2))
    following.add_column(style="dim", no_wrap=True)
    following.add_column(style="bold", overflow="fold")
    for name, command in _next(finished):
        following.add_row(name, command)
    parts: list[RenderableType] = [table_of(finished.comparison), Text()]
    return Group(*parts, facts, Text("\nWhat to type next", style="dim"), following)


def _facts(finished: Finished) -> list[tuple[str, str]]:
    row = finished.figures
    spent = f"{duration(row.get(figures.SECONDS, 0))}, {steps(row.get(figures.AGENT_STEPS, 0))} agent-steps"
    lines = [("trained", f"{spent}, {row.get(figures.EPISODES, 0):,} episodes; ended by: {finished.stopped_by}")]
    if row.get(figures.SKIPPED):
        lines.append(("left out", f"{row[figures.SKIPPED]:,} gradient steps that were not finite"))
    if stage_of(row):
        done = ", passed" if row.get(figures.CURRICULUM_DONE) else ""
        lines.append(("stage reached", stage_of(row) + done))
    lines.append(("report", _short(finished.report)))
    lines.append(("policy", _short(finished.bundle)))
    if finished.version is not None:
        crowned = finished.champion == finished.version
        role = "now the champion" if crowned else f"the champion stays version {finished.champion}"
        lines.append(("model", f"{finished.model} version {finished.version}, {role}"))
    elif finished.note:
        lines.append(("model", f"not registered: {finished.note}"))
    if finished.warning:
        lines.append(("beware", finished.warning))
    return lines


def _next(finished: Finished) -> list[tuple[str, str]]:
    domain, uri = finished.config.domain, finished.config.tracking.uri
    usual = finished.config.algorithm == default_algorithm(domain)
    if not usual:
        domain += f" --algorithm {finished.config.algorithm}"
    policy = f"{finished.model}@{finished.version}" if finished.version is not None else _short(finished.bundle)
    shown = f"sqlite:///{_short(Path(uri.removeprefix('sqlite:///')))}" if uri.startswith("sqlite:///") else uri
    where = "" if finished.version is None or shown == USUAL_URI else f" --tracking-uri {shown}"
    lines = [
        ("see the curves", f"open {_short(finished.report)}"),
        ("examine it again", f"entrepot evaluate {policy}{where}"),
        ("serve it", f"entrepot serve --models {policy}{where}"),
    ]
    if default_space(finished.config.domain).is_file() and usual:
        lines.append(("find better settings", f"entrepot sweep {finished.config.domain} --samples 8"))
    lines.append(("train longer", f"entrepot train {domain} --set stop.minutes=30 --seed {finished.config.seed + 1}"))
    if finished.config.tracking.enabled:
        lines.append(("compare all runs", f"mlflow ui --backend-store-uri {shown}"))
    return lines


def _short(path: Path) -> str:
    """A path as it is typed from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
