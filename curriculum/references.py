"""What the naive and the informed policy earn on each task: measured once a process, then remembered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from envs.base import EnvConfig, Task
from envs.registry import get_domain
from policies.heuristics import Baselines, baselines
from policies.score import Reference, measure_reference

_MEASURED: dict[str, Reference] = {}


def measure_references(
    domain: str,
    env_config: EnvConfig | Mapping[str, Any] | None,
    tasks: Sequence[Task],
    *,
    episodes: int = 128,
    seed: int = 7_919,
    yardsticks: Baselines | None = None,
) -> dict[str, Reference]:
    """Plays the naive and the informed policy on every task, in an env of its own.

    Args:
        domain: Name of the domain, or its dotted address.
        env_config: The run's env config: the same agents, costs and spaces as in training.
        tasks: The tasks, with unique names.
        episodes: Episodes a policy plays on each task, rounded up to full batches.
        seed: Seed of the worlds; not one that is trained on.
        yardsticks: The policies; the domain's own if None.

    Returns:
        References by the name of the task.

    Raises:
        ValueError: If the informed policy does not beat the naive one on a task: no score could be given there.
    """
    found = get_domain(domain)
    if not isinstance(env_config, EnvConfig):
        env_config = found.config_type.model_validate(dict(env_config or {}))
    names = yardsticks or baselines(domain)
    worlds = min(256, episodes)
    context = [domain, env_config.model_dump(mode="json"), worlds, episodes, seed, names.naive, names.informed]
    context.append(names.attainable)
    env = None
    references = {}
    for task in tasks:
        key = json.dumps([*context, task.model_dump(mode="json")], sort_keys=True)
        if key not in _MEASURED:
            env = env or found.env(env_config, worlds)
            made = {name: names.policies[name]() for name in {names.naive, names.informed, names.attainable} - {""}}
            _MEASURED[key] = measure_reference(
                env,
                task,
                made[names.naive],
                made[names.informed],
                seed=seed,
                episodes_per_world=-(-episodes // worlds),
                attainable=made.get(names.attainable),
                bound=names.bound,
            )
        reference = _MEASURED[key]
        if not reference.informed > reference.naive:
            raise ValueError(
                f"task {task.name}: {names.informed} earns {reference.informed:.6g}, {names.naive} "
                f"{reference.naive:.6g}; allowed are tasks on which the informed policy beats the naive one"
            )
        references[task.name] = reference
    return references
