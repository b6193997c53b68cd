"""A comparison as tables for the terminal: honest, with intervals, best first."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluation.results import ALL_RULES, Comparison, FrontResult, PolicyResult, ScenarioResult
from evaluation.statistics import Difference, Interval
from evaluation.suite import fixed

MEAN_SCORE = "Mean score"
MOST_COLUMNS = 7
"""Figures beside one another in a terminal, at most, the bound included: of more policies those learned, and the
strongest of the others."""
MARKS = {"better": "▲", "worse": "▼", "unclear": "≈"}


def table_of(comparison: Comparison, *, details: bool = False) -> RenderableType:
    """The scenarios of each kind taken together, then every scenario in a line, and how to read it.

    Args:
        comparison: What was found.
        details: A table of its own for every scenario, with all figures.
    """
    parts: list[RenderableType] = [scenario_table(comparison, result) for result in comparison.overall]
    parts.append(summary_table(comparison))
    if details or not comparison.informed:
        parts += [scenario_table(comparison, result) for result in comparison.scenarios]
    if comparison.front is not None:
        parts.append(front_table(comparison.front))
    percent = f"{100 * comparison.confidence:.0f}%"
    measure = f"Score: 0 is {comparison.naive}, 1 is {comparison.informed}" + known(comparison)
    if measure_of(comparison) == MEAN_SCORE and any(not scored(result) for result in comparison.scenarios):
        measure += "; where these two hardly differ there is none, and mean returns are shown, in parentheses"
    if not comparison.informed:
        measure = "There are no scores, as the domain brings no yardsticks: returns are shown as they are"
    parts.append(
        Text(
            f"{measure}; {percent} intervals in brackets. On the same "
            f"worlds the learner is {MARKS['better']} better, {MARKS['worse']} worse beyond chance, "
            f"{MARKS['unclear']} too close to tell.",
            style="dim",
        )
    )
    return Group(*parts)


def scored(result: ScenarioResult) -> bool:
    """Whether a scenario has scores: its informed policy beats the naive one beyond chance."""
    return any(policy.score is not None for policy in result.policies)


def known(comparison: Comparison) -> str:
    """What else is known of what can be earned: by whom with the agents' own information, and by nobody at all."""
    said = ""
    if comparison.attainable:
        said += f"; {comparison.attainable} sees no more than the agents do"
    if any(result.bound is not None for result in comparison.scenarios):
        said += "; nobody exceeds the bound"
    return said


def summary_table(comparison: Comparison) -> Table:
    """A row a scenario, a column a policy: the headline figure, or the score where there is none.

    Where there are too many policies, the strongest rule of each scenario has a column, and the report has the rest.
    """
    names = list(dict.fromkeys([*comparison.learners, *policies_of(comparison)]))
    bounds = measure_of(comparison) == MEAN_SCORE and any(r.bound_score is not None for r in comparison.scenarios)
    few = len(names) + bounds <= MOST_COLUMNS
    title = f"{measure_of(comparison)} by scenario" + ("" if few else ", beside the strongest rule")
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("scenario")
    for name in names if few else comparison.learners:
        table.add_column(name, justify="right", style="bold" if name in comparison.learners else None)
    if not few:
        table.add_column("strongest rule", justify="right")
    if bounds:
        table.add_column("bound", justify="right", style="dim")
    for result in comparison.scenarios:
        learner = learner_of(result)
        cells = []
        for name in names if few else comparison.learners:
            policy = result.of(name)
            mark = "" if learner is None or policy is None else mark_of(learner, name)
            cells.append("" if policy is None else f"{show_headline(comparison, policy)} {mark}".rstrip())
        if not few:
            rule = strongest(comparison, result)
            mark = "" if learner is None or rule is None else mark_of(learner, rule.policy)
            cells.append("" if rule is None else f"{rule.policy} {show_headline(comparison, rule)} {mark}".rstrip())
        if bounds:
            cells.append("" if result.bound_score is None else fixed(result.bound_score, 2))
        table.add_row(result.title, *cells)
    return table


def strongest(comparison: Comparison, result: ScenarioResult) -> PolicyResult | None:
    """The policy that returns most in a scenario, of those that were not learned and are neither 0 nor 1."""
    others = [
        policy
        for policy in result.policies
        if not policy.learned and policy.policy not in (comparison.naive, comparison.informed)
    ]
    return max(others, key=lambda policy: policy.mean_return.estimate, default=None)


def measure_of(comparison: Comparison) -> str:
    """What a summary shows of each policy: the headline figure, else the score, else the return."""
    column = next((c for c in comparison.columns if c.metric == comparison.headline), None)
    if column is not None:
        return column.title
    return MEAN_SCORE if comparison.informed else "Mean return"


