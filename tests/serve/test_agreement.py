"""What is served is what was trained: torch, ONNX and HTTP act alike, for every algorithm and domain there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from algorithms.export import export_bundle
from algorithms.policy import ModulePolicy
from algorithms.registry import algorithm_names
from envs.base import Observation
from envs.registry import domain_names, get_domain
from envs.sampling import random_actions
from policies.network import Rows
from rllib_configs.build import build_algorithm_config
from rllib_configs.overrides import load
from rllib_configs.schema import ExperimentConfig

ALGORITHMS = algorithm_names()
WORLDS, STEPS = 3, 3


def seen_in(env: Any) -> Observation:
    """What the agents see after a few random steps."""
    rng = np.random.default_rng(0)
    observation = env.reset(0)
    for _ in range(STEPS):
        observation = env.step(random_actions(env.groups, observation, rng)).observation
    return observation


def trained(config: ExperimentConfig) -> tuple[dict[str, Any], Any]:
    """The networks that an algorithm trains, with weights and statistics far from where they begin."""
    algorithm = build_algorithm_config(config)
    algorithm.validate()
    torch.manual_seed(0)
    modules = {name: spec.build() for name, spec in algorithm.rl_module_spec.rl_module_specs.items()}
    with torch.no_grad():
        for module in modules.values():
            for weight in module.parameters():
                weight.add_(0.2 * torch.randn_like(weight))
    return modules, algorithm.policy_mapping()


@pytest.mark.parametrize("policies", ["shared", "per_agent"])
@pytest.mark.parametrize("action_mode", ["continuous", "discrete"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("domain", domain_names())
def test_torch_onnx_and_http_act_alike(
    domain: str, algorithm: str, action_mode: str, policies: str, serving: Any, as_version: Any, tmp_path: Path
) -> None:
    """For the same observations: distributions within 1e-5 and the same actions, or choices unless they are tied."""
    if algorithm == "pathwise" and not (get_domain(domain).slopes and action_mode == "continuous"):
        pytest.skip("it learns by slopes, which there are none of")
    if algorithm == "qmix" and action_mode == "continuous":
        pytest.skip("it learns what choices are worth, and there are none")
    config = load(domain, algorithm, overrides=[f"env.action_mode={action_mode}", f"policies={policies}"])
    modules, mapping = trained(config)
    env = get_domain(domain).env(config.env_config(), WORLDS)
    observation = seen_in(env)
    torch_policy = ModulePolicy(modules, mapping)
    export_bundle(tmp_path / "b", modules, mapping, name=domain, domain=domain, env_config=config.env_config())
    version = as_version(tmp_path / "b", domain)
    rng = np.random.default_rng(0)
    from_torch, _ = torch_policy.act(observation, None, deterministic=True, rng=rng)
    from_onnx, _ = version.policy.act(observation, None, deterministic=True, rng=rng)
    from_http, asked = ask(serving(version), domain, version, observation)
    for module, rows in asked.items():
        wanted = torch_policy.dist_inputs({module: rows})[module]
        np.testing.assert_allclose(version.policy.dist_inputs({module: rows})[module], wanted, atol=1e-5, rtol=1e-5)
    for name, group in env.groups.items():
        alive = observation.alive[name]
        tolerance = 0.0 if group.discrete else 1e-5
        np.testing.assert_allclose(from_onnx[name][alive], from_torch[name][alive], atol=tolerance, rtol=0)
        np.testing.assert_allclose(from_http[name][alive], from_torch[name][alive], atol=tolerance, rtol=0)


@pytest.mark.parametrize("messages", ["mean", "attention"])
@pytest.mark.parametrize(
    ("domain", "action_mode", "task"),
    [("cue", "discrete", {"lifetimes": (2,)}), ("trading", "continuous", None)],
    ids=["cue", "trading"],
)
def test_agents_that_talk_act_alike(
    domain: str, action_mode: str, task: Any, messages: str, serving: Any, as_version: Any, tmp_path: Path
) -> None:
    """Torch, ONNX and HTTP agree on whole worlds, some of whose agents are away; loose rows are refused."""
    settings = ["env.num_agents=4", f"env.action_mode={action_mode}", f"network.messages={messages}"]
    config = load(domain, "ppo", overrides=[*settings, "network.rounds=2"])
    modules, mapping = trained(config)
    env = get_domain(domain).env(config.env_config(), WORLDS, task=task)
    observation = seen_in(env)
    (name,) = env.groups
    alive = observation.alive[name]
    assert alive.all() == (task is None)
    torch_policy = ModulePolicy(modules, mapping)
    export_bundle(tmp_path / "b", modules, mapping, name=domain, domain=domain, env_config=config.env_config())
    version = as_version(tmp_path / "b", domain)
    assert version.policy.team_sizes == {"shared": 4}
    client = serving(version)
    rng = np.random.default_rng(0)
    from_torch, _ = torch_policy.act(observation, None, deterministic=True, rng=rng)
    from_onnx, _ = version.policy.act(observation, None, deterministic=True, rng=rng)
    from_http, asked = ask(client, domain, version, observation)
    wanted = torch_policy.dist_inputs(asked)["shared"]
    np.testing.assert_allclose(version.policy.dist_inputs(asked)["shared"], wanted, atol=1e-5, rtol=1e-5)
    for found in (from_onnx, from_http):
        np.testing.assert_allclose(found[name][alive], from_torch[name][alive], atol=1e-5, rtol=0)
    rows = asked["shared"]
    with pytest.raises(ValueError, match=r"^alive: got None, allowed for module 'shared', which reads whole worlds"):
        version.policy.infer("shared", rows.observations)
    loose = {"name": "observations", "datatype": "FP32", "shape": list(rows.observations.shape)}
    reply = client.post(
        f"/v2/models/{domain}/infer", json={"inputs": [loose | {"data": rows.observations.ravel().tolist()}]}
    )
    assert reply.status_code == 400
    assert "observations" in reply.text


@pytest.mark.parametrize(
    ("algorithm", "action_mode"), [("ppo", "continuous"), ("ppo", "discrete"), ("qmix", "discrete")]
)
def test_agents_that_remember_act_alike(
    algorithm: str, action_mode: str, serving: Any, as_version: Any, tmp_path: Path
) -> None:
    """Over an episode torch, ONNX and HTTP agree, each on its own memory; one agent leaves, and one never came."""
    settings = ["env.num_agents=4", f"env.action_mode={action_mode}", "env.recall=true"]
    config = load("cue", algorithm, overrides=[*settings, "network.memory=gru", "network.memory_width=8"])
    modules, mapping = trained(config)
    env = get_domain("cue").env(config.env_config(), WORLDS, task={"lifetimes": (2,), "agents": 3, "max_steps": 6})
    (name,) = env.groups
    torch_policy = ModulePolicy(modules, mapping)
    export_bundle(tmp_path / "b", modules, mapping, name="cue", domain="cue", env_config=config.env_config())
    version = as_version(tmp_path / "b", "cue")
    client, rng = serving(version), np.random.default_rng(0)
    observation, ours, theirs = env.reset(0), None, None
    for _ in range(5):
        from_torch, ours = torch_policy.act(observation, ours, deterministic=True, rng=rng)
        from_onnx, theirs = version.policy.act(observation, theirs, deterministic=True, rng=rng)
        alive = observation.alive[name]
        np.testing.assert_allclose(from_onnx[name][alive], from_torch[name][alive], atol=1e-5, rtol=0)
        for world in range(WORLDS):  # a session each: the service remembers
            rows = {
                agent: observation.observations[name][world, index].tolist()
                for index, agent in enumerate(env.groups[name].agent_ids)
                if alive[world, index]
            }
            masks = {
                agent: observation.action_masks[name][world, index].tolist()
                for index, agent in enumerate(env.groups[name].agent_ids)
                if alive[world, index]
            }
            body = {"observations": [rows], "action_masks": [masks], "session": f"world {world}"}
            reply = client.post("/v1/policies/cue/act", json=body)
            assert reply.status_code == 200, reply.text
            for index, agent in enumerate(env.groups[name].agent_ids):
                if agent in rows:
                    given = reply.json()["actions"][0][agent]
                    found = list(given.values()) if isinstance(given, dict) else given
                    np.testing.assert_allclose(found, from_torch[name][world, index], atol=1e-5, rtol=0)
        observation = env.step(from_torch).observation


def ask(
    client: httpx.Client, model: str, version: Any, observation: Observation
) -> tuple[dict[str, Any], dict[str, Rows]]:
    """Actions over HTTP by group, from one `act` for all worlds; and the rows that each module read."""
    body: dict[str, Any] = {"observations": [], "action_masks": []}
    for world in range(WORLDS):
        tables: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
        for name, group in version.policy.groups.items():
            for index, agent in enumerate(group.agent_ids):
                if not observation.alive[name][world, index]:
                    continue
                row = observation.observations[name][world, index].tolist()
                # Half of them by name.
                tables[0][agent] = dict(zip(group.layout.names, row, strict=True)) if index % 2 else row
                if name in observation.action_masks:
                    tables[1][agent] = observation.action_masks[name][world, index].tolist()
        body["observations"].append(tables[0])
        body["action_masks"].append(tables[1])
    reply = client.post(f"/v1/policies/{model}/act", json=body)
    assert reply.status_code == 200, reply.text
    actions: dict[str, Any] = {}
    for name, group in version.policy.groups.items():
        kind = np.int64 if group.discrete else np.float32
        actions[name] = np.zeros((WORLDS, group.size, group.num_actions), kind)
        for world, table in enumerate(reply.json()["actions"]):
            for index, agent in enumerate(group.agent_ids):
                if agent in table:
                    given = table[agent]
                    actions[name][world, index] = list(given.values()) if isinstance(given, dict) else given
    rows = {module: version.policy._rows(observation, module) for module in version.policy.modules}
    check_infer(client, model, version, rows)
    return actions, rows


def check_infer(client: httpx.Client, model: str, version: Any, rows: dict[str, Rows]) -> None:
    """`infer` gives what the bundle itself gives for the same rows, to the bit."""
    several = len(rows) > 1
    inputs = []
    for module, each in rows.items():
        prefix = f"{module}." if several else ""
        team = version.policy.team_sizes.get(module)
        worlds = [len(each.observations)] if team is None else [len(each.observations) // team, team]
        read = {"observations": each.observations, "action_mask": each.masks}
        if each.alive is not None:
            read["alive"] = each.alive
        for tensor, array in read.items():
            kind = "FP32" if tensor == "observations" else "BOOL"
            shape, data = [*worlds, *array.shape[1:]], array.ravel().tolist()
            inputs.append({"name": f"{prefix}{tensor}", "shape": shape, "datatype": kind, "data": data})
    reply = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs})
    assert reply.status_code == 200, reply.text
    outputs = {output["name"]: output for output in reply.json()["outputs"]}
    for module, each in rows.items():
        wanted = version.policy.infer(module, each.observations, each.masks, alive=each.alive).actions
        output = outputs[f"{module}.actions" if several else "actions"]
        found = np.array(output["data"], wanted.dtype).reshape(output["shape"]).reshape(wanted.shape)
        asked = slice(None) if each.alive is None else each.alive
        np.testing.assert_array_equal(found[asked], wanted[asked])
