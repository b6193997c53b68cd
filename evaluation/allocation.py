"""Pictures of resource allocation: who had how much of the cluster when, how busy it was, how evenly it was shared."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from envs.resource_allocation import AllocationEnv, AllocationTask
from envs.resource_allocation.env import GROUP
from evaluation.figures import INK, LEARNER, MUTED, OTHERS, empty_figure, label_of, policy_colours
from evaluation.results import Comparison
from evaluation.suite import Suite
from evaluation.views import View
from evaluation.worlds import SuiteWorlds
from policies.base import Policy
from policies.heuristics import baselines

Floats = NDArray[np.float64]
WORLDS = 16


def views(suite: Suite, env_config: Any, policy: Policy, comparison: Comparison) -> list[View]:
    """One world's allocation over time, how busy many worlds are beside the informed rule's, and tenants' service."""
    scenario = suite.scenario((suite.measure.scenarios or (suite.scenarios[-1].name,))[0])
    worlds = SuiteWorlds(suite.domain, env_config, max_worlds=WORLDS)
    env = cast(AllocationEnv, worlds.of(scenario))
    task = cast(AllocationTask, scenario.tasks[0])
    informed = baselines(suite.domain).policies[comparison.informed]()
    mine, other = (_followed(env, player, task, suite.seed) for player in (worlds.fit(policy, env), informed))
    kinds = list(env.cluster_of(task).tenants)
    who = f"{scenario.title}: the trained team"
    return [
        View(
            "Who had how much",
            f"{who}, one world: the share of the cluster that each tenant's jobs took, of the resource that they took "
            "most of, step by step. What lies above 100% is taken of different resources.",
            _stacked(mine, env, kinds),
        ),
        View(
            "How busy the cluster was",
            f"{who} beside {label_of(comparison.informed)}, mean of {env.num_worlds} worlds: what ran, over what there "
            "was, mean over resources.",
            _lines({comparison.learners[0]: mine.used, comparison.informed: other.used}, comparison),
        ),
        View(
            "How evenly it was shared",
            "Of each tenant the share of the value it could have had done that was done, from the worst served to the "
            f"best, mean of {env.num_worlds} worlds.",
            _service({comparison.learners[0]: mine.service, comparison.informed: other.service}, comparison),
        ),
    ]


class _Course:
    """An episode: dominant shares `[T, A]` and kinds `[A]` of the first world, use `[T]` and service `[A]` of all."""

    def __init__(self, shares: Floats, kinds: NDArray[np.int64], used: Floats, service: Floats) -> None:
        self.shares, self.kinds, self.used, self.service = shares, kinds, used, service


def _followed(env: AllocationEnv, policy: Policy, task: AllocationTask, seed: int) -> _Course:
    """Plays an episode but for its last step, which would begin the next."""
    env.set_tasks(task)
    policy.bind(env)
    seen, state, rng = env.reset(seed), None, np.random.default_rng(seed)
    shares, used = [], []
    for _ in range(task.max_steps - 1):
        actions, state = policy.act(seen, state, deterministic=True, rng=rng)
        dominant, before = env.slots.dominant.copy(), (env.accounts.used.copy(), env.accounts.there.copy())
        seen = env.step(actions).observation
        tasks = env.granted.sum(axis=1).reshape(dominant.shape)
        shares.append((tasks * dominant).sum(axis=2)[0])
        there = env.accounts.there - before[1]
        used.append(float(np.mean((env.accounts.used - before[0]) / np.where(there > 0, there, 1.0))))
    service = np.where(env.alive[GROUP], env.accounts.service(), np.nan)
    ranked = np.sort(service, axis=1)  # who is not there comes last
    ranked = ranked[:, np.isfinite(ranked).any(axis=0)]
    return _Course(np.array(shares), env.future.kind[0], np.array(used), np.nanmean(ranked, axis=0))


def _stacked(course: _Course, env: AllocationEnv, kinds: list[str]) -> go.Figure:
    """An area a tenant, coloured by its kind."""
    figure = empty_figure(360)
    colours = [LEARNER, *OTHERS]
    shown: set[int] = set()
    for tenant in range(course.shares.shape[1]):
        if not course.shares[:, tenant].any():
            continue
        kind = int(course.kinds[tenant])
        figure.add_scatter(
            x=np.arange(1, len(course.shares) + 1),
            y=100 * course.shares[:, tenant],
            mode="lines",
            stackgroup="all",
            name=kinds[kind],
            legendgroup=kinds[kind],
            showlegend=kind not in shown,
            line={"width": 0.8, "color": "white"},
            fillcolor=colours[kind % len(colours)],
            hovertemplate=f"{env.groups[GROUP].agent_ids[tenant]}, {kinds[kind]}: %{{y:.0f}}%<extra></extra>",
        )
        shown.add(kind)
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.12})
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text="share of the cluster [%]", rangemode="tozero")
    return figure


def _lines(courses: dict[str, Floats], comparison: Comparison) -> go.Figure:
    figure, colours = empty_figure(300), policy_colours(comparison)
    for name, values in courses.items():
        figure.add_scatter(
            x=np.arange(1, len(values) + 1),
            y=100 * values,
            mode="lines",
            name=label_of(name),
            line={"color": colours.get(name, MUTED), "width": 2},
        )
    figure.update_layout(showlegend=True, legend={"orientation": "h", "y": 1.12})
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text="utilisation [%]", rangemode="tozero")
    return figure


def _service(levels: dict[str, Floats], comparison: Comparison) -> go.Figure:
    figure, colours = empty_figure(300), policy_colours(comparison)
    for name, values in levels.items():
        figure.add_bar(
            x=[f"{place}." for place in range(1, len(values) + 1)],
            y=100 * values,
            name=label_of(name),
            marker={"color": colours.get(name, MUTED), "line": {"width": 0.5, "color": INK}},
        )
    figure.update_layout(barmode="group", showlegend=True, legend={"orientation": "h", "y": 1.12})
    figure.update_xaxes(title_text="tenants, the worst served first")
    figure.update_yaxes(title_text="service [%]", rangemode="tozero")
    return figure
