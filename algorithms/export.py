"""From trained modules to a bundle: one ONNX graph with all of them, checked against torch before it is written."""

from __future__ import annotations

import io
import platform
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from gymnasium.spaces import MultiDiscrete
from pydantic import BaseModel
from ray.rllib.core.columns import Columns
from torch import Tensor, nn

from algorithms.mapping import PolicyMapping
from algorithms.networks.module import ACTION_MASK, ActorCriticModule
from envs.base import AgentGroup, IntArray
from policies.bundle import BundlePolicy, check_close, save_bundle
from policies.manifest import GoldenEntry, GroupEntry, Manifest
from policies.network import Rows

OPSET = 17
CHECKED_ROWS = (0, 1, 7, 256)
GOLDEN_ROWS = 8


class _AllModules(nn.Module):
    """All modules as one, over tensors instead of batches, for the exporter to trace."""

    def __init__(self, modules: Mapping[str, ActorCriticModule]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules.values())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Outputs of all modules, from observations and action mask of each in turn."""
        outputs: list[Tensor] = []
        for module, observations, mask in zip(self.parts, inputs[::2], inputs[1::2], strict=True):
            assert isinstance(module, ActorCriticModule)
            outputs += _outputs(module, {Columns.OBS: observations, ACTION_MASK: mask}).values()
        return tuple(outputs)


def export_graph(modules: Mapping[str, ActorCriticModule]) -> bytes:
    """One ONNX graph with all modules, their normalisers included.

    The exporter that traces is used, not the one on `torch.export`: these networks have no control flow to lose, and
    it takes 0.1 s a module instead of 2 s, which tells where every agent has a module of its own. What it makes is
    compared with torch by `export_bundle`.

    Args:
        modules: The modules, by id.
    """
    inputs, outputs, examples = [], [], []
    for name, module in modules.items():
        rows = golden_rows(module, 2)
        inputs += [f"{name}.observations", f"{name}.action_mask"]
        examples += [torch.from_numpy(rows.observations), torch.from_numpy(rows.masks)]
        outputs += [f"{name}.{output}" for output in _outputs(module, _batch(rows))]
    everything = _AllModules(modules)
    modes = [module.training for module in modules.values()]
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
    for module, training in zip(modules.values(), modes, strict=True):
        module.train(training)
    return stream.getvalue()


def export_bundle(
    path: str | Path,
    modules: Mapping[str, ActorCriticModule],
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
        policies.bundle.BundleError: If graph and torch differ by more than 1e-5, or the folder cannot be written.
        ValueError: If a module that plays is missing.
    """
    if missing := [module for module in mapping.modules if module not in modules]:
        raise ValueError(f"modules: got {sorted(modules.keys())}, which lack {missing[0]!r}")
    chosen = {module: modules[module] for module in mapping.modules}
    graph = export_graph(chosen)
    rows = {module: (golden or {}).get(module) or golden_rows(chosen[module], GOLDEN_ROWS) for module in chosen}
    agents = mapping.agent_modules
    manifest = Manifest(
        name=name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        domain=domain,
        env_config=_plain(env_config),
        task=None if task is None else _plain(task),
        groups={key: GroupEntry.of(group, _modules_of(group, agents)) for key, group in mapping.groups.items()},
        golden={module: _golden(chosen[module], rows[module]) for module in chosen},
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


def golden_rows(module: ActorCriticModule, count: int, seed: int = 0) -> Rows:
    """Plausible observations for a module: normal around its statistics, with some entities and actions missing.

    Something is always allowed: the first action, and the first choice of each branch.

    Args:
        module: The module.
        count: Rows `N`.
        seed: The same seed gives the same rows.
    """
    rng = np.random.default_rng(seed)
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
    return Rows(observations.astype(np.float32), masks)


def _outputs(module: ActorCriticModule, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a bundle holds of a module: its policy, and its values unless they need the global state."""
    if module.network.central_critic:
        return {"action_dist_inputs": module.forward_policy(batch)}
    policy, values = module.forward_policy_and_value(batch)
    return {"action_dist_inputs": policy, "values": values}


def _batch(rows: Rows) -> dict[str, Tensor]:
    return {Columns.OBS: torch.from_numpy(rows.observations), ACTION_MASK: torch.from_numpy(rows.masks)}


def _mask_size(module: ActorCriticModule) -> int:
    return AgentGroup("", (), module.action_space, module.layout).mask_size


def _first_choices(module: ActorCriticModule) -> IntArray:
    """Where each branch begins in a mask; of continuous actions, which are one another's equals, the first."""
    if not isinstance(module.action_space, MultiDiscrete):
        return np.zeros(1, np.int64)
    return np.cumsum([0, *module.action_space.nvec[:-1]])


@torch.no_grad()
def _golden(module: ActorCriticModule, rows: Rows) -> GoldenEntry:
    outputs = _outputs(module, _batch(rows))
    return GoldenEntry(
        observations=rows.observations.tolist(),
        action_mask=rows.masks.tolist(),
        action_dist_inputs=outputs["action_dist_inputs"].tolist(),
        values=outputs["values"].tolist() if "values" in outputs else None,
    )


@torch.no_grad()
def _check(policy: BundlePolicy, modules: Mapping[str, ActorCriticModule]) -> None:
    """Raises BundleError unless the graph agrees with torch, at several batch sizes."""
    for name, module in modules.items():
        for count in CHECKED_ROWS:
            rows = golden_rows(module, count, seed=count)
            wanted = _outputs(module, _batch(rows))
            found = policy.infer(name, rows.observations, rows.masks)
            what = f"export: {count} rows of {name}"
            check_close(f"{what}.action_dist_inputs", wanted["action_dist_inputs"].numpy(), found.dist_inputs)
            if found.values is not None:
                check_close(f"{what}.values", wanted["values"].numpy(), found.values)


def _modules_of(group: AgentGroup, agents: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(agents[agent] for agent in group.agent_ids)


def _plain(model: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    return model.model_dump(mode="json") if isinstance(model, BaseModel) else dict(model)
