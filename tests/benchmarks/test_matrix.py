"""Tests of the matrix of algorithms and domains, by cells of seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import matrix


def test_cells_are_made_once_and_summed_up(ray_local: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell is trained and played, and read from its file the next time."""
    monkeypatch.setattr(matrix, "FOLDER", tmp_path)
    options = {"domains": ["cue"], "algorithms": ["ppo", "qmix"], "seeds": [0], "minutes": 0.01}
    first = matrix.run(**options, progress=lambda line: None)
    assert {path.stem for path in tmp_path.iterdir()} == {
        "cue_ppo_0",
        "cue_qmix_0",
        "cue_rules_continuous",
        "cue_rules_discrete",
    }
    monkeypatch.setattr(matrix, "learn", lambda *cell: pytest.fail(f"{cell} is trained again"))
    again = matrix.run(**options, progress=lambda line: None)
    assert again.bars == first.bars
    named = {bar.name: bar for bar in first.bars}
    assert named["cue, ppo: score"].low < named["cue, ppo: score"].value < named["cue, ppo: score"].high
    assert named["cue, ppo: untrained"].value < 1


def test_scores_are_means_over_scenarios_and_seeds() -> None:
    """Naive 0, informed 1, halfway between them a half; scenarios count alike, whatever their units."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 1, 200)
    rules = {
        "naive": "none",
        "informed": "all",
        "returns": {
            "small": {"none": luck.tolist(), "all": (luck + 2).tolist()},
            "large": {"none": (100 * luck).tolist(), "all": (100 * luck + 400).tolist()},
        },
    }
    cells = [
        {"returns": {"small": {"me": (luck + 2 * a).tolist()}, "large": {"me": (100 * luck + 400 * b).tolist()}}}
        for a, b in ((0.2, 0.4), (0.4, 0.6))
    ]
    mean, low, high = matrix._score(cells, rules, "me")
    assert mean == pytest.approx((0.3 + 0.5) / 2)
    assert low == pytest.approx(mean)  # in pairs luck cancels
    assert high == pytest.approx(mean)
    assert matrix._score([rules], rules, "all")[0] == pytest.approx(1.0)