def scenario_table(comparison: Comparison, result: ScenarioResult) -> Table:
    """One scenario, a row a policy, all figures."""
    shown = [column for column in comparison.columns if any(column.metric in p.metrics for p in result.policies)]
    table = Table(title=f"{result.title} ({result.samples} samples)", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("policy")
    table.add_column("score" if scored(result) else "mean return", justify="right")
    for column in shown:
        table.add_column(column.title.lower(), justify="right")
    learner = learner_of(result)
    if learner is not None:
        table.add_column(f"{learner.policy} is", justify="right")
    for policy in result.policies:
        cells = [policy.policy, show_interval(policy.score if scored(result) else policy.mean_return)]
        for column in shown:
            figure = policy.metrics.get(column.metric)
            cells.append("" if figure is None else column.show(figure.estimate))
        if learner is not None:
            cells.append(verdict(comparison, learner, policy.policy))
        table.add_row(*cells, style="bold" if policy.learned else None)
    if result.bound is not None:
        shown_bound = result.bound_score if scored(result) else result.bound
        table.add_row("the bound", "" if shown_bound is None else fixed(shown_bound, 2), style="dim")
    return table


def front_table(front: FrontResult) -> Table:
    """A row a policy: the volume of its front, that of all yardsticks together being 1, and how much nobody beats."""
    table = Table(title=f"{front.title} ({front.samples} samples)", box=box.SIMPLE_HEAD, title_justify="left")
    for heading in ("policy", "hypervolume", "points nobody beats"):
        table.add_column(heading, justify="left" if heading == "policy" else "right")
    unit = next(policy.volume.estimate for policy in front.policies if policy.policy == ALL_RULES) or 1.0
    learner = next((policy for policy in front.policies if policy.learned), None)
    if learner is not None:
        table.add_column(f"{learner.policy} is", justify="right")
    for policy in front.policies:
        cells = [
            policy.policy,
            show_interval(_over(policy.volume, unit), 3),
            f"{sum(policy.best)} of {len(policy.best)}",
        ]
        gap = None if learner is None else learner.differences.get(policy.policy)
        if learner is not None:
            mark = MARKS[
                "unclear" if gap is None else "better" if gap.low > 0 else "worse" if gap.high < 0 else "unclear"
            ]
            cells.append("" if gap is None else f"{mark} {show_interval(_over(gap, unit), 3)}")
        table.add_row(*cells, style="bold" if policy.learned else None)
    return table


def _over(interval: Interval, unit: float) -> Interval:
    return Interval(estimate=interval.estimate / unit, low=interval.low / unit, high=interval.high / unit)


def policies_of(comparison: Comparison) -> list[str]:
    """Names of all policies, from the naive one to the informed one, as good as they are on the whole."""
    ranked = [
        result.policy for scenario in (*comparison.overall, *comparison.scenarios) for result in scenario.policies
    ]
    return list(dict.fromkeys(ranked))[::-1]


def learner_of(result: ScenarioResult) -> PolicyResult | None:
    """The best learned policy, as it is served."""
    return next((policy for policy in result.policies if policy.learned and not policy.sampled), None)


def show_interval(interval: Interval | None, digits: int = 2) -> str:
    """`0.41 [0.35, 0.47]`; only the estimate where there is no interval, nothing where there is no score."""
    if interval is None:
        return ""
    if not bounded(interval) or interval.high - interval.low < 10.0**-digits / 2:
        return fixed(interval.estimate, digits)
    return f"{fixed(interval.estimate, digits)} [{fixed(interval.low, digits)}, {fixed(interval.high, digits)}]"


def bounded(interval: Interval) -> bool:
    """Whether anything is known about how far off the estimate may be."""
    return bool(abs(interval.low) != float("inf") and abs(interval.high) != float("inf"))


def show_headline(comparison: Comparison, policy: PolicyResult) -> str:
    """The headline figure as text, else the score, else the mean return, in parentheses among scores."""
    column = next((c for c in comparison.columns if c.metric == comparison.headline), None)
    if column is not None and column.metric in policy.metrics:
        return column.show(policy.metrics[column.metric].estimate)
    if policy.score is None and comparison.informed:
        return f"({fixed(policy.mean_return.estimate, 2)})"
    return fixed((policy.score or policy.mean_return).estimate, 2)


def difference_of(learner: PolicyResult, yardstick: str) -> Difference | None:
    """The learner's gain over a yardstick: of the headline figure where there is one."""
    return learner.headline_differences.get(yardstick, learner.differences.get(yardstick))


def mark_of(learner: PolicyResult, yardstick: str) -> str:
    """One sign for better, worse or too close to tell; none against itself."""
    difference = difference_of(learner, yardstick)
    return "" if difference is None else MARKS[word_of(difference)]


def word_of(difference: Difference) -> str:
    """What may be claimed of a difference."""
    return "better" if difference.better else "worse" if difference.worse else "unclear"


def verdict(comparison: Comparison, learner: PolicyResult, yardstick: str) -> str:
    """Such as `▲ better by 3.1%`."""
    difference = difference_of(learner, yardstick)
    if difference is None:
        return ""
    column = next((c for c in comparison.columns if c.metric == comparison.headline), None)
    size = abs(difference.mean.estimate)
    of_headline = column is not None and yardstick in learner.headline_differences
    shown = column.show(size) if of_headline and column is not None else f"{size:.2f}"
    word = word_of(difference)
    if word == "unclear":
        return f"{MARKS[word]} too close to tell"
    return f"{MARKS[word]} {word} by {shown}"
