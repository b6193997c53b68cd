"""Recurrent policies: what they remember, for how long, and that a bundle keeps to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from envs.base import Actions, BatchedEnv, IntArray, Observation
from envs.registry import get_domain
from policies.base import Policy
from policies.bundle import BundleError, BundlePolicy, load_bundle, save_bundle
from policies.manifest import GoldenEntry, GroupEntry, Manifest
from policies.rollout import play

DOMAIN = get_domain("cue")
WORLDS = 3


def graph(modules: list[str], size: int, actions: int, *, remembers: bool = True) -> bytes:
    """A network that adds up what it sees: its state is the sum, and its action a product with it."""
    nodes, inputs, outputs = [], [], []
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((size, 2 * actions)).astype(np.float32), "weights"),
        numpy_helper.from_array(np.float32(0), "zero"),
    ]
    for m in modules:
        nodes += [
            helper.make_node("Add", [f"{m}.state", f"{m}.observations"], [f"{m}.next_state"]),
            helper.make_node("MatMul", [f"{m}.next_state", "weights"], [f"{m}.head"]),
            helper.make_node("Concat", [f"{m}.action_mask", f"{m}.action_mask"], [f"{m}.masks"], axis=1),
            helper.make_node("Where", [f"{m}.masks", f"{m}.head", "zero"], [f"{m}.action_dist_inputs"]),
        ]
        for name, kind, width in (("observations", 1, size), ("action_mask", 9, actions), ("state", 1, size)):
            inputs.append(helper.make_tensor_value_info(f"{m}.{name}", kind, ["n", width]))
        given = [("action_dist_inputs", 2 * actions), ("next_state", size)][: 1 + remembers]
        outputs += [helper.make_tensor_value_info(f"{m}.{n}", TensorProto.FLOAT, ["n", width]) for n, width in given]
    whole = helper.make_graph(nodes, "sums", inputs, outputs, weights)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def env(worlds: int = WORLDS) -> BatchedEnv:
    return DOMAIN.env({}, worlds, task={"max_steps": 5, "entities": 2})


def written(path: Path, modules: tuple[str, ...] = ("shared", "shared"), **options: Any) -> Path:
    """A recurrent bundle for the tiny env, on disk."""
    ((name, group),) = env().groups.items()
    size, names = group.layout.size, list(dict.fromkeys(modules))
    content = graph(names, size, group.num_actions, **options)
    seen = np.random.default_rng(1).standard_normal((4, size)).astype(np.float32)
    mask = np.ones((4, group.num_actions), np.bool_)
    manifest = Manifest(
        name="sums",
        created="2026-01-01T00:00:00+00:00",
        domain="cue",
        env_config={},
        groups={name: GroupEntry.of(group, modules)},
        recurrent=dict.fromkeys(names, size),
        golden={},
    )
    if options.get("remembers", True):
        policy = BundlePolicy(manifest, content)
        golden = {}
        for module in names:
            found = policy.infer(module, seen, mask, state=seen[::-1])
            assert found.state is not None
            golden[module] = GoldenEntry(
                observations=seen.tolist(),
                action_mask=mask.tolist(),
                action_dist_inputs=found.dist_inputs.tolist(),
                state=seen[::-1].tolist(),
                next_state=found.state.tolist(),
            )
        manifest = manifest.model_copy(update={"golden": golden})
    save_bundle(path, content, manifest)
    return path


def test_state_goes_in_and_out(tmp_path: Path) -> None:
    """The next state is returned; none given is that of an episode's start."""
    policy = load_bundle(written(tmp_path / "b"), verify=True)
    seen = np.random.default_rng(2).standard_normal((6, policy.state_sizes["shared"])).astype(np.float32)
    first = policy.infer("shared", seen)
    np.testing.assert_array_equal(first.state, seen)
    second = policy.infer("shared", seen, state=first.state)
    np.testing.assert_array_equal(second.state, 2 * seen)
    assert not np.array_equal(first.actions, second.actions)


