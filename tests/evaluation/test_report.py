"""The report: complete, self-contained, and honest in its words."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from evaluation.curves import Curve, Curves
from evaluation.figures import curves_figure, learning_figure
from evaluation.progress import LearningCurve, LearningPoint, StageStart
from evaluation.report import Report, render, write_report
from evaluation.results import Comparison, PolicyResult, ScenarioResult
from evaluation.statistics import Difference, Interval
from evaluation.words import against, findings, headline


def interval(estimate: float, width: float = 0.05) -> Interval:
    return Interval(estimate=estimate, low=estimate - width, high=estimate + width)


def difference(estimate: float) -> Difference:
    span, sure = interval(estimate), abs(estimate) > 0.05
    return Difference(
        mean=span, p_value=0.001 if sure else 0.5, pairs=64, better=estimate > 0.05, worse=estimate < -0.05
    )


def comparison(score: float = 0.4, scored: bool = True) -> Comparison:
    def policy(name: str, value: float, gaps: dict[str, float]) -> PolicyResult:
        return PolicyResult(
            policy=name,
            learned=name == "trained",
            score=interval(value) if scored else None,
            mean_return=interval(value),
            differences={other: difference(gap) for other, gap in gaps.items()},
        )

    policies = (
        policy("oracle", 1.0, {}),
        policy("trained", score, {"oracle": score - 1, "cash": score, "buy_and_hold": 0.01, "random": score + 1}),
        policy("buy_and_hold", score - 0.01, {}),
        policy("cash", 0.0, {}),
        policy("random", -1.0, {}),
    )
    scenarios = tuple(
        ScenarioResult(name=kind, title=f"The {kind} one", kind=kind, samples=64, policies=policies)
        for kind in ("held_out", "stress", "real")
    )
    return Comparison(
        domain="trading",
        title="Trading",
        noun="markets",
        seed=7,
        confidence=0.95,
        naive="cash",
        informed="oracle",
        learners=("trained",),
        scenarios=scenarios,
    )


LEARNING = LearningCurve(
    points=tuple(LearningPoint(steps=n * 1_000_000, score=interval(n / 10)) for n in range(5)),
    stages=(StageStart(steps=0, stage=0, name="easy"), StageStart(steps=2_000_000, stage=1, name="hard")),
    end=4_000_000,
)
CURVES = Curves(
    scenario="held_out",
    title="The held-out one",
    axis="Wealth",
    relative=True,
    worlds=8,
    curves=tuple(
        Curve(policy=name, mean=(1.0, 1.0 + gain), low=(1.0, 0.9 + gain), high=(1.0, 1.1 + gain))
        for name, gain in (("trained", 0.1), ("oracle", 0.5), ("cash", 0.0))
    ),
)
FULL = Report(
    title="a run <i>",
    comparison=comparison(),
    learning=LEARNING,
    stage_titles={"easy": "Easy Trading", "hard": "Hard Trading"},
    curves=(CURVES,),
    facts={"Model": "trading, version 3"},
    config="seed: 0",
    commands={"Train it again": "entrepot train trading"},
)


@pytest.fixture(scope="module")
def page() -> str:
    return render(FULL)


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_the_page_needs_no_network(page: str) -> None:
    """Nothing is loaded from elsewhere: no source, link or import but what is in the file."""
    html = without_scripts(page)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", html)
    assert "@import" not in html
    assert "cdn" not in html
    assert len(page) > 2_000_000  # plotly.js is in it


def test_the_picture_comes_first(page: str) -> None:
    """After the title, the first thing is the learning curve, then findings, curves, tables, commands, settings."""
    html = without_scripts(page)
    order = [
        "<h1>",
        'id="learning"',
        "<h2>What was found",
        'id="curve-0"',
        'id="standings"',
        "<h2>On new seeds of every stage",
        "<h2>Under stress",
        "<h2>On real data",
        "<h2>How to repeat it",
        "All settings of this run",
    ]
    places = [html.index(text) for text in order]
    assert places == sorted(places)


def test_everything_given_is_shown_and_escaped(page: str) -> None:
    """Facts, commands and settings appear; a title with markup cannot break the page."""
    html = without_scripts(page)
    assert all(text in html for text in ("trading, version 3", "entrepot train trading", "seed: 0"))
    assert "a run &lt;i&gt;" in html
    assert "<i>" not in html.replace('<i class="', "")


def test_a_report_can_do_without_most_parts(tmp_path: Path) -> None:
    """Without a curve, curriculum, scores or settings a page is still written, with no partial file beside it."""
    path = write_report(tmp_path / "report.html", Report(title="bare", comparison=comparison(scored=False)))
    html = without_scripts(path.read_text())
    assert 'id="learning"' not in html
    assert 'id="standings"' not in html
    assert "No score could be given" in html
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """Where the target cannot be replaced the error comes through and no partial file stays."""
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match="report"):
        write_report(tmp_path / "report.html", Report(title="bare", comparison=comparison()))
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_first_picture_shows_bands_and_bounds() -> None:
    """One band a stage, named; dashed lines at 0 and 1; the last score is written at the line's end."""
    figure = learning_figure(LEARNING, FULL.stage_titles, "cash", "oracle")
    bands = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    lines = sorted(shape.y0 for shape in figure.layout.shapes if shape.type == "line")
    assert [(band.x0, band.x1) for band in bands] == [(0, 2), (2, 4)]
    assert lines == [0, 1]
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert {"Easy Trading", "Hard Trading", "cash = 0", "oracle = 1", "<b>trained team 0.40</b>"} <= set(texts)


