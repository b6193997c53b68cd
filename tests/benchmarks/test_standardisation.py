"""Tests of what mends RLlib's advantages."""

from __future__ import annotations

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from benchmarks.standardisation import StandardiseRealSteps


def test_advantages_are_standardised_by_real_steps() -> None:
    """Whatever the artificial steps did to mean and deviation is undone: real steps have mean 0 and deviation 1."""
    real = np.array([1.0, 2.0, 4.0, -3.0])
    everything = np.array([*real[:2], 50.0, *real[2:], -70.0])
    mask = np.array([True, True, False, True, True, False])
    spoilt = (everything - everything.mean()) / everything.std()
    columns = {Postprocessing.ADVANTAGES: torch.tensor(spoilt), Columns.LOSS_MASK: torch.tensor(mask)}
    mended = StandardiseRealSteps()(batch={"shared": columns})["shared"][Postprocessing.ADVANTAGES].numpy()
    np.testing.assert_allclose(mended[mask], (real - real.mean()) / real.std(), atol=1e-12)
