"""Bundles as somebody might write them who means ill, or knows no better: signed anew, so that all hashes are right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

GRAPH, MANIFEST = "policy.onnx", "manifest.json"


def signed(bundle: Path, change: Callable[[dict[str, Any]], object] = lambda plain: None) -> Path:
    """Changes a bundle's manifest, gives it the graph's hash and its own; nothing of the project's checks is asked."""
    plain = json.loads((bundle / MANIFEST).read_text())
    graph = (bundle / GRAPH).read_bytes()
    plain["files"] = {GRAPH: {"sha256": hashlib.sha256(graph).hexdigest(), "size": len(graph)}}
    change(plain)
    plain.pop("sha256")
    plain["sha256"] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    (bundle / MANIFEST).write_text(json.dumps(plain))
    return bundle


def regraphed(bundle: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    """Changes a bundle's graph and signs it."""
    model = onnx.load_model(bundle / GRAPH)
    change(model)
    (bundle / GRAPH).write_bytes(model.SerializeToString())
    return signed(bundle)


def before(model: onnx.ModelProto, tensor: str, nodes: Sequence[onnx.NodeProto], result: str) -> None:
    """Puts nodes in front of a graph: what read `tensor` reads `result`, which they make of `tensor`."""
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == tensor:
                node.input[index] = result
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


def endless(model: onnx.ModelProto, tensor: str) -> None:
    """Has a graph turn in a loop that never ends before it looks at `tensor`."""
    shape = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["again"], ["more"]), helper.make_node("Identity", ["seen"], ["turned"])],
        "body",
        [
            shape("turn", onnx.TensorProto.INT64, []),
            shape("again", onnx.TensorProto.BOOL, []),
            shape("seen", onnx.TensorProto.FLOAT, ["n", None]),
        ],
        [shape("more", onnx.TensorProto.BOOL, []), shape("turned", onnx.TensorProto.FLOAT, ["n", None])],
    )
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("t", onnx.TensorProto.BOOL, [], [True]))
    before(model, tensor, [yes, helper.make_node("Loop", ["", "yes", tensor], ["looped"], body=body)], "looped")


def huge(model: onnx.ModelProto, tensor: str, width: int) -> None:
    """Has a graph spread each row over `width` copies, and take the largest, before it looks at `tensor`."""

    def numbers(name: str, *values: int) -> onnx.NodeProto:
        value = helper.make_tensor("t", onnx.TensorProto.INT64, [len(values)], values)
        return helper.make_node("Constant", [], [name], value=value)

    nodes = [
        numbers("huge.width", width),
        numbers("huge.axis", 2),
        helper.make_node("Shape", [tensor], ["huge.shape"]),
        helper.make_node("Concat", ["huge.shape", "huge.width"], ["huge.wanted"], axis=0),
        helper.make_node("Unsqueeze", [tensor, "huge.axis"], ["huge.narrow"]),
        helper.make_node("Expand", ["huge.narrow", "huge.wanted"], ["huge.wide"]),
        helper.make_node("ReduceMax", ["huge.wide"], ["huge.result"], axes=[2], keepdims=0),
    ]
    before(model, tensor, nodes, "huge.result")
