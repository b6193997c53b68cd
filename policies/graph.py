"""The ONNX graph of a bundle: what it may be made of, the shapes it must have, and the sessions that run it.

Of a checked graph, what it costs depends on the number of rows alone, never on what is in them: there is no control
flow, and nothing that is observed decides on a shape. So a trial with many rows (`policies.trial`) tells what it takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from math import prod
from typing import Any, NamedTuple

import onnx
import onnx.utils
import onnxruntime

from envs.base import AgentGroup
from policies import limits
from policies.decoding import inputs_size
from policies.folder import GRAPH, MANIFEST, BundleError

_NAMES = """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike
    Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Hardmax
    Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log LogSoftmax Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow
    Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Sub Sum Tan Tanh
    ThresholdedRelu Where Xor
    AveragePool Conv ConvTranspose Einsum GRU Gemm GlobalAveragePool GlobalMaxPool LSTM MatMul MaxPool RNN
    BatchNormalization GroupNormalization InstanceNormalization LayerNormalization LpNormalization
    MeanVarianceNormalization RMSNormalization
    ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare
    Concat Constant ConstantOfShape Expand EyeLike Flatten Gather GatherElements GatherND OneHot Pad Range Reshape
    ScatterElements ScatterND Shape Size Slice Split Squeeze Tile TopK Transpose Trilu Unsqueeze
    DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearMatMul QuantizeLinear
"""
OPERATORS = frozenset(_NAMES.split())
"""Operators of ONNX that a bundle's graph may use: of each element; products; norms; sums; shapes; whole numbers."""

_SHAPING = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}
"""Which inputs of an operator decide on the shape of its outputs; of all that begin with `Reduce`, the second does."""

OUTPUTS = {"action_dist_inputs": "dist_inputs", "values": "values", "next_state": "state"}
"""Outputs of the graph, in the order they are asked for, and what they are called in an answer."""

_FLOAT, _BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
_KINDS = {_FLOAT: "float32", _BOOL: "bool"}


class GraphPart(NamedTuple):
    """A module's part of the graph; `outputs` names what it gives, and `fields` what that is in an answer."""

    session: onnxruntime.InferenceSession
    outputs: list[str]
    fields: list[str]


def load_parts(
    graph: bytes,
    groups: Mapping[str, AgentGroup],
    state_sizes: Mapping[str, int],
    threads: int,
    team_sizes: Mapping[str, int] | None = None,
) -> dict[str, GraphPart]:
    """One session a module: asked about one of a hundred, the runtime would go through the whole graph.

    Args:
        graph: The ONNX graph.
        groups: A group whose spaces are the module's, by module.
        state_sizes: Width of the recurrent state, by module; those that have none are absent.
        threads: Threads a call may use.
        team_sizes: Agents of a world, by module, of those that read whole worlds.

    Raises:
        BundleError: If the graph has something in it that may not be, lacks what a module needs, or has it in another
            shape than the manifest says.
    """
    model = onnx.load_model_from_string(graph)
    check_operators(model)
    names = {output.name for output in model.graph.output}
    extractor = onnx.utils.Extractor(model)
    parts = {}
    for module, group in groups.items():
        state_size, team_size = state_sizes.get(module), (team_sizes or {}).get(module)
        needed = ["action_dist_inputs"] + ["next_state"] * (state_size is not None)
        if missing := [name for name in needed if f"{module}.{name}" not in names]:
            raise BundleError(f"bundle: {GRAPH} lacks the output '{module}.{missing[0]}', which {MANIFEST} needs")
        check_shapes(model, module, group, state_size, team_size)
        found = [name for name in OUTPUTS if f"{module}.{name}" in names]
        outputs = [f"{module}.{name}" for name in found]
        part = graph
        if len(groups) > 1:
            inputs = ["observations", "action_mask"] + ["state"] * (state_size is not None)
            inputs += ["alive"] * (team_size is not None)
            part = extractor.extract_model([f"{module}.{name}" for name in inputs], outputs).SerializeToString()
        session = onnxruntime.InferenceSession(part, _options(threads), providers=["CPUExecutionProvider"])
        parts[module] = GraphPart(session, outputs, [OUTPUTS[name] for name in found])
    return parts


