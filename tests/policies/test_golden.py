"""Golden observations prove something: every module has some, of its shapes, and each row stands for itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from policies.bundle import BundleError, load_bundle
from policies.golden import check_close
from tests.policies.forging import before, regraphed, signed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda golden: golden.clear(), "no golden observations for the module 'm'"),
        (lambda golden: golden["m"].update(observations=[[0.0] * 4] * 4), r"shape \(4, 4\), allowed is \(4, 3\)"),
        (lambda golden: golden["m"]["observations"][1].pop(), r"m.observations: got shape \(4, 'different widths'\)"),
        (lambda golden: golden["m"]["action_mask"].pop(), r"m.action_mask: got shape \(3, 2\), allowed is \(4, 2\)"),
        (lambda golden: golden["m"].update(action_dist_inputs=[[]] * 4), r"m.action_dist_inputs: got shape \(4, 0\)"),
        (lambda golden: golden["m"].update(observations=[]), r"golden.m.observations \(got \[\]"),
    ],
)  # fmt: skip
def test_bundle_without_proof_is_refused(plain: Path, change: Callable[[Any], object], said: str) -> None:
    """Without golden rows of the right shapes for each module nothing would be verified."""
    bundle = signed(plain, lambda found: change(found["golden"]))
    with pytest.raises(BundleError, match=said):
        load_bundle(bundle, verify=True)


def test_rows_stand_for_themselves(plain: Path) -> None:
    """A network whose answer to a row depends on the rows beside it is refused: requests share calls."""

    def mixed(model: Any) -> None:
        nodes = [
            helper.make_node("ReduceMax", ["m.observations"], ["most"], axes=[0], keepdims=1),
            helper.make_node("Shape", ["m.observations"], ["shape"]),
            helper.make_node("Expand", ["most", "shape"], ["all"]),
        ]
        before(model, "m.observations", nodes, "all")

    bundle = regraphed(plain, mixed)
    wanted = [[float(value) for value in row] for row in _answers(bundle)]
    signed(bundle, lambda found: found["golden"]["m"].update(action_dist_inputs=wanted))
    with pytest.raises(BundleError, match=r"golden m.action_dist_inputs alone\[0, \d\]: found"):
        load_bundle(bundle, verify=True)


def _answers(bundle: Path) -> Any:
    policy = load_bundle(bundle)
    return policy.infer("m", policy.manifest.golden["m"].observations).dist_inputs  # type: ignore[arg-type]


def test_a_network_that_puts_out_no_numbers_is_told_so() -> None:
    """Where the network's own answer is not finite, that is what is said, not that the copy differs from it."""
    wanted, found = np.array([[0.5, np.nan]], np.float32), np.array([[0.5, np.nan]], np.float32)
    with pytest.raises(BundleError, match=r"^export: m\[0, 1\]: the network itself puts out nan, allowed are finite"):
        check_close("export: m", wanted, found)
    with pytest.raises(BundleError, match=r"found nan, expected 0\.5"):
        check_close("export: m", np.array([[0.5]], np.float32), found[:, 1:])
