"""torch, the ONNX graph and the reloaded bundle agree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from algorithms.export import OPSET, export_bundle, export_graph, golden_rows
from algorithms.mapping import PolicyMapping
from algorithms.networks.config import NetworkConfig
from algorithms.networks.distributions import deterministic, log_prob
from algorithms.networks.module import ActorCriticModule, module_spec
from algorithms.networks.protocol import ACTION_MASK
from envs.base import AgentGroup
from envs.layout import ObservationLayout
from policies import bundle as bundles
from policies.bundle import BundleError, load_bundle
from policies.network import Rows

STATE_SIZE = 6
TABLE = ObservationLayout(("cash", "age"), ("price", "rsi"), ("a", "b", "c"), 1)
GROUPS = {
    "traders": AgentGroup("traders", ("t0", "t1"), Box(-1, 1, (3,), np.float32), TABLE),
    "choosers": AgentGroup("choosers", ("c0", "c1"), MultiDiscrete([4, 4, 4]), TABLE),
    "plain": AgentGroup("plain", ("p0",), MultiDiscrete([2, 5]), ObservationLayout(("x", "y", "z"))),
}
NETWORKS = {
    "thin": NetworkConfig(),
    "thin-own-std-apart": NetworkConfig(own_in_entities=True, std="network", share_trunk=False, activation="relu"),
    "flat-stock": NetworkConfig(kind="flat", share_trunk=False, std="network", normalise=False),
    "central": NetworkConfig(central_critic=True, activation="silu"),
}


def trained(mapping: PolicyMapping, network: NetworkConfig) -> dict[str, ActorCriticModule]:
    """Modules with weights and statistics that are not the first ones."""
    torch.manual_seed(0)
    modules = {}
    for number, name in enumerate(mapping.modules):
        module = module_spec(mapping.module_spaces(name), network, STATE_SIZE).build()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter += 0.2 * torch.randn(parameter.shape)
        rng = np.random.default_rng(number)
        seen = (100 * rng.standard_normal((500, module.layout.size)) + 1000).astype(np.float32)
        seen[:, module.layout.mask_slice] = rng.random((500, module.layout.num_entities)) < 0.8
        module.update_normaliser(seen, rng.standard_normal((500, STATE_SIZE)).astype(np.float32))
        modules[name] = module
    return modules


def outputs(module: ActorCriticModule, rows: Rows) -> torch.Tensor:
    batch = {"obs": torch.from_numpy(rows.observations), ACTION_MASK: torch.from_numpy(rows.masks)}
    with torch.no_grad():
        return module.forward_policy(batch)


@pytest.mark.parametrize("mode", ["per_role", "per_agent"])
@pytest.mark.parametrize("name", NETWORKS)
def test_torch_graph_and_bundle_agree(tmp_path: Path, name: str, mode: str) -> None:
    """At every batch size outputs agree within 1e-5, and actions are the same unless tied."""
    mapping = PolicyMapping(mode, GROUPS)  # type: ignore[arg-type]
    modules = trained(mapping, NETWORKS[name])
    export_bundle(tmp_path / "b", modules, mapping, name="team", domain="cue", env_config={})
    policy = load_bundle(tmp_path / "b", verify=True)
    for key, module in modules.items():
        for count in (0, 1, 7, 256):
            rows = golden_rows(module, count, seed=100 + count)
            wanted = outputs(module, rows)
            found = policy.infer(key, rows.observations, rows.masks)
            np.testing.assert_allclose(found.dist_inputs, wanted.numpy(), rtol=1e-5, atol=1e-5)
            actions = deterministic(wanted, module.action_space)
            raw = actions.clamp(-1, 1) if actions.is_floating_point() else actions
            mask = rows.masks if module.log_std is not None else True
            np.testing.assert_allclose(found.actions, np.where(mask, raw.numpy(), 0), rtol=1e-5, atol=1e-5)
            likely = log_prob(wanted, actions, module.action_space)
            np.testing.assert_allclose(found.log_probs, likely.numpy(), rtol=1e-4, atol=1e-4)
            assert (found.values is None) == (name == "central")
            if found.values is not None:
                with torch.no_grad():
                    values = module.compute_values({"obs": torch.from_numpy(rows.observations)})
                np.testing.assert_allclose(found.values, values.numpy(), rtol=1e-5, atol=1e-5)


def test_a_multi_module_is_exported_as_it_is(tmp_path: Path) -> None:
    """RLlib's own container of modules is taken, the others in it are left out, and it stays in its mode."""
    mapping = PolicyMapping("per_role", {"traders": GROUPS["traders"]})
    specs = {key: module_spec(GROUPS["traders"]) for key in ("traders", "other")}
    multi = MultiRLModuleSpec(rl_module_specs=specs).build()
    multi["traders"].train()
    manifest = export_bundle(tmp_path / "b", multi, mapping, name="team", domain="cue", env_config={})
    assert list(manifest.golden) == ["traders"]
    assert multi["traders"].training
    with pytest.raises(ValueError, match="choosers"):
        export_bundle(tmp_path, multi, PolicyMapping("per_role", GROUPS), name="team", domain="cue", env_config={})


