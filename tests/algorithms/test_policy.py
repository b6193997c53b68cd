"""Modules as a policy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from algorithms.export import export_bundle
from algorithms.mapping import PolicyMapping
from algorithms.networks.module import ActorCriticModule, module_spec
from algorithms.policy import ModulePolicy
from envs.base import BatchedEnv
from envs.cue import CueTask
from envs.registry import get_domain
from policies.bundle import load_bundle
from policies.rollout import play


def cue(mode: str, worlds: int = 3) -> BatchedEnv:
    return get_domain("cue").env({"action_mode": mode, "num_agents": 3}, worlds)


def modules_for(mapping: PolicyMapping) -> dict[str, ActorCriticModule]:
    torch.manual_seed(0)
    modules = {name: module_spec(mapping.module_spaces(name)).build() for name in mapping.modules}
    for module in modules.values():
        with torch.no_grad():
            for parameter in module.policy_head.parameters():
                parameter += 0.5 * torch.randn(parameter.shape)
    return modules


@pytest.mark.parametrize("mode", ["continuous", "discrete"])
@pytest.mark.parametrize("sharing", ["shared", "per_agent"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_module_and_bundle_play_the_same_episodes(tmp_path: Path, mode: str, sharing: str, deterministic: bool) -> None:
    """From the same seed the trained modules and their bundle earn the same, sampling included."""
    env = cue(mode)
    mapping = PolicyMapping(sharing, env.groups)  # type: ignore[arg-type]
    modules = modules_for(mapping)
    export_bundle(tmp_path / "b", modules, mapping, name="team", domain="cue", env_config={})
    task = CueTask(entities=2, max_steps=6)
    played = [
        play(env, policy, task, seed=5, deterministic=deterministic).returns
        for policy in (ModulePolicy(modules, mapping), load_bundle(tmp_path / "b"))
    ]
    np.testing.assert_allclose(played[0], played[1], rtol=1e-5)


def test_each_agent_plays_its_own_module() -> None:
    """With a module an agent, changing one module changes that agent's actions only."""
    env = cue("continuous")
    mapping = PolicyMapping("per_agent", env.groups)
    modules = modules_for(mapping)
    policy = ModulePolicy(modules, mapping)
    policy.bind(env)
    seen = env.reset(0)
    rng = np.random.default_rng(0)
    before = policy.act(seen, None, deterministic=True, rng=rng)[0]["repeaters"]
    with torch.no_grad():
        modules["repeater_1"].policy_head.level.bias += 0.1
    after = policy.act(seen, None, deterministic=True, rng=rng)[0]["repeaters"]
    assert (before != after).any(axis=(0, 2)).tolist() == [False, True, False]


def test_actions_are_the_modules_own() -> None:
    """Actions are the module's means, clipped, world by world and agent by agent, and 0 where masked."""
    env = cue("continuous")
    mapping = PolicyMapping("shared", env.groups)
    modules = modules_for(mapping)
    policy = ModulePolicy(modules, mapping)
    policy.bind(env)
    seen = env.reset(0)
    actions = policy.act(seen, None, deterministic=True, rng=np.random.default_rng(0))[0]["repeaters"]
    rows = torch.from_numpy(seen.observations["repeaters"].reshape(9, -1))
    with torch.no_grad():
        mean = modules["shared"].forward_policy({"obs": rows})[:, :3].clamp(-1, 1).reshape(3, 3, 3)
    mask = seen.action_masks["repeaters"]
    np.testing.assert_allclose(actions, np.where(mask, mean.numpy(), 0), rtol=1e-5)
    assert not mask.all()


def test_another_env_is_refused() -> None:
    """Groups, layouts and action spaces that differ from the trained ones are named; another team size is allowed."""
    env = cue("continuous")
    mapping = PolicyMapping("shared", env.groups)
    policy = ModulePolicy(modules_for(mapping), mapping)
    with pytest.raises(ValueError, match="actions"):
        policy.bind(cue("discrete"))
    with pytest.raises(ValueError, match=r"layout\.entities"):
        policy.bind(get_domain("cue").env({"num_entities": 5}, 1))
    policy.bind(get_domain("cue").env({"num_agents": 7}, 1))
    single = PolicyMapping("per_agent", env.groups)
    with pytest.raises(ValueError, match="got 7 agents"):
        ModulePolicy(modules_for(single), single).bind(get_domain("cue").env({"num_agents": 7}, 1))
