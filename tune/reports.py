"""Writes an experiment's report, at its end or anew from what it left on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.curves import Curves, draw_suite
from evaluation.progress import LearningCurve
from evaluation.report import write_report
from evaluation.results import Comparison
from policies.bundle import load_bundle
from rllib_configs.errors import ConfigError
from rllib_configs.schema import ExperimentConfig
from tune import history, paths
from tune.suites import suite_of
