"""A comparison as tables for the terminal: honest, with intervals, best first."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluation.results import Comparison, PolicyResult, ScenarioResult
from evaluation.statistics import Difference, Interval


def table_of(comparison: Comparison) -> RenderableType:
    """All scenarios, those taken together first, and how to read them."""
    results = [*comparison.overall, *comparison.scenarios]
    reading = (
        f"Score: 0 is {comparison.naive}, 1 is {comparison.informed}. In brackets {100 * comparison.confidence:.0f}% "
        "intervals. The last column is the learner's gain on the same worlds: + better, - worse beyond chance, = no "
        "telling."
    )
    return Group(*(scenario_table(comparison, result) for result in results), Text(reading, style="dim"))


def scenario_table(comparison: Comparison, result: ScenarioResult) -> Table:
    """One scenario, a row a policy."""
    shown = [column for column in comparison.columns if any(column.metric in p.metrics for p in result.policies)]
    table = Table(title=f"{result.title}  ({result.samples} samples)", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("policy")
    table.add_column("score", justify="right")
    if not shown:
        table.add_column("return", justify="right")
    for column in shown:
        table.add_column(column.title.lower(), justify="right")
    learner = next((p for p in result.policies if p.learned), None)
    if learner is not None:
        table.add_column(f"{learner.policy} against it", justify="right")
    for policy in result.policies:
        cells = [policy.policy, show_interval(policy.score)]
        if not shown:
            cells.append(show_interval(policy.mean_return))
        for column in shown:
            figure = policy.metrics.get(column.metric)
            cells.append("" if figure is None else column.show(figure.estimate))
        if learner is not None:
            cells.append(verdict(learner, policy.policy))
        table.add_row(*cells, style="bold" if policy.learned else None)
    return table


def show_interval(interval: Interval | None, digits: int = 2) -> str:
    """`0.41 [0.35, 0.47]`; only the estimate where there is no interval, nothing where there is no score."""
    if interval is None:
        return ""
    if interval.low == -float("inf") or interval.high == float("inf") or interval.low == interval.high:
        return f"{interval.estimate:.{digits}f}"
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def verdict(learner: PolicyResult, yardstick: str) -> str:
    """The learner's gain over a yardstick, with a sign that says whether it is beyond chance."""
    difference = learner.differences.get(yardstick)
    if difference is None:
        return ""
    return f"{sign(difference)} {difference.mean.estimate:+.2f}"


def sign(difference: Difference) -> str:
    """+ for better, - for worse, = for no telling."""
    return "+" if difference.better else "-" if difference.worse else "="
