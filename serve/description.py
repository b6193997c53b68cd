"""What a model is, for people and their programs: agents, features, actions, figures, and an example that works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from policies.manifest import GroupEntry
from serve.models import ServedModel, ServedVersion
from serve.protocol.checks import MAX_MAGNITUDE, stuck_row
from serve.protocol.signature import ModuleSignature, signature_of


def described_model(model: ServedModel, version: ServedVersion) -> dict[str, Any]:
    """What `GET /v1/policies/{model}` answers.

    Args:
        model: The model.
        version: The version that is described.
    """
    manifest = version.manifest
    modules = signature_of(version.policy).modules
    return {
        "name": model.name,
        "version": version.version,
        "policy": manifest.name,
        "created": manifest.created,
        "sha256": manifest.sha256,
        "aliases": [alias for alias, number in model.aliases.items() if number == version.version],
        "current": model.current,
        "reference": model.reference,
        "versions": version_numbers(model),
        "canary": None if model.canary is None else {"version": model.canary.version, "percent": model.canary.percent},
        "shadow": model.shadow,
        "domain": manifest.domain,
        "task": manifest.task,
        "metrics": manifest.metrics,
        "groups": {name: _group(group, modules) for name, group in manifest.groups.items()},
        "modules": {name: _module(module) for name, module in modules.items()},
        "example": example(version),
    }


def summary(model: ServedModel) -> dict[str, Any]:
    """A model in the list of all."""
    return {
        "name": model.name,
        "version": model.current,
        "versions": version_numbers(model),
        "aliases": dict(model.aliases),
        "domain": model.version.manifest.domain,
        "created": model.version.manifest.created,
    }


def version_numbers(model: ServedModel) -> list[str]:
    """The loaded versions, in the order of their numbers."""
    return sorted(model.versions, key=lambda number: (len(number), number))


def example(version: ServedVersion) -> dict[str, Any]:
    """A body for `act`: a golden observation for each agent, features by name; for at most eight agents."""
    policy = version.policy
    signature = signature_of(policy)
    body: dict[str, Any] = {"observations": {}}
    masks: dict[str, list[bool]] = {}
    taken: dict[str, int] = {}
    for agent, name in list(signature.agents.items())[:8]:
        module = signature.modules[name]
        golden = policy.manifest.golden.get(name)
        row = module.places[agent] if module.team else taken.get(name, 0)
        if module.team and golden is not None and golden.alive is not None and not golden.alive[row]:
            continue
        taken[name] = row + 1
        values = [0.0] * module.size
        if golden is not None:
            row %= len(golden.observations)
            values = _written(golden.observations[row])
            mask = np.array([golden.action_mask[row]], np.bool_)
            if not mask.all() and stuck_row(mask, module) is None:  # one that allows nothing is refused: then none
                masks[agent] = mask[0].tolist()
        body["observations"][agent] = dict(zip(module.names, values, strict=True))
    if masks:
        body["action_masks"] = masks
    return body


def infer_example(version: ServedVersion) -> dict[str, Any]:
    """A body for `infer`: a golden observation of the first module, or a golden world."""
    signature = signature_of(version.policy)
    tensor = next(iter(signature.inputs.values()))
    golden = version.manifest.golden.get(tensor.module)
    width = signature.modules[tensor.module].size
    rows = tensor.team_size or 1
    data = [0.0] * (width * rows)
    if golden is not None:
        data = [value for row in golden.observations[:rows] for value in _written(row)]
    shape = [1, *tensor.shape[1:]]
    inputs: list[dict[str, Any]] = [{"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data}]
    if tensor.team_size and golden is not None and golden.alive is not None:
        name = tensor.name.removesuffix("observations") + "alive"
        alive = list(golden.alive[:rows])
        inputs.append({"name": name, "datatype": "BOOL", "shape": [1, rows], "data": alive})
    return {"inputs": inputs}


def _written(row: Sequence[float]) -> list[float]:
    """Single precision in as few digits as it takes, as a person would write it, and no more than requests may hold."""
    return [float(str(value)) for value in np.clip(np.array(row, np.float32), -MAX_MAGNITUDE, MAX_MAGNITUDE)]


def _group(group: GroupEntry, modules: Mapping[str, ModuleSignature]) -> dict[str, Any]:
    signature = modules[group.modules[0]]
    return {
        "agents": list(group.agent_ids),
        "modules": list(group.modules),
        "layout": {
            "own": list(group.layout.own),
            "entity_features": list(group.layout.entity_features),
            "entities": list(group.layout.entities),
            "more": [table.model_dump() for table in group.layout.more],
        },
        "features": list(signature.names),
        "actions": {
            "kind": group.action_space.kind,
            "size": group.action_space.size,
            "choices": list(group.action_space.choices),
            **({"low": list(group.action_space.low)} if group.action_space.low else {}),
            **({"high": list(group.action_space.high)} if group.action_space.high else {}),
            "names": None if signature.action_names is None else list(signature.action_names),
        },
    }


def _module(module: ModuleSignature) -> dict[str, Any]:
    return {
        "observation_size": module.size,
        "mask_size": module.mask_size,
        "state_size": module.state_size,
        "values": module.has_values,
        "whole_worlds": bool(module.team),
    }