def check_operators(model: onnx.ModelProto) -> None:
    """Raises BundleError unless a graph is made of allowed operators alone, and keeps all its weights in itself."""
    nodes = model.graph.node
    if len(nodes) > limits.NODES:
        raise BundleError(f"bundle: {GRAPH} has {len(nodes)} nodes, allowed are at most {limits.NODES}")
    if model.functions:
        raise BundleError(f"bundle: {GRAPH} defines the function {_shown(model.functions[0].name)}, allowed is none")
    if model.graph.sparse_initializer:
        raise BundleError(f"bundle: {GRAPH} has sparse weights, allowed are dense ones")
    for tensor in model.graph.initializer:
        _check_tensor(tensor)
    known = {"", *(given.name for given in model.graph.input), *(weight.name for weight in model.graph.initializer)}
    observed = {given.name for given in model.graph.input}
    for node in nodes:
        name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        if name not in OPERATORS:
            raise BundleError(
                f"bundle: {GRAPH} has the operator {_shown(name)}, allowed are those of ONNX itself without control "
                "flow, chance, text, and outputs whose size depends on what is observed"
            )
        for attribute in node.attribute:
            _check_attribute(name, attribute)
        if unknown := [given for given in node.input if given not in known]:
            raise BundleError(f"bundle: {GRAPH} has {name} read {_shown(unknown[0])}, which comes from nowhere before")
        if twice := [made for made in node.output if made and made in known]:
            raise BundleError(f"bundle: {GRAPH} makes {_shown(twice[0])} twice, allowed is once")
        shaping = (1,) if name.startswith("Reduce") else _SHAPING.get(name, ())
        if any(index < len(node.input) and node.input[index] in observed for index in shaping):
            raise BundleError(
                f"bundle: {GRAPH} has {name} make a shape of what is observed, allowed are shapes that depend on the "
                "number of rows alone"
            )
        known.update(node.output)
        if name not in ("Shape", "Size") and not observed.isdisjoint(node.input):
            observed.update(node.output)


def check_shapes(
    model: onnx.ModelProto, module: str, group: AgentGroup, state_size: int | None, team_size: int | None = None
) -> None:
    """Raises BundleError unless what a module reads and gives is declared as its layout and action space have it."""
    row = () if team_size is None else (team_size,)
    inputs = {"observations": (_FLOAT, (*row, group.layout.size)), "action_mask": (_BOOL, (*row, group.mask_size))}
    outputs = {"action_dist_inputs": (_FLOAT, (*row, inputs_size(group.action_space))), "values": (_FLOAT, row)}
    if state_size is not None:
        inputs["state"] = outputs["next_state"] = (_FLOAT, (*row, state_size))
    if team_size is not None:
        inputs["alive"] = (_BOOL, row)
    declared = {value.name: value.type for value in model.graph.input}
    for name, (kind, shape) in inputs.items():
        if f"{module}.{name}" not in declared:
            raise BundleError(f"bundle: {GRAPH} lacks the input '{module}.{name}', which {MANIFEST} needs")
        _check_declared(f"{module}.{name}", declared[f"{module}.{name}"], kind, shape, known=True)
    declared = {value.name: value.type for value in model.graph.output}
    for name, (kind, shape) in outputs.items():
        if f"{module}.{name}" in declared:  # a width that is not declared is seen when golden rows are played
            _check_declared(f"{module}.{name}", declared[f"{module}.{name}"], kind, shape, known=False)


def _check_declared(what: str, declared: Any, kind: int, shape: tuple[int, ...], *, known: bool) -> None:
    """Raises BundleError unless a tensor is declared as any number of rows, or worlds, of a shape."""
    tensor = declared.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
    fits = tensor.elem_type == kind and len(dims) == 1 + len(shape) and dims[0] is None
    if fits:
        fits = all(dim == size or (dim is None and not known) for dim, size in zip(dims[1:], shape, strict=True))
    if not fits:
        given = ", ".join(["N" if dim is None else str(dim) for dim in dims[:5]])
        wanted = ", ".join(["N", *map(str, shape)])
        name = _KINDS.get(tensor.elem_type, f"type {tensor.elem_type}")
        raise BundleError(
            f"bundle: {GRAPH} has {what} of {name} [{given}], allowed by {MANIFEST} is {_KINDS[kind]} [{wanted}]"
        )


def _check_attribute(operator: str, attribute: onnx.AttributeProto) -> None:
    """Raises BundleError if an attribute holds graphs, or tensors that are not all there."""
    if attribute.HasField("g") or attribute.graphs:
        raise BundleError(f"bundle: {GRAPH} has {operator} with a graph inside, allowed is none")
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
        raise BundleError(f"bundle: {GRAPH} has sparse weights, allowed are dense ones")
    tensors: Iterable[onnx.TensorProto] = [*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors]
    for tensor in tensors:
        _check_tensor(tensor)


def _check_tensor(tensor: onnx.TensorProto) -> None:
    """Raises BundleError unless a tensor's values are in the graph, all of them."""
    if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
        raise BundleError(f"bundle: {GRAPH} keeps {_shown(tensor.name)} in another file, allowed is none")
    held = 8 * tensor.ByteSize()  # the smallest values take less than a byte
    if any(dim < 0 for dim in tensor.dims) or prod(tensor.dims) > held:
        raise BundleError(
            f"bundle: {GRAPH} declares {_shown(tensor.name)} as {list(tensor.dims)[:5]}, allowed are shapes of the "
            "values that it holds"
        )


def _shown(name: str) -> str:
    """A name from the graph, which may be anything."""
    return repr(name if len(name) <= 60 else f"{name[:60]}…")


def _options(threads: int) -> onnxruntime.SessionOptions:
    """How sessions are run."""
    _bound_memory()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4  # errors come back as exceptions; ours are one line
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


@cache
def _bound_memory() -> None:
    """Has all sessions of this process share memory that is bounded: a call that wants more raises an error."""
    kind = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    default = -1
    onnxruntime.create_and_register_allocator(
        kind, onnxruntime.OrtArenaCfg(limits.OUTPUT_BYTES, default, default, default)
    )
