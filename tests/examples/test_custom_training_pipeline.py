"""The brief's pipeline snippet runs with only its import lines changed."""

from __future__ import annotations

import ast
from functools import partial
from pathlib import Path

import pytest

from tune import pipeline

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "custom_training_pipeline.py"
BRIEF = """
pipeline = create_trading_pipeline(
    num_agents=4,
    total_episodes=10000,
    use_curriculum=True,
    experiment_name="my_trading_experiment"
)

results = asyncio.run(pipeline.train())
print(f"Best performance: {results['best_eval_score']:.3f}")
"""
CURRICULUM = """
domain: trading
stages:
  - {name: short, title: Short, promote_at: 0.5, task: {max_steps: 32, market_regime: bull, drift_scale: 4}}
"""
SUITE = """
domain: trading
scenarios:
  - {name: short, title: Short, kind: held_out, task: {max_steps: 32, market_regime: bull, drift_scale: 4}}
"""
SMALL = {
    "stop.episodes": 8,
    "env.symbols": ["A", "B"],
    "runners.worlds": 4,
    "ppo.minibatch": 512,
    "evaluation.interval": 1,
    "evaluation.episodes": 64,
    "evaluation.final_episodes": 64,
    "tracking.enabled": False,
}


def statements(source: str) -> list[str]:
    """The code without imports, docstrings and layout."""
    body = [node for node in ast.parse(source).body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    return [ast.unparse(n) for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]


def test_only_the_imports_differ() -> None:
    """Statement by statement, the example is the brief's."""
    assert statements(EXAMPLE.read_text()) == statements(BRIEF)


@pytest.mark.timeout(400)
def test_it_runs(
    ray_local: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With few and short episodes in place of thousands it trains, examines and prints a score."""
    paths = {"resources.results": str(tmp_path)}
    for key, text in (("curriculum", CURRICULUM), ("evaluation.suite", SUITE)):
        file = tmp_path / f"{key}.yaml"
        file.write_text(text)
        paths[key] = str(file)
    small = partial(pipeline.create_trading_pipeline, settings={**SMALL, **paths}, quiet=True)
    monkeypatch.setattr(pipeline, "create_trading_pipeline", small)
    exec(compile(EXAMPLE.read_text(), str(EXAMPLE), "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert float(printed.partition("Best performance: ")[2]) == pytest.approx(0.0, abs=10.0)
    assert (tmp_path / "my_trading_experiment" / "report.html").is_file()