def test_state_of_another_shape_is_refused(tmp_path: Path) -> None:
    """One line says what was given and what fits."""
    policy = load_bundle(written(tmp_path / "b"))
    size = policy.state_sizes["shared"]
    with pytest.raises(ValueError, match=rf"^state: got shape \(2, 1\), allowed is \(1, {size}\)$"):
        policy.infer("shared", np.zeros((1, size), np.float32), state=np.zeros((2, 1), np.float32))


@pytest.mark.parametrize("modules", [("shared", "shared"), ("one", "two")])
def test_acting_carries_the_state(tmp_path: Path, modules: tuple[str, ...]) -> None:
    """Step by step, each agent of each world acts on the sum of what it has seen since its world began."""
    policy = load_bundle(written(tmp_path / "b", modules))
    worlds = env()
    policy.bind(worlds)
    ((name, group),) = worlds.groups.items()
    rng = np.random.default_rng(0)
    sums = np.zeros((WORLDS, group.size, group.layout.size), np.float32)
    observation, state = worlds.reset(0), None
    for step in range(8):
        sums += observation.observations[name]
        actions, state = policy.act(observation, state, deterministic=True, rng=rng)
        for index, module in enumerate(modules):
            masks = observation.action_masks.get(name)
            mask = None if masks is None else masks[:, index]
            before = sums[:, index] - observation.observations[name][:, index]
            wanted = policy.infer(module, observation.observations[name][:, index], mask, state=before).actions
            np.testing.assert_allclose(actions[name][:, index], wanted, atol=1e-5)
        observation = worlds.step(actions).observation
        if step == 3:
            kept = state
            state = policy.forget(state, np.array([1]))
            assert all(memory[1].any() for memory in kept.values())
            sums[1] = 0


def test_policies_without_state_forget_nothing() -> None:
    """A network without memory has no state, before and after."""
    ((name, group),) = env().groups.items()
    groups = {name: GroupEntry.of(group, ("a", "a"))}
    manifest = Manifest(name="plain", created="now", domain="cue", env_config={}, groups=groups, golden={})
    assert "recurrent" not in manifest.model_dump(mode="json")
    assert BundlePolicy.forget(object.__new__(BundlePolicy), None, np.array([0])) is None


class Counting(Policy):
    """Counts the steps of each world's episode in its state."""

    def __init__(self) -> None:
        self.longest = 0

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the groups."""
        self._groups = env.groups

    def act(
        self, observation: Observation, state: Any, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, Any]:
        """Does nothing, and counts."""
        worlds = len(observation.state)
        state = np.zeros(worlds, np.int64) if state is None else state
        self.longest = max(self.longest, int(state.max()) + 1)
        zeros = {g.name: np.zeros((worlds, g.size, g.num_actions), np.float32) for g in self._groups.values()}
        return zeros, state + 1

    def forget(self, state: Any, worlds: IntArray) -> Any:
        """Counts from 0."""
        state = state.copy()
        state[worlds] = 0
        return state


def test_episodes_begin_without_memory() -> None:
    """A rollout has the policy forget worlds as their episodes end."""
    policy = Counting()
    episodes = play(env(), policy, DOMAIN.task_type.model_validate({"max_steps": 5}), episodes_per_world=3)
    assert policy.longest == episodes.lengths.max() == 5


def test_golden_states_must_be_reproduced(tmp_path: Path) -> None:
    """Verification covers the next state."""
    bundle = written(tmp_path / "b")
    plain = json.loads((bundle / "manifest.json").read_text())
    plain["golden"]["shared"]["next_state"][2][1] += 0.01
    manifest = Manifest.model_validate(plain)
    (bundle / "manifest.json").write_text(manifest.model_copy(update={"sha256": manifest.digest()}).model_dump_json())
    with pytest.raises(BundleError, match=r"golden shared.next_state\[2, 1\]: found"):
        load_bundle(bundle, verify=True)


def test_graph_must_give_the_state_that_the_manifest_promises(tmp_path: Path) -> None:
    """A graph without the next state is refused."""
    with pytest.raises(BundleError, match=r"lacks the output 'shared.next_state'"):
        load_bundle(written(tmp_path / "b", remembers=False))
