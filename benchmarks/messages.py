"""What it costs agents to tell each other something: a forward pass with no messages, their mean, and attention.

Policy and values of the default network on what traders see, whole worlds at once, as a runner asks for them. Passes of
all sizes have about as many agents, so that only the size of a team differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.harness import Bar, BenchmarkResult, interleave

KINDS = ("none", "mean", "attention")
LARGEST_GROWTH = 1.25
"""What an agent's pass with the mean may cost in the largest team, over what it does in the smallest: linear is 1."""


def run(
    *,
    sizes: Sequence[int] = (25, 100, 400),
    agent_steps: int = 6400,
    rounds: int = 1,
    repeats: int = 9,
    progress: Callable[[str], None] = print,
) -> BenchmarkResult:
    """Measures processor time, in which others on the machine count little, and of several passes takes the fastest.

    Args:
        sizes: Agents in a world.
        agent_steps: Agents in a pass, about.
        rounds: Rounds of messages.
        repeats: Times that everything is measured, in turn.
        progress: Called with a line after each measurement.

    Returns:
        Microseconds an agent-step of every kind and size, and by how much those of the mean grow with the team.
    """
    passes = {
        f"{kind}, {agents} agents": forward_pass(kind, agents, max(1, agent_steps // agents), rounds)
        for agents in sizes
        for kind in KINDS
    }
    figures = interleave(passes, repeats, progress=progress)
    bars = [
        Bar(f"{name} [us/agent-step]", min(values), low=min(values), high=max(values))
        for name, values in figures.items()
    ]
    growth = min(figures[f"mean, {max(sizes)} agents"]) / min(figures[f"mean, {min(sizes)} agents"])
    bars.append(Bar(f"mean: {max(sizes)} agents over {min(sizes)}", growth, LARGEST_GROWTH, at_most=True))
    return BenchmarkResult(bars, figures)


def forward_pass(kind: str, agents: int, worlds: int, rounds: int) -> Callable[[], float]:
    """A forward pass of so many worlds; each call makes one, and returns its microseconds an agent-step."""
    import torch
    from ray.rllib.core.columns import Columns

    from algorithms.networks.config import NetworkConfig
    from algorithms.networks.module import ActorCriticModule, module_spec
    from algorithms.networks.protocol import ALIVE
    from envs.registry import get_domain

    torch.set_num_threads(1)
    torch.manual_seed(0)
    (group,) = get_domain("trading").env({"num_agents": agents}, 1).groups.values()
    network = NetworkConfig.model_validate({"messages": kind, "rounds": rounds})
    module = module_spec(group, network).build()
    assert isinstance(module, ActorCriticModule)
    seen = torch.randn((worlds, agents, group.layout.size))
    seen[..., group.layout.mask_slice] = 1.0
    batch: dict[str, Any] = {Columns.OBS: seen, ALIVE: torch.ones((worlds, agents), dtype=torch.bool)}
    if not module.whole_worlds:
        batch = {Columns.OBS: seen.flatten(0, 1)}

    def measure() -> float:
        with torch.inference_mode():
            began = time.process_time()
            module.forward_policy_and_value(batch)
            return (time.process_time() - began) * 1e6 / (worlds * agents)

    measure()  # the first pass allocates
    return measure
