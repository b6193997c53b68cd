"""From trained modules to a bundle: one ONNX graph with all of them, checked against torch before it is written."""

from __future__ import annotations

import io
import platform
import warnings
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from gymnasium.spaces import MultiDiscrete
from pydantic import BaseModel
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from algorithms.mapping import PolicyMapping
from algorithms.networks.protocol import ACTION_MASK, ALIVE, MEMORY, PolicyNetwork, network_of
from envs.base import AgentGroup, FloatArray, IntArray
from policies.bundle import BundlePolicy, check_close, save_bundle
from policies.manifest import GoldenEntry, GroupEntry, Manifest
from policies.network import Rows

OPSET = 17
CHECKED_ROWS = (0, 1, 7, 256)
GOLDEN_ROWS = 8
CHECKED_STEPS = 32
"""Steps that what remembers is played for, beside torch, each on a state of its own."""


class _AllModules(nn.Module):
    """All modules as one, over tensors instead of batches, for the exporter to trace."""

    def __init__(self, modules: Mapping[str, PolicyNetwork]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(cast(Mapping[str, nn.Module], modules).values())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs of all modules, from what each in turn reads."""
        outputs: list[Tensor] = []
        left = iter(inputs)
        for part in self.parts:
            module = network_of(part)
            outputs += module.bundle_outputs({name: next(left) for name in _inputs(module)}).values()
        return tuple(outputs)


def export_graph(modules: Mapping[str, PolicyNetwork], team_sizes: Mapping[str, int] | None = None) -> bytes:
    """One ONNX graph with all modules, their normalisers included.

    The exporter that traces is used, not the one on `torch.export`: these networks have no control flow to lose, and
    it takes 0.1 s a module instead of 2 s, which tells where every agent has a module of its own. What it makes is
    compared with torch by `export_bundle`.

    Args:
        modules: The modules, by id.
        team_sizes: Agents of a world, by module, of those that read whole worlds.
    """
    inputs, outputs, examples = [], [], []
    for name, module in modules.items():
        team_size = (team_sizes or {}).get(name)
        batch = _batch(golden_rows(module, 2, team_size=team_size), team_size)
        inputs += [f"{name}.{tensor}" for tensor in _inputs(module).values()]
        examples += [batch[key] for key in _inputs(module)]
        outputs += [f"{name}.{output}" for output in module.bundle_outputs(batch)]
    everything = _AllModules(modules)
    modes = [part.training for part in everything.parts]
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecation, and tracing's remarks about constants
        torch.onnx.export(
            everything.eval(),
            tuple(examples),
            stream,  # type: ignore[arg-type]  # the annotation lacks streams, which it takes
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: f"{name.rsplit('.', 1)[0]}.rows"} for name in (*inputs, *outputs)},
            opset_version=OPSET,
            external_data=False,
            dynamo=False,
        )
    for part, training in zip(everything.parts, modes, strict=True):
        part.train(training)
    return _with_inputs(stream.getvalue(), dict(zip(inputs, examples, strict=True)))


def _with_inputs(graph: bytes, examples: Mapping[str, Tensor]) -> bytes:
    """A graph that takes all that it is given: the exporter leaves out what a network does not read."""
    model = onnx.load_model_from_string(graph)
    known = {given.name for given in model.graph.input}
    for name, example in examples.items():
        if name not in known:
            kind = onnx.TensorProto.BOOL if example.dtype == torch.bool else onnx.TensorProto.FLOAT
            shape = [f"{name.rsplit('.', 1)[0]}.rows", *example.shape[1:]]
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
    return graph if len(known) == len(examples) else model.SerializeToString()


def export_bundle(
    path: str | Path,
    modules: Mapping[str, PolicyNetwork],
    mapping: PolicyMapping,
    *,
    name: str,
    domain: str,
    env_config: BaseModel | Mapping[str, Any],
    task: BaseModel | Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    golden: Mapping[str, Rows] | None = None,
) -> Manifest:
    """Writes a bundle of trained modules.

    Args:
        path: The bundle's folder; an older bundle there is replaced.
        modules: The modules, by id; others than those of `mapping` are left out.
        mapping: Who plays with which module.
        name: Name of the policy in tables and responses.
        domain: The domain it plays.
        env_config: The domain's config it was trained in.
        task: The task it was last trained on.
        metrics: Figures of its training and evaluation.
        golden: Observations by module that a loaded bundle can be checked with; made up if None.

    Returns:
        The manifest as written.

    Raises:
        policies.bundle.BundleError: If graph and torch differ by more than 1e-5, or a module that reads whole worlds
            lets others see what it must not, or the folder cannot be written.
        ValueError: If a module that plays is missing.
    """
    if missing := [module for module in mapping.modules if module not in modules]:
        raise ValueError(f"modules: got {sorted(modules.keys())}, which lack {missing[0]!r}")
    chosen = {module: modules[module] for module in mapping.modules}
    teams = {module: mapping.size(module) for module, network in chosen.items() if network.whole_worlds}
    graph = export_graph(chosen, teams)
    rows = {
        module: (golden or {}).get(module) or golden_rows(network, GOLDEN_ROWS, team_size=teams.get(module))
        for module, network in chosen.items()
    }
    agents = mapping.agent_modules
    manifest = Manifest(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        domain=domain,
        env_config=_plain(env_config),
        task=None if task is None else _plain(task),
        groups={key: GroupEntry.of(group, _modules_of(group, agents)) for key, group in mapping.groups.items()},
        recurrent={module: network.memory_size for module, network in chosen.items() if network.memory_size},
        whole_worlds=tuple(teams),
        golden={module: _golden(chosen[module], rows[module], teams.get(module)) for module in chosen},
        metrics=dict(metrics or {}),
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    )
    _check(BundlePolicy(manifest, graph), chosen)
    return save_bundle(path, graph, manifest)


def golden_rows(module: PolicyNetwork, count: int, seed: int = 0, team_size: int | None = None) -> Rows:
    """Plausible observations for a module: normal around its statistics, with some entities and actions missing.

    Something is always allowed: the first action, and the first choice of each branch. What is remembered is anything
    that recurrent units can hold.

    Args:
        module: The module.
        count: Rows `N`, or worlds if the module reads whole worlds.
        seed: The same seed gives the same rows.
        team_size: Agents of a world, if the module reads whole worlds; some are not there.
    """
    rng = np.random.default_rng(seed)
    count *= team_size or 1
    layout = module.layout
    observations = rng.standard_normal((count, layout.size)).astype(np.float32)
    if module.normaliser is not None:
        observations = observations / module.normaliser.scale.numpy() + module.normaliser.shift.numpy()
    for table, values, exists in layout.places:
        present = rng.random((count, len(table.entities))) < 0.75
        observations[:, exists] = present
        observations[:, values] *= np.repeat(present, len(table.features), axis=1)
    width = _mask_size(module)
    masks = rng.random((count, width)) < 0.75
    masks[:, _first_choices(module)] = True
    if team_size is None:
        size = module.memory_size
        state = rng.uniform(-1, 1, (count, size)).astype(np.float32) if size else None
        return Rows(observations.astype(np.float32), masks, state)
    alive = rng.random(count) < 0.75
    alive[::team_size] |= ~alive.reshape(-1, team_size).any(axis=1)
    return Rows((observations * alive[:, None]).astype(np.float32), masks | ~alive[:, None], alive=alive)


def _inputs(module: PolicyNetwork) -> dict[str, str]:
    """What a module reads, by the key in a batch: names in the graph."""
    more = {ALIVE: "alive"} if module.whole_worlds else {}
    if module.memory_size:
        more[MEMORY] = "state"
    return {Columns.OBS: "observations", ACTION_MASK: "action_mask", **more}


def _batch(rows: Rows, team_size: int | None) -> dict[str, Tensor]:
    batch = {Columns.OBS: torch.from_numpy(rows.observations), ACTION_MASK: torch.from_numpy(rows.masks)}
    if rows.state is not None:
        batch[MEMORY] = torch.from_numpy(rows.state)
    if team_size is None:
        return batch
    assert rows.alive is not None
    batch[ALIVE] = torch.from_numpy(rows.alive)
    return {name: column.unflatten(0, (-1, team_size)) for name, column in batch.items()}


@torch.no_grad()
def _wanted(module: PolicyNetwork, rows: Rows, team_size: int | None) -> dict[str, FloatArray]:
    """What a module puts out for rows, `[N, …]`."""
    outputs = module.bundle_outputs(_batch(rows, team_size))
    axes = 1 if team_size is None else 2
    return {name: output.flatten(0, axes - 1).numpy() for name, output in outputs.items()}


def _mask_size(module: PolicyNetwork) -> int:
    return AgentGroup("", (), module.action_space, module.layout).mask_size


def _first_choices(module: PolicyNetwork) -> IntArray:
    """Where each branch begins in a mask; of continuous actions, which are one another's equals, the first."""
    if not isinstance(module.action_space, MultiDiscrete):
        return np.zeros(1, np.int64)
    return np.cumsum([0, *module.action_space.nvec[:-1]])


def _golden(module: PolicyNetwork, rows: Rows, team_size: int | None) -> GoldenEntry:
    outputs = _wanted(module, rows, team_size)
    return GoldenEntry(
        observations=rows.observations.tolist(),
        action_mask=rows.masks.tolist(),
        action_dist_inputs=outputs["action_dist_inputs"].tolist(),
        values=outputs["values"].tolist() if "values" in outputs else None,
        state=None if rows.state is None else rows.state.tolist(),
        next_state=outputs["next_state"].tolist() if "next_state" in outputs else None,
        alive=None if rows.alive is None else rows.alive.tolist(),
    )


def _check(policy: BundlePolicy, modules: Mapping[str, PolicyNetwork]) -> None:
    """Raises BundleError unless the graph agrees with torch, at several batch sizes."""
    for name, module in modules.items():
        team_size = policy.team_sizes.get(name)
        for count in CHECKED_ROWS:
            rows = golden_rows(module, count, seed=count, team_size=team_size)
            wanted = _wanted(module, rows, team_size)
            found = policy.infer(name, rows.observations, rows.masks, state=rows.state, alive=rows.alive)
            what = f"export: {count} {'rows' if team_size is None else 'worlds'} of {name}"
            check_close(f"{what}.action_dist_inputs", wanted["action_dist_inputs"], found.dist_inputs)
            if found.values is not None:
                check_close(f"{what}.values", wanted["values"], found.values)
            if found.state is not None:
                check_close(f"{what}.next_state", wanted["next_state"], found.state)
        if module.memory_size:
            _check_memory(policy, name, module)
        if team_size is not None:
            _check_worlds(policy, name, golden_rows(module, GOLDEN_ROWS, seed=1, team_size=team_size))


def _check_memory(policy: BundlePolicy, name: str, module: PolicyNetwork) -> None:
    """Raises BundleError if graph and torch part ways in the course of an episode, each on what it remembers itself."""
    ours = theirs = np.zeros((GOLDEN_ROWS, module.memory_size), np.float32)
    for step in range(CHECKED_STEPS):
        rows = golden_rows(module, GOLDEN_ROWS, seed=step)
        wanted = _wanted(module, replace(rows, state=ours), None)
        found = policy.infer(name, rows.observations, rows.masks, state=theirs)
        check_close(
            f"export: step {step} of {name}.action_dist_inputs", wanted["action_dist_inputs"], found.dist_inputs
        )
        assert found.state is not None
        ours, theirs = wanted["next_state"], found.state


def _check_worlds(policy: BundlePolicy, module: str, rows: Rows) -> None:
    """Raises BundleError if worlds see each other, or the living what rows of those who are not alive hold."""
    agents, alive = policy.team_sizes[module], rows.alive
    assert alive is not None
    together = policy.infer(module, rows.observations, rows.masks, alive=alive).dist_inputs
    alone = rows.first(agents)
    found = policy.infer(module, alone.observations, alone.masks, alive=alone.alive).dist_inputs
    check_close(
        f"export: a world of {module} alone, which must give what it gives among others", together[:agents], found
    )
    other = np.where(alive[:, None], rows.observations, np.float32(1) - rows.observations)
    found = policy.infer(module, other, rows.masks, alive=alive).dist_inputs
    what = f"export: agents of {module} beside some who are not alive, whose rows must not matter"
    check_close(what, together[alive], found[alive])


def _modules_of(group: AgentGroup, agents: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(agents[agent] for agent in group.agent_ids)


def _plain(model: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    return model.model_dump(mode="json") if isinstance(model, BaseModel) else dict(model)
