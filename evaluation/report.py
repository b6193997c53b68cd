"""A report as one HTML file that needs no network: pictures, tables with intervals, configuration, how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from evaluation import figures, words
from evaluation.curves import Curves
from evaluation.progress import LearningCurve
from evaluation.results import Comparison, PolicyResult, ScenarioResult
from evaluation.statistics import Interval
from evaluation.table import (
    MARKS,
    bounded,
    difference_of,
    learner_of,
    measure_of,
    policies_of,
    show_headline,
    show_interval,
    verdict,
    word_of,
)
from evaluation.views import View
from policies.files import write_text

SECTIONS = {"held_out": "On new seeds of every stage", "stress": "Under stress", "real": "On real data"}


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Attributes:
        title: Such as the experiment's name.
        comparison: The final evaluation.
        learning: The course of training; without it the report opens with the standings.
        stage_titles: Titles of the curriculum's stages, by name, in order.
        curves: Curves within an episode, one picture each.
        views: The domain's own pictures.
        facts: Short facts for the top, such as model, version, duration, by label.
        config: The configuration, as YAML.
        commands: How to repeat or continue, a command by what it does.
    """

    title: str
    comparison: Comparison
    learning: LearningCurve | None = None
    stage_titles: Mapping[str, str] = field(default_factory=dict)
    curves: Sequence[Curves] = ()
    views: Sequence[View] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    commands: Mapping[str, str] = field(default_factory=dict)


def write_report(path: Path, report: Report) -> Path:
    """Writes the report aside, then renames it.

    Args:
        path: The HTML file.
        report: What it shows.

    Returns:
        The path.

    Raises:
        OSError: If it cannot be written; nothing half-written is left.
    """
    write_text(path, render(report))
    return path


def render(report: Report) -> str:
    """The report as one HTML text of some 5 MB, most of it plotly.js."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    comparison = report.comparison
    colours = figures.policy_colours(comparison)
    learning = None
    if report.learning is not None and report.learning.points:
        learning = figures.learning_figure(
            report.learning, report.stage_titles, comparison.naive, comparison.informed, comparison.noun
        )
    return environment.get_template("report.html").render(
        report=report,
        comparison=comparison,
        date=datetime.now(UTC).strftime("%-d %B %Y"),
        headline=words.headline(comparison),
        findings=words.findings(comparison),
        confidence=f"{100 * comparison.confidence:.0f}%",
        plotly=Markup(get_plotlyjs()),
        learning=_html(learning, "learning"),
        standings=_html(figures.standing_figure(comparison, colours), "standings"),
        curves=[
            (curves, _html(figures.curves_figure(curves, colours, comparison.learners), f"curve-{number}"))
            for number, curves in enumerate(report.curves)
        ],
        views=[(view, _html(view.figure, f"view-{number}")) for number, view in enumerate(report.views)],
        overall=[_table(comparison, result) for result in comparison.overall],
        sections=[
            (title, _summary(comparison, found), [_table(comparison, result) for result in found])
            for kind, title in SECTIONS.items()
            if (found := [result for result in comparison.scenarios if result.kind == kind])
        ],
        marks=MARKS,
        label=figures.label_of,
    )


def _html(figure: go.Figure | None, name: str) -> Markup | None:
    """A picture as a piece of HTML that relies on the page's plotly.js."""
    if figure is None:
        return None
    options = {"displayModeBar": False, "responsive": True}
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=options))


def _summary(comparison: Comparison, results: Sequence[ScenarioResult]) -> dict[str, Any]:
    """A row a scenario, a column a policy: the headline figure and a mark for the learner's standing against it."""
    present = {policy.policy for result in results for policy in result.policies}
    names = [*comparison.learners, *(n for n in policies_of(comparison) if n not in comparison.learners)]
    names = [name for name in names if name in present]
    rows = []
    for result in results:
        learner, cells = learner_of(result), []
        for name in names:
            policy = result.of(name)
            difference = None if learner is None or result.samples < 2 else difference_of(learner, name)
            word = "" if difference is None else word_of(difference)
            cells.append(
                {
                    "text": "" if policy is None else show_headline(comparison, policy),
                    "range": _range(comparison, policy) if policy is not None and policy.learned else "",
                    "word": word,
                    "mark": MARKS.get(word, ""),
                    "learned": name in comparison.learners,
                }
            )
        rows.append({"result": result, "cells": cells})
    return {"names": names, "rows": rows, "figure": measure_of(comparison)}


def _range(comparison: Comparison, policy: PolicyResult) -> str:
    """The interval of the headline figure."""
    column = next((c for c in comparison.columns if c.metric == comparison.headline), None)
    interval: Interval = policy.score or policy.mean_return
    if column is not None and column.metric in policy.metrics:
        interval = policy.metrics[column.metric]
        return f"{column.show(interval.low)} to {column.show(interval.high)}" if bounded(interval) else ""
    return f"{interval.low:.2f} to {interval.high:.2f}" if bounded(interval) else ""


def _table(comparison: Comparison, result: ScenarioResult) -> dict[str, Any]:
    """One scenario in full."""
    columns = [column for column in comparison.columns if any(column.metric in p.metrics for p in result.policies)]
    learner = learner_of(result)
    rows = []
    for policy in result.policies:
        difference = None if learner is None or result.samples < 2 else difference_of(learner, policy.policy)
        rows.append(
            {
                "policy": policy,
                "score": show_interval(policy.score),
                "figures": [
                    column.show(policy.metrics[column.metric].estimate) if column.metric in policy.metrics else ""
                    for column in columns
                ],
                "word": "" if difference is None else word_of(difference),
                "verdict": "" if learner is None or difference is None else verdict(comparison, learner, policy.policy),
            }
        )
    scored = any(policy.score is not None for policy in result.policies)
    return {
        "result": result,
        "columns": columns,
        "rows": rows,
        "scored": scored,
        "learner": learner,
        "bound": result.bound_score,
    }
