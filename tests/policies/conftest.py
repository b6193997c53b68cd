"""Bundles for the tests of what may be in one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box
from onnx import TensorProto, helper, numpy_helper

from envs.base import AgentGroup
from envs.layout import ObservationLayout
from policies.bundle import BundlePolicy, save_bundle
from policies.manifest import GoldenEntry, GroupEntry, Manifest

_GROUP = AgentGroup("team", ("a", "b"), Box(-1, 1, (2,), np.float32), ObservationLayout(("x", "y", "z")))


def _graph() -> bytes:
    """A module `m` of one layer, without a critic: 3 features in, 2 means and 2 logarithms of deviations out."""
    weights = [numpy_helper.from_array(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "weights")]
    rows = helper.make_tensor_value_info
    inputs = [
        rows("m.observations", TensorProto.FLOAT, ["n", 3]),
        rows("m.action_mask", TensorProto.BOOL, ["n", 2]),
    ]
    nodes = [
        helper.make_node("Cast", ["m.action_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["mask", "mask"], ["masks"], axis=1),
        helper.make_node("MatMul", ["m.observations", "weights"], ["head"]),
        helper.make_node("Mul", ["head", "masks"], ["m.action_dist_inputs"]),
    ]
    outputs = [rows("m.action_dist_inputs", TensorProto.FLOAT, ["n", 4])]
    graph = helper.make_graph(nodes, "layer", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


@pytest.fixture(scope="session")
def _sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph, path = _graph(), tmp_path_factory.mktemp("plain") / "bundle"
    groups = {"team": GroupEntry.of(_GROUP, ("m", "m"))}
    manifest = Manifest(name="plain", created="2026-01-01", domain="cue", env_config={}, groups=groups, golden={})
    seen, mask = np.arange(12, dtype=np.float32).reshape(4, 3) / 10, np.ones((4, 2), np.bool_)
    outputs = BundlePolicy(manifest, graph).infer("m", seen, mask).dist_inputs
    golden = GoldenEntry(
        observations=seen.tolist(), action_mask=mask.tolist(), action_dist_inputs=outputs.tolist(), values=None
    )
    save_bundle(path, graph, manifest.model_copy(update={"golden": {"m": golden}}))
    return path


@pytest.fixture
def plain(_sound: Path, tmp_path: Path) -> Path:
    """A sound bundle of one small layer, made without training code, that may be spoiled."""
    return Path(shutil.copytree(_sound, tmp_path / "plain"))
