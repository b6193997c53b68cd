"""The report's pictures, in plotly: the learner between naive and informed, curves within an episode, standings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from evaluation.curves import Curves
from evaluation.progress import LearningCurve
from evaluation.results import Comparison
from evaluation.table import bounded, learner_of, policies_of

INK, MUTED, GRID = "#16202c", "#5f6b78", "#e6e9ee"
LEARNER, INFORMED, NAIVE = "#0b5ca8", "#b97a06", "#7b8794"
OTHERS = ("#178a66", "#8a4fa3", "#c2523c", "#4c7f99", "#8c8c3a")
FONT = "Inter, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
BANDS = ("rgba(11,92,168,0.035)", "rgba(11,92,168,0.085)")


def colours_of(names: Sequence[str], learners: Sequence[str], naive: str, informed: str) -> dict[str, str]:
    """One colour a policy, the same in every picture."""
    colours, free = {naive: NAIVE} | ({informed: INFORMED} if informed else {}), list(OTHERS)
    for name in names:
        if name not in colours:
            colours[name] = LEARNER if name in learners else free.pop(0) if free else MUTED
    return colours


def label_of(name: str) -> str:
    """A policy's name for people."""
    return name.replace("_", " ")


def learning_figure(
    curve: LearningCurve, titles: Mapping[str, str], naive: str, informed: str, noun: str = "worlds"
) -> go.Figure:
    """The learner's score over training, between naive (0) and informed (1), over bands of stages.

    Args:
        curve: Evaluations and stages.
        titles: Titles of the stages, by name.
        naive: Name of the policy that scores 0.
        informed: Name of the policy that scores 1.
        noun: What the worlds are, for people.
    """
    scale, unit = _scale(max(curve.end, 1))
    steps = [point.steps / scale for point in curve.points]
    score, low, high = ([getattr(p.score, end) for p in curve.points] for end in ("estimate", "low", "high"))
    figure = empty_figure(470)
    _bands(figure, curve, titles, scale)
    for level, colour in ((0.0, NAIVE), (1.0, INFORMED)):
        figure.add_hline(y=level, line={"color": colour, "width": 1.6, "dash": "dash"})
    figure.add_scatter(x=steps, y=high, mode="lines", line={"width": 0}, hoverinfo="skip")
    figure.add_scatter(
        x=steps, y=low, mode="lines", line={"width": 0}, fill="tonexty", fillcolor=_pale(LEARNER), hoverinfo="skip"
    )
    figure.add_scatter(
        x=steps,
        y=score,
        mode="lines+markers",
        line={"color": LEARNER, "width": 3},
        marker={"size": 6},
        customdata=np.column_stack([low, high]) if score else None,
        hovertemplate="score %{y:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]<br>%{x:.3g}"
        + unit
        + "<extra></extra>",
    )
    bottom, top = min(-0.15, *low, 0.0) - 0.05 if low else -0.2, max([1.12, *high]) + 0.02
    bottom = max(bottom, -1.3)
    labels = [(0.0, f"{label_of(naive)} = 0", NAIVE), (1.0, f"{label_of(informed)} = 1", INFORMED)]
    if score:
        labels.append((score[-1], f"<b>trained team {score[-1]:.2f}</b>", LEARNER))
    _end_labels(figure, labels, bottom, top)
    figure.update_xaxes(
        title=f"{curve.unit.capitalize()} of training{unit and ', in'}{unit}{unit and 's'}",
        range=[0, curve.end / scale or 1],
    )
    figure.update_yaxes(title=f"Score on validation {noun}", range=[bottom, top], dtick=0.25, tickformat=".2f")
    return figure


def _bands(figure: go.Figure, curve: LearningCurve, titles: Mapping[str, str], scale: float) -> None:
    """Stages as bands, named where there is room; numbers where there is little."""
    ends = [start.steps for start in curve.stages[1:]] + [curve.end]
    for start, end in zip(curve.stages, ends, strict=False):
        if end <= start.steps:
            continue
        figure.add_vrect(
            x0=start.steps / scale, x1=end / scale, fillcolor=BANDS[start.stage % 2], line_width=0, layer="below"
        )
        share, title = (end - start.steps) / max(curve.end, 1), titles.get(start.name, start.name)
        # A character of the small type takes some 0.8% of the width.
        text = title if share > 0.008 * len(title) else str(start.stage + 1) if share > 0.02 else ""
        figure.add_annotation(
            x=(start.steps + end) / 2 / scale,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            text=text,
            showarrow=False,
            font={"size": 12, "color": MUTED},
        )


