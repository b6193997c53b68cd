"""The ranking of a sweep as a table."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tune.sweep import SweepResult


def ranking_table(found: SweepResult) -> RenderableType:
    """All trials, the best first, with what each tried, and what to type next."""
    table = Table(title=f"{found.name}: trials by their best score", box=box.SIMPLE_HEAD, title_justify="left")
    paths = list(dict.fromkeys(path for trial in found.ranking for path in trial.values))
    for heading in ("rank", "score", "iterations", "status"):
        table.add_column(heading, justify="right" if heading != "status" else "left")
    for path in paths:
        table.add_column(path, justify="right", overflow="fold")
    for trial in found.ranking:
        score = "" if trial.score is None else f"{trial.score:.3f}"
        values = [show(trial.values.get(path)) for path in paths]
        style = "bold" if trial.rank == 1 else None
        table.add_row(str(trial.rank), score, str(trial.iterations), trial.status, *values, style=style)
    domain = found.config.domain
    following = Text.assemble(
        ("Train with the best: ", "dim"), f"entrepot train {domain} --config {found.best}", overflow="fold"
    )
    return Group(table, following)


def show(value: object) -> str:
    """A value, numbers to four significant figures."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
