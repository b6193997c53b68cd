"""Which features an action hangs on: each is taken away in turn, and what changes is measured.

Occlusion (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901; on the family: Covert, Lundberg and Lee 2021,
https://arxiv.org/abs/2011.14878): a feature is replaced by its mean over the bundle's golden observations, all else
stays as it is. The features of each entity are taken one by one; an entity's `exists` is set to 0, as if it were not
there; features of entities that do not exist are left out. The effect is the change of the mean of each continuous
action, or of the log-probability of the choice made in each branch: what the feature, at its value, adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from gymnasium.spaces import MultiDiscrete
from numpy.typing import NDArray

from envs.base import FloatArray
from envs.layout import ObservationLayout
from policies.bundle import BundlePolicy, Inference
from policies.decoding import branch_log_probs
from serve.errors import BadRequest
from serve.models import ServedVersion
from serve.protocol.act import ActRequest, Explanations
from serve.protocol.rows import ModuleRows
from serve.protocol.signature import ModuleSignature, signature_of

MAX_QUESTIONS = 16384
"""Most rows that one explanation may cost: each row that is explained costs as many as it has features."""


@dataclass(frozen=True, eq=False)
class _Module:
    """What is looked up once a module.

    Attributes:
        baseline: What features are replaced by, `[D]`.
        entity: The entity of each feature, int64 `[D]`; -1 for the agent's own.
    """

    baseline: FloatArray
    entity: NDArray[np.int64]


_known: WeakKeyDictionary[BundlePolicy, dict[str, _Module]] = WeakKeyDictionary()


def check_cost(request: ActRequest, version: ServedVersion) -> None:
    """Refuses to explain too much; asked before the request is answered, so that nothing has come of it by then.

    Args:
        request: What is asked.
        version: The version that is to answer.

    Raises:
        BadRequest: If it would take too many rows.
    """
    modules = signature_of(version.policy).modules
    cost = sum(
        len(rows.observations) * modules[module].size * max(1, len(modules[module].team))
        for module, rows in request.rows.items()
    )
    if cost > MAX_QUESTIONS:
        raise BadRequest(
            f"explain: got {request.num_rows} rows, which take {cost} more to explain, allowed are {MAX_QUESTIONS}"
        )


def explain(
    request: ActRequest, answers: Mapping[str, Inference], version: ServedVersion
) -> Callable[[], Explanations]:
    """The work of explaining a request, to be done in a thread.

    Args:
        request: What was asked; `request.explain` features are named of each row.
        answers: What was answered.
        version: The version that answered.

    Returns:
        What does the work. A row's explanation is a list, the largest effect first, of `feature`, `value`, `baseline`,
        `effect` (the sum of the magnitudes of all actions' changes) and `actions` (the changes themselves).
    """
    modules = signature_of(version.policy).modules

    def work() -> Explanations:
        return {
            module: [
                _explained(version.policy, modules[module], rows, answers[module], row, request.explain)
                for row in (
                    range(len(rows.observations)) if rows.alive is None else np.flatnonzero(rows.alive).tolist()
                )
            ]
            for module, rows in request.rows.items()
        }

    return work


def _explained(
    policy: BundlePolicy, signature: ModuleSignature, rows: ModuleRows, answer: Inference, row: int, most: int
) -> list[dict[str, Any]]:
    """The features of one row that matter most; what else its world holds stays as it is."""
    known = _module(policy, signature.module)
    seen = rows.observations[row]
    layout = policy.spaces_of(signature.module).layout
    exists = np.append(np.concatenate([seen[place.exists] for place in layout.places]) > 0.5, True)
    features = np.flatnonzero(exists[known.entity])
    agents, count = max(1, len(signature.team)), len(features)
    place = row % agents
    world = slice(row - place, row - place + agents)

    def repeated(array: NDArray[Any] | None) -> Any:
        """The row's world, or the row, once a feature."""
        return None if array is None else np.tile(array[world], (count,) + (1,) * (array.ndim - 1))

    changed = repeated(rows.observations)
    changed[np.arange(count) * agents + place, features] = known.baseline[features]
    found = policy.infer(
        signature.module, changed, repeated(rows.masks), state=repeated(rows.state), alive=repeated(rows.alive)
    )
    effects = _measured(policy, signature, answer.dist_inputs[row : row + 1], answer.actions[row]) - _measured(
        policy, signature, found.dist_inputs[place::agents], answer.actions[row]
    )
    if rows.masks is not None and not signature.discrete:
        effects = np.where(rows.masks[row], effects, np.float32(0))
    totals = np.abs(effects).sum(axis=1)
    order = np.argsort(-totals, kind="stable")[:most]
    names = signature.action_names
    return [
        {
            "feature": signature.names[features[index]],
            "value": seen[features[index]],
            "baseline": known.baseline[features[index]],
            "effect": totals[index],
            "actions": effects[index] if names is None else dict(zip(names, effects[index], strict=True)),
        }
        for index in order
    ]


def _measured(
    policy: BundlePolicy, signature: ModuleSignature, dist_inputs: FloatArray, actions: NDArray[Any]
) -> FloatArray:
    """What is compared, `[N, K]`: means as the env takes them, or log-probabilities of the choices made."""
    space = policy.spaces_of(signature.module).action_space
    if isinstance(space, MultiDiscrete):
        chosen = np.broadcast_to(actions, (len(dist_inputs), signature.num_actions))
        return branch_log_probs(dist_inputs, chosen, space)
    return np.clip(dist_inputs[:, : signature.num_actions], -1.0, 1.0)


def _module(policy: BundlePolicy, module: str) -> _Module:
    modules = _known.setdefault(policy, {})
    if module not in modules:
        layout = policy.spaces_of(module).layout
        golden = policy.manifest.golden.get(module)
        seen = None if golden is None else np.array(golden.observations, np.float32)
        if seen is not None and golden is not None and golden.alive is not None:
            seen = seen[np.array(golden.alive)]
        modules[module] = _Module(_baseline(layout, seen), _entity_of(layout))
    return modules[module]


def _baseline(layout: ObservationLayout, seen: FloatArray | None) -> FloatArray:
    """Mean of each feature; of an entity's features, over the rows in which it exists. 0 of its `exists`."""
    if seen is None:
        return np.zeros(layout.size, np.float32)
    baseline = np.zeros(layout.size, np.float32)
    baseline[layout.own_slice] = layout.own_of(seen).mean(axis=0)
    for table, values, exists in layout.places:
        present = np.repeat(seen[:, exists] > 0.5, len(table.features), axis=1)
        baseline[values] = np.where(present, seen[:, values], 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    return baseline


def _entity_of(layout: ObservationLayout) -> NDArray[np.int64]:
    first, parts = 0, [np.full(len(layout.own), -1)]
    for table, _, _ in layout.places:
        entities = first + np.arange(len(table.entities))
        parts += [np.repeat(entities, len(table.features)), entities]
        first += len(entities)
    return np.concatenate(parts).astype(np.int64)