def test_graph_is_one_file_with_named_rows() -> None:
    """The graph carries its weights, a fixed opset, and a free number of rows for each module."""
    mapping = PolicyMapping("per_role", GROUPS)
    graph = onnx.load_from_string(export_graph(trained(mapping, NETWORKS["thin"])))
    onnx.checker.check_model(graph)
    assert graph.opset_import[0].version == OPSET
    assert not any(weight.external_data for weight in graph.graph.initializer)
    names = [given.name for given in graph.graph.input]
    assert names == [f"{key}.{what}" for key in mapping.modules for what in ("observations", "action_mask")]
    rows = {given.name: given.type.tensor_type.shape.dim[0].dim_param for given in graph.graph.input}
    assert rows["plain.observations"] == rows["plain.action_mask"] == "plain.rows"


@pytest.mark.parametrize("seed", range(20))
def test_golden_rows_can_act(seed: int) -> None:
    """In each golden row each branch has a choice, and masks are not all the same; so the service takes them."""
    mapping = PolicyMapping("per_role", GROUPS)
    for module in trained(mapping, NETWORKS["thin"]).values():
        masks = golden_rows(module, 16, seed=seed).masks
        assert not masks.all()
        if isinstance(module.action_space, MultiDiscrete):
            for branch in np.split(masks, np.cumsum(module.action_space.nvec)[:-1], axis=1):
                assert branch.any(axis=1).all()


def test_manifest_says_what_it_is(tmp_path: Path) -> None:
    """Domain, config, task, spaces, mapping, figures and given golden observations are in the manifest."""
    mapping = PolicyMapping("per_agent", GROUPS)
    modules = trained(mapping, NETWORKS["thin"])
    golden = {"t0": golden_rows(modules["t0"], 3, seed=7)}
    manifest = export_bundle(
        tmp_path / "b",
        modules,
        mapping,
        name="team",
        domain="trading",
        env_config={"num_agents": 5},
        task={"name": "calm"},
        metrics={"score": 0.5},
        golden=golden,
    )
    written = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert written["domain"] == "trading"
    assert (written["env_config"], written["task"]) == ({"num_agents": 5}, {"name": "calm"})
    assert written["metrics"] == {"score": 0.5}
    assert written["groups"]["choosers"]["modules"] == ["c0", "c1"]
    np.testing.assert_array_equal(np.float32(manifest.golden["t0"].observations), golden["t0"].observations)
    assert {key: entry.group(key) for key, entry in manifest.groups.items()} == GROUPS


def test_a_graph_that_disagrees_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If graph and torch differ the export fails in one line, and nothing is left behind."""
    mapping = PolicyMapping("per_role", {"traders": GROUPS["traders"]})
    modules = trained(mapping, NETWORKS["thin"])
    graph = export_graph(modules)
    with torch.no_grad():
        modules["traders"].log_std += 0.01
    monkeypatch.setattr("algorithms.export.export_graph", lambda *_: graph)
    with pytest.raises(BundleError, match=r"export: 1 rows of traders.action_dist_inputs\[0, \d\]: found .* expected"):
        export_bundle(tmp_path / "b", modules, mapping, name="team", domain="cue", env_config={})
    assert list(tmp_path.iterdir()) == []


def test_exported_policy_needs_neither_torch_nor_ray() -> None:
    """What loads bundles imports neither torch nor Ray."""
    import subprocess
    import sys

    script = "import sys, policies.bundle; assert not {'torch', 'ray', 'algorithms'} & set(sys.modules)"
    root = Path(bundles.__file__).parents[1]
    subprocess.run([sys.executable, "-c", script], check=True, cwd=root)
