"""What a comparison shows, in plain sentences that claim no more than the intervals allow."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.figures import label_of
from evaluation.results import Comparison, PolicyResult, ScenarioResult
from evaluation.statistics import Interval
from evaluation.table import bounded, difference_of, learner_of, word_of

KINDS = {
    "held_out": "On {noun} of the kinds it trained on, but never seen before",
    "stress": "Under conditions worse than any it trained on",
    "real": "On real data that played no part in training",
}


def findings(comparison: Comparison) -> list[str]:
    """One sentence or two for each kind of scenario, held-out ones first."""
    found = []
    for kind, meaning in KINDS.items():
        together = next((result for result in comparison.overall if result.kind == kind), None)
        single = [result for result in comparison.scenarios if result.kind == kind and result.samples > 1]
        result = together or (single[0] if single else None)
        if result is not None and (learner := learner_of(result)) is not None:
            found.append(f"{meaning.format(noun=comparison.noun)}: {standing(comparison, learner)} {against(learner)}")
    return found


def standing(comparison: Comparison, learner: PolicyResult) -> str:
    """Where the learner is between naive and informed, or what it earns where there is no score."""
    naive, informed = label_of(comparison.naive), label_of(comparison.informed)
    if learner.score is not None:
        share = f"{learner.score.estimate:.2f}"
        return f"a score of {share}{_between(learner.score)}, where {naive} is 0 and {informed} is 1."
    column = next((c for c in comparison.columns if c.metric == comparison.headline), None)
    if column is not None and column.metric in learner.metrics:
        return f"{column.title.lower()} {column.show(learner.metrics[column.metric].estimate)}."
    return f"mean return {learner.mean_return.estimate:.2f}{_between(learner.mean_return)}."


def against(learner: PolicyResult) -> str:
    """Which yardsticks it beats, which beat it, and which it cannot be told from."""
    groups: dict[str, list[str]] = {"better": [], "unclear": [], "worse": []}
    for name in learner.differences:
        difference = difference_of(learner, name)
        if difference is not None:
            groups[word_of(difference)].append(label_of(name))
    parts = []
    if groups["better"]:
        parts.append(f"beats {_listed(groups['better'])}")
    if groups["unclear"]:
        parts.append(f"cannot be told apart from {_listed(groups['unclear'])}")
    if groups["worse"]:
        parts.append(f"falls short of {_listed(groups['worse'])}")
    return f"It {_listed(parts)}." if parts else ""


def headline(comparison: Comparison) -> str:
    """The report's first sentence."""
    results: list[ScenarioResult] = [*comparison.overall, *comparison.scenarios]
    result = next((r for r in results if r.kind == "held_out" and learner_of(r) is not None), None)
    learner = None if result is None else learner_of(result)
    if learner is None or learner.score is None:
        if learner is not None and not comparison.informed and comparison.naive in learner.differences:
            word = {"better": "earns more than", "worse": "earns less than", "unclear": "cannot be told apart from"}
            said = word[word_of(learner.differences[comparison.naive])]
            return (
                f"On {comparison.noun} it has never seen, the trained team {said} {label_of(comparison.naive)} actions."
            )
        return "No score could be given: the comparison below says what was earned."
    informed, naive, score = label_of(comparison.informed), label_of(comparison.naive), learner.score
    if score.high < 0:
        return f"On {comparison.noun} it has never seen, the trained team does worse than {naive}."
    if score.low <= 0:
        return f"On {comparison.noun} it has never seen, the trained team cannot be told apart from {naive}."
    share = f"{100 * score.estimate:.0f}% of what the {informed} earns over {naive}"
    return f"On {comparison.noun} it has never seen, the trained team earns {share}."


def _between(interval: Interval) -> str:
    """Such as ` (0.30 to 0.38)`; nothing where the interval is unknown."""
    return f" ({interval.low:.2f} to {interval.high:.2f})" if bounded(interval) else ""


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
