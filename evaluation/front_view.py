"""A front as a picture for the report."""

from __future__ import annotations

from itertools import combinations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from evaluation.figures import INK, MUTED, empty_figure, label_of, policy_colours
from evaluation.results import ALL_RULES, Comparison
from evaluation.views import View


def front_view(comparison: Comparison) -> list[View]:
    """The front in every pair of objectives; nothing if none was asked for."""
    front = comparison.front
    if front is None:
        return []
    pairs = list(combinations(range(len(front.objectives)), 2))
    figure: go.Figure = make_subplots(rows=1, cols=len(pairs), horizontal_spacing=0.09)
    figure.update_layout(empty_figure(380).layout)
    colours = policy_colours(comparison)
    for column, (across, up) in enumerate(pairs, start=1):
        for policy in front.policies:
            if policy.policy in (ALL_RULES, "random"):
                continue
            points = sorted(zip(policy.points, front.weights, strict=False), key=lambda pair: pair[0][across])
            figure.add_scatter(
                x=[point[across] for point, _ in points],
                y=[point[up] for point, _ in points],
                mode="markers",
                name=label_of(policy.policy),
                legendgroup=policy.policy,
                showlegend=column == 1,
                marker={
                    "size": 10 if policy.learned else 7,
                    "symbol": "circle" if policy.learned else "diamond",
                    "color": colours.get(policy.policy, MUTED),
                    "line": {"width": 1, "color": INK if policy.learned else "white"},
                },
                text=[", ".join(f"{key} {value:g}" for key, value in weights.items()) for _, weights in points],
                hovertemplate="%{text}<br>%{x:.3g}, %{y:.3g}<extra>" + label_of(policy.policy) + "</extra>",
                row=1,
                col=column,
            )
        figure.update_xaxes(title_text=front.objectives[across], row=1, col=column)
        figure.update_yaxes(title_text=front.objectives[up], row=1, col=column)
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.15})
    caption = (
        f"{front.description} Each point is one weighting of the objectives, mean of {front.samples} worlds; more is "
        "better in all of them. One network, which sees the weights, draws all points of the trained team."
    )
    return [View(front.title, caption.strip(), figure)]
