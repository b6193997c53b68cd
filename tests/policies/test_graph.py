"""What a bundle's graph may be made of: nothing that could run on without end, or grow with what is observed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from policies import limits
from policies.bundle import BundleError, load_bundle
from tests.policies.forging import before, endless, huge, regraphed, signed

SEEN = "m.observations"
Change = Callable[[onnx.ModelProto], object]


def _numbers(name: str, *values: int) -> onnx.NodeProto:
    value = helper.make_tensor("t", TensorProto.INT64, [len(values)], values)
    return helper.make_node("Constant", [], [name], value=value)


def _node(kind: str, **options: object) -> Change:
    """Has rows go through an operator first."""
    return lambda model: before(model, SEEN, [helper.make_node(kind, [SEEN], ["through"], **options)], "through")


def _branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [helper.make_tensor_value_info(SEEN, TensorProto.FLOAT, ["n", 3])])
    yes = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True]))
    node = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    before(model, SEEN, [yes, node], "chosen")


def _as_many_as_observed(model: onnx.ModelProto) -> None:
    """Makes a tensor as wide as the largest observation is high."""
    nodes = [
        helper.make_node("ReduceMax", [SEEN], ["largest"], axes=[0, 1], keepdims=0),
        helper.make_node("Cast", ["largest"], ["count"], to=TensorProto.INT64),
        _numbers("one", 1),
        helper.make_node("Reshape", ["count", "one"], ["wide"]),
        helper.make_node("ConstantOfShape", ["wide"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", [SEEN, "zero"], ["same"]),
    ]
    before(model, SEEN, nodes, "same")


def _function(model: onnx.ModelProto) -> None:
    nodes, imports = [helper.make_node("Identity", ["x"], ["y"])], [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("own", "F", ["x"], ["y"], nodes, imports))


def _elsewhere(model: onnx.ModelProto) -> None:
    (weight,) = model.graph.initializer
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../etc/passwd")


def _declared(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[:] = [3, 10**12]


def _declared_in_a_constant(model: onnx.ModelProto) -> None:
    value = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[10**6, 10**6])
    before(model, SEEN, [helper.make_node("Constant", [], ["c"], value=value)], SEEN)


def _circle(model: onnx.ModelProto) -> None:
    nodes = [helper.make_node("Add", [SEEN, "there"], ["here"]), helper.make_node("Identity", ["here"], ["there"])]
    before(model, SEEN, nodes, "there")


def _sparse(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [10**12]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda model: endless(model, SEEN),
            "has the operator 'Loop', allowed are those of ONNX itself without control",
        ),
        (_branch, "has the operator 'If'"),
        (_node("NonZero"), "has the operator 'NonZero'"),
        (_node("RandomNormalLike"), "has the operator 'RandomNormalLike'"),
        (_node("Gelu", domain="com.microsoft"), "has the operator 'com.microsoft.Gelu'"),
        (_as_many_as_observed, "ConstantOfShape make a shape of what is observed, allowed are shapes that depend on"),
        (_function, "defines the function 'F', allowed is none"),
        (_elsewhere, "keeps 'weights' in another file, allowed is none"),
        (_declared, r"declares 'weights' as \[3, 1000000000000\], allowed are shapes of the values"),
        (_declared_in_a_constant, r"declares 't' as \[1000000, 1000000\], allowed are"),
        (_circle, "has Add read 'there', which comes from nowhere"),
        (_node("Identity", name="x" * 10**5), None),
        (_sparse, "has sparse weights"),
    ],
)
def test_graphs_are_made_of_known_parts(plain: Path, change: Change, said: str | None) -> None:
    """Control flow, chance, other code, shapes made of what is observed, and weights that are not there are refused."""
    bundle = regraphed(plain, change)
    if said is None:
        load_bundle(bundle, verify=True)
        return
    with pytest.raises(BundleError, match=said) as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)


def test_shapes_may_depend_on_the_number_of_rows(plain: Path) -> None:
    """Rows may be spread out and gathered again, as the networks of tables do."""
    assert load_bundle(regraphed(plain, lambda model: huge(model, SEEN, 50)), verify=True).name == "plain"


def test_nodes_are_bounded(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph of too many nodes is refused."""
    monkeypatch.setattr(limits, "NODES", 3)
    with pytest.raises(BundleError, match="has 4 nodes, allowed are at most 3"):
        load_bundle(plain)


def _dim(where: str, index: int, dim: int, value: int | None) -> Change:
    def change(model: onnx.ModelProto) -> None:
        found = getattr(model.graph, where)[index].type.tensor_type.shape.dim[dim]
        found.Clear()
        if value is not None:
            found.dim_value = value

    return change


def _without_mask(model: onnx.ModelProto) -> None:
    model.graph.input[1].name = model.graph.node[0].input[0] = "mask of another name"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            _dim("input", 0, 1, 4),
            r"has m.observations of float32 \[N, 4\], allowed by manifest.json is float32 \[N, 3\]",
        ),
        (_dim("input", 0, 1, None), r"has m.observations of float32 \[N, N\]"),
        (_dim("input", 0, 0, 8), r"has m.observations of float32 \[8, 3\]"),
        (_dim("input", 1, 1, 3), r"has m.action_mask of bool \[N, 3\], allowed by manifest.json is bool \[N, 2\]"),
        (_dim("output", 0, 1, 5), r"has m.action_dist_inputs of float32 \[N, 5\], allowed .* is float32 \[N, 4\]"),
        (_without_mask, "lacks the input 'm.action_mask'"),
    ],
)
def test_graph_has_the_shapes_of_the_manifest(plain: Path, change: Change, said: str) -> None:
    """Widths are those of layout and action space, and the number of rows is free."""
    model = onnx.load_model(plain / "policy.onnx")
    change(model)
    (plain / "policy.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=said):
        load_bundle(signed(plain))


def test_layout_must_be_as_wide_as_the_graph(plain: Path) -> None:
    """A layout of other features than the graph reads is refused: no request could be right."""
    bundle = signed(plain, lambda found: found["groups"]["team"]["layout"].update(own=[f"f{n}" for n in range(5000)]))
    with pytest.raises(BundleError, match=r"has m.observations of float32 \[N, 3\], allowed .* is float32 \[N, 5000\]"):
        load_bundle(bundle)