def test_end_labels_do_not_overlap() -> None:
    """Curves that end together have their names moved apart by at least a line of text."""
    together = CURVES.model_copy(
        update={"curves": tuple(c.model_copy(update={"mean": (1.0, 1.1)}) for c in CURVES.curves)}
    )
    figure = curves_figure(together, {}, ["trained"])
    heights = sorted(annotation.y for annotation in figure.layout.annotations)
    pixels = figure.layout.height - 90
    assert min(b - a for a, b in itertools.pairwise(heights)) * pixels >= 20


@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (0.4, "On markets it has never seen, the trained team earns 40% of what the oracle earns over cash."),
        (0.03, "On markets it has never seen, the trained team cannot be told apart from cash."),
        (-0.4, "On markets it has never seen, the trained team does worse than cash."),
    ],
)
def test_the_headline_claims_what_the_interval_allows(score: float, sentence: str) -> None:
    """Better, no telling, worse: by where the interval lies, not by the estimate alone."""
    assert headline(comparison(score)) == sentence


def test_findings_name_winners_and_losers() -> None:
    """Each kind of scenario gets a sentence: whom the team beats, whom it cannot be told from, who beats it."""
    found = findings(comparison())
    assert len(found) == 3
    assert found[0].startswith("On markets of the kinds it trained on, but never seen before: a score of 0.40 (0.35")
    learner = comparison().scenarios[0].of("trained")
    assert learner is not None
    assert against(learner) == (
        "It beats cash and random, cannot be told apart from buy and hold and falls short of oracle."
    )


def test_one_path_is_drawn_over_dates_without_a_band() -> None:
    """A single real path has its dates on the axis and no interval around it."""
    path = CURVES.model_copy(update={"worlds": 1, "dates": ("2010-01-04", "2010-01-05")})
    figure = curves_figure(path, {}, ["trained"])
    assert len(figure.data) == 3
    assert list(figure.data[-1].x) == ["2010-01-04", "2010-01-05"]
    assert len(curves_figure(CURVES, {}, ["trained"]).data) == 5


def test_wide_ranges_are_drawn_in_logarithms() -> None:
    """Where one curve multiplies another's wealth, the axis shows multiples."""
    wide = CURVES.model_copy(
        update={"curves": (*CURVES.curves, CURVES.curves[0].model_copy(update={"policy": "x", "mean": (1.0, 6.0)}))}
    )
    assert curves_figure(wide, {}, ["trained"]).layout.yaxis.type == "log"
    assert curves_figure(CURVES, {}, ["trained"]).layout.yaxis.type != "log"