def curves_figure(curves: Curves, colours: Mapping[str, str], learners: Sequence[str]) -> go.Figure:
    """Every policy within an episode; the learners with the interval of their mean."""
    figure = empty_figure(360)
    ends, values = [], np.array([curve.mean for curve in curves.curves])
    logarithmic = curves.relative and values.min() > 0 and values.max() / values.min() > 3
    shift = 1.0 if curves.relative and not logarithmic else 0.0
    for curve in sorted(curves.curves, key=lambda curve: curve.policy in learners):
        x = np.array(curves.dates) if curves.dates else np.arange(len(curve.mean))
        colour, learned = colours.get(curve.policy, MUTED), curve.policy in learners
        if learned and curves.worlds > 1:
            figure.add_scatter(x=x, y=np.array(curve.high) - shift, mode="lines", line={"width": 0}, hoverinfo="skip")
            figure.add_scatter(
                x=x,
                y=np.array(curve.low) - shift,
                mode="lines",
                line={"width": 0},
                fill="tonexty",
                fillcolor=_pale(LEARNER),
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=x,
            y=np.array(curve.mean) - shift,
            name=label_of(curve.policy),
            line={"color": colour, "width": 3 if learned else 1.8, "dash": "dash" if colour == NAIVE else "solid"},
        )
        name = label_of(curve.policy)
        ends.append((curve.mean[-1] - shift, f"<b>{name}</b>" if learned else name, colour))
    shown = values - shift
    margin = 0.06 * (shown.max() - shown.min() or 1.0)
    bottom, top = shown.min() - margin, shown.max() + margin
    if logarithmic:
        bottom, top = values.min() / 1.08, values.max() * 1.08
        ticks = [t for t in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50) if bottom <= t <= top]
        figure.update_yaxes(
            type="log",
            range=[np.log10(bottom), np.log10(top)],
            tickvals=ticks,
            ticktext=[f"{tick:g}x" for tick in ticks],
        )
        bottom, top = np.log10(bottom), np.log10(top)
        ends = [(float(np.log10(value)), text, colour) for value, text, colour in ends]
    else:
        figure.update_yaxes(range=[bottom, top], tickformat="+.0%" if curves.relative else None)
    _end_labels(figure, ends, bottom, top)
    figure.update_xaxes(title="" if curves.dates else "Steps of the episode")
    figure.update_yaxes(title=curves.axis)
    figure.update_layout(margin={"r": 110, "t": 12})
    return figure


def standing_figure(comparison: Comparison, colours: Mapping[str, str]) -> go.Figure | None:
    """Scores of all policies but the random one in every scenario that has scores; None if there is none."""
    rows = [result for result in comparison.scenarios if any(policy.score for policy in result.policies)]
    if not rows:
        return None
    figure = empty_figure(110 + 38 * len(rows))
    titles = [result.title for result in rows]
    lowest = 0.0
    for name in [*(n for n in policies_of(comparison) if n not in comparison.learners), *comparison.learners]:
        if name == "random" and name != comparison.naive:
            continue
        found = [(r.title, p.score) for r in rows if (p := r.of(name)) is not None and p.score is not None]
        learned = name in comparison.learners
        bars = [score if bounded(score) else None for _, score in found]
        figure.add_scatter(
            x=[score.estimate for _, score in found],
            y=[title for title, _ in found],
            mode="markers",
            name=label_of(name),
            showlegend=True,
            marker={
                "size": 13 if learned else 9,
                "color": colours.get(name, MUTED),
                "symbol": "circle"
                if learned
                else "line-ns"
                if name in (comparison.naive, comparison.informed)
                else "diamond",
                "line": {
                    "width": 2.5 if name in (comparison.naive, comparison.informed) else 0,
                    "color": colours.get(name),
                },
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [score.high - score.estimate if score else 0 for score in bars],
                "arrayminus": [score.estimate - score.low if score else 0 for score in bars],
                "color": colours.get(name),
                "thickness": 2,
                "width": 0,
            }
            if learned
            else None,
            hovertemplate="%{y}: %{x:.2f}<extra>" + label_of(name) + "</extra>",
        )
        lowest = min([lowest, *(score.low if learned and bounded(score) else score.estimate for _, score in found)])
    figure.update_yaxes(categoryorder="array", categoryarray=titles[::-1], showgrid=True, automargin=True)
    figure.update_xaxes(
        range=[max(lowest - 0.08, -1.3), 1.12],
        title=f"Score: 0 is {label_of(comparison.naive)}, 1 is {label_of(comparison.informed)}",
        zeroline=True,
        zerolinecolor=NAIVE,
    )
    figure.update_layout(
        showlegend=True,
        margin={"t": 36, "r": 24, "l": 10},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    )
    return figure


def policy_colours(comparison: Comparison) -> dict[str, str]:
    """Colours of all policies of a comparison."""
    names = [*policies_of(comparison), *(p.policy for r in comparison.scenarios if (p := learner_of(r)))]
    return colours_of(names, comparison.learners, comparison.naive, comparison.informed)


def empty_figure(height: int) -> go.Figure:
    """An empty picture in the report's style."""
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=height,
        font={"family": FONT, "size": 14, "color": INK},
        margin={"l": 64, "r": 150, "t": 34, "b": 52},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        hoverlabel={"font": {"family": FONT}},
    )
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "title": {"font": {"size": 13, "color": MUTED}}}
    figure.update_xaxes(**axis, showgrid=False, ticks="outside", tickcolor=GRID)
    figure.update_yaxes(**axis)
    return figure


def _end_labels(figure: go.Figure, labels: Sequence[tuple[float, str, str]], bottom: float, top: float) -> None:
    """Names at the right end of lines, moved apart where they would overlap."""
    gap = 21.0 / max(1.0, float(figure.layout.height) - 90.0)
    placed: list[float] = []
    for value, text, colour in sorted(labels):
        height = (min(max(value, bottom), top) - bottom) / (top - bottom)
        height = max(height, placed[-1] + gap) if placed else height
        placed.append(height)
        figure.add_annotation(
            x=1.01,
            xref="paper",
            xanchor="left",
            y=height,
            yref="paper",
            yanchor="middle",
            text=text,
            showarrow=False,
            font={"color": colour, "size": 14},
        )


def _scale(steps: int) -> tuple[float, str]:
    """A divisor for large counts and its name."""
    return (1e6, " million") if steps >= 2e6 else (1e3, " thousand") if steps >= 2e4 else (1.0, "")


def _pale(colour: str) -> str:
    """The colour, nearly transparent."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"
