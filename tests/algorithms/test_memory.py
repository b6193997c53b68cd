"""Tests of PPO with agents that remember: it learns what cannot be seen, from sequences that are what was sampled."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing

from algorithms.export import export_bundle
from algorithms.networks.protocol import BEGINS, MEMORY, STATE
from algorithms.policy import ModulePolicy
from algorithms.ppo import PPOConfig
from algorithms.rollout import ACTS
from envs.contract import check_env
from envs.registry import get_domain
from policies.bundle import load_bundle
from policies.rollout import play
from tests.algorithms.learners import learner_of, who_does_not_count_teaches_nothing

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))

WIDTH = 8
MOVED = 0.2
"""Weights are this far from where they began, so that what is remembered matters."""
DYING = {"agents": 2, "lifetimes": (4,), "max_steps": 5}
"""Of three agents two take part, and one of them lives for 4 of 5 steps."""
KINDS = [{"share_trunk": share, "central_critic": central} for share in (True, False) for central in (False, True)]


def recollection(memory, **env):
    """PPO on what was shown long ago."""
    network = {"kind": "flat", "hidden_sizes": (32,), "memory": memory, "memory_width": 16}
    return (
        PPOConfig()
        .environment("recollection:DOMAIN", env_config=env)
        .env_runners(num_envs_per_env_runner=64, rollout_fragment_length=20)
        .training(lr=0.005, gamma=1.0, minibatch_size=320, num_epochs=4)
        .batched(network=network)
    )


def cue(*, steps=14, sequence=None, network=None, task=None, env=None, domain="cue", **training):
    """PPO on the cue, with memory."""
    config = (
        PPOConfig()
        .environment(domain, env_config={"num_agents": 3, **(env or {})})
        .env_runners(num_envs_per_env_runner=4, rollout_fragment_length=steps)
        .training(**{"minibatch_size": 16, "num_epochs": 2, "clip_param": 0.2, **training})
        .batched(task=task or DYING, network={"memory": "gru", "memory_width": WIDTH, **(network or {})})
    )
    config.sequence = sequence
    config.validate()
    return config


def tensors(rows):
    """Columns as a network takes them."""
    return {name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in rows.items()}


def test_the_env_keeps_the_contract():
    """The throw-away env is one like others."""
    make = get_domain("recollection:DOMAIN").env
    check_env(lambda b, k: make({"num_agents": 2}, b, first_world=k), worlds=3, steps=20)


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(("memory", "least", "most"), [("gru", 0.99, 1.0), ("none", 0.25, 0.42)])
def test_what_was_shown_first_is_known_last(build, memory, least, most):
    """With memory the cue is known nearly always; without, one time in three."""
    algorithm = build(recollection(memory))
    for _ in range(14):
        algorithm.train()
    worlds = get_domain("recollection:DOMAIN").env({}, 512)
    assert least <= play(worlds, algorithm.as_policy(), worlds.tasks[0], seed=1).returns.mean() <= most


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(("recall", "least", "most"), [(True, 4.7, 5.3), (False, 1.5, 2.5)], ids=["recall", "without"])
def test_what_nobody_shows_is_found_out_by_trying(build, recall, least, most):
    """Seeing what was done and earned, agents try what is left and stay with what is right: 5 of 6, and else 2."""
    env = {"shown": False, "recall": recall}
    algorithm = build(recollection("gru", **env).batched(task={"max_steps": 6}))
    for _ in range(20 if recall else 10):
        algorithm.train()
    worlds = get_domain("recollection:DOMAIN").env(env, 512, task={"max_steps": 6})
    assert least <= play(worlds, algorithm.as_policy(), worlds.tasks[0], seed=1).returns.mean() <= most


@pytest.mark.parametrize("kind", KINDS, ids=["shared", "shared-central", "own", "own-central"])
@pytest.mark.parametrize("sequence", [None, 7, 1], ids=["whole", "half", "steps"])
def test_sequences_say_what_was_sampled(kind, sequence):
    """What networks make of sequences is what they made of each step, past deaths, ends and the ends of rollouts."""
    _, runner = learner_of(cue(network=kind, sequence=sequence), moved=MOVED)
    runner.sample()
    rollout = runner.sample()
    rows, length = rollout.batches["shared"], sequence or 14
    assert rows[Columns.OBS].shape[1:] == (length, 7)
    assert rows[MEMORY].shape[1:] == (WIDTH if kind["share_trunk"] else 2 * WIDTH,)
    assert rows[MEMORY].any()
    assert rollout.agent_steps() == rows[ACTS].sum()
    assert rows[BEGINS].any()
    assert (STATE in rows) == kind["central_critic"]
    module = runner.module["shared"]
    with torch.no_grad():
        policy, (values, *_) = module.forward_policy_and_values(tensors(rows))
    counts = rows[ACTS]
    np.testing.assert_allclose(policy.numpy()[counts], rows[Columns.ACTION_DIST_INPUTS][counts], atol=1e-5)
    known = rows[Postprocessing.VALUE_TARGETS] - rows[Postprocessing.ADVANTAGES]
    np.testing.assert_allclose(known[counts], values.numpy()[counts], atol=1e-4)


def test_who_counts_nowhere_has_no_sequence():
    """There is a sequence of each agent and stretch in which it acts, and of no other."""
    _, runner = learner_of(cue(steps=10, sequence=5), moved=MOVED)
    rows = runner.sample().batches["shared"]
    assert len(rows[Columns.OBS]) == 2 * 4 * 2  # of three agents one never takes part
    assert rows[ACTS].any(axis=1).all()
    assert rows[ACTS].sum() == 2 * 4 * (5 + 4)


@pytest.mark.parametrize("kind", KINDS, ids=["shared", "shared-central", "own", "own-central"])
def test_a_cut_is_bootstrapped_with_what_was_known_at_it(kind):
    """What truncation leads to is valued from what was seen last, on the memory of the episode that ended."""
    config = cue(steps=5, network=kind, task={"max_steps": 5}, gamma=0.9, lambda_=0.0)
    _, runner = learner_of(config, moved=MOVED)
    rows = runner.sample().batches["shared"]
    trajectory = runner._collectors["shared"].trajectory
    ((step, final),) = trajectory.endings
    assert step == 4
    module = runner.module["shared"]
    memory = torch.zeros(12, rows[MEMORY].shape[1])
    for step in range(5):
        batch = trajectory.batch(step) | {MEMORY: memory}
        with torch.no_grad():
            *_, memory = module.advance_with_values(batch)
    last = torch.from_numpy(final.observation.observations["repeaters"]).flatten(0, 1)
    state = torch.from_numpy(final.observation.state).repeat_interleave(3, dim=0)
    with torch.no_grad():
        value = module.compute_values({Columns.OBS: last, MEMORY: memory, STATE: state})
    wanted = trajectory.rewards[4].ravel() + 0.9 * value.numpy()
    np.testing.assert_allclose(rows[Postprocessing.VALUE_TARGETS][:, 4], wanted, atol=1e-4)
    assert not trajectory.memories[5].any()


def test_who_is_away_keeps_what_it_knew():
    """In the runner and in evaluation alike, memory stands still while an agent is not alive."""
    _, runner = learner_of(cue(steps=5), moved=MOVED)
    runner.sample(num_timesteps=4 * 4 + 4)
    memories = runner._collectors["shared"].trajectory.memories
    assert not memories[:, :, 2].any()  # it never takes part
    worlds = get_domain("cue").env({"num_agents": 3}, 4, task={**DYING, "max_steps": 9})
    policy = ModulePolicy({"shared": runner.module["shared"]}, runner.mapping)
    observation, state, kept = worlds.reset(0), None, []
    for _ in range(7):
        actions, state = policy.act(observation, state, deterministic=True, rng=np.random.default_rng(0))
        observation = worlds.step(actions).observation
        kept.append(state["shared"])
    np.testing.assert_array_equal(kept[3][:, 0], kept[6][:, 0])  # it died after four steps
    assert (kept[3][:, 1] != kept[6][:, 1]).any()
    assert not kept[6][:, 2].any()


def test_who_does_not_count_teaches_nothing():
    """Whatever stands in columns of steps that do not count, the update is the same, to the bit."""
    config = cue(network={"central_critic": True})
    rollout, taken_in = who_does_not_count_teaches_nothing(config, moved=MOVED)
    assert taken_in == rollout.agent_steps()


def test_gradients_reach_back_through_a_sequence_and_no_further():
    """What was seen first moves what is done last, within a sequence and an episode."""
    learner, runner = learner_of(cue(steps=10, sequence=10, task={"max_steps": 6}), moved=MOVED)
    rows = tensors(runner.sample().batches["shared"])
    rows[Columns.OBS].requires_grad_()
    outputs = learner.module["shared"].unwrapped().forward_policy_and_values(rows)[0]
    for step, reached in ((5, range(6)), (9, range(6, 10))):
        (slopes,) = torch.autograd.grad(outputs[:, step].sum(), rows[Columns.OBS], retain_graph=True)
        moved = slopes.abs().sum(dim=(0, 2)) > 0
        assert moved.nonzero().ravel().tolist() == list(reached)


@pytest.mark.parametrize("policies", ["shared", "per_agent"])
@pytest.mark.parametrize("kind", KINDS[:3], ids=["shared", "shared-central", "own"])
def test_a_bundle_remembers_as_torch_does(kind, policies, tmp_path):
    """Over whole episodes a bundle earns what torch earns; it has values where they take no memory of their own."""
    config = cue(network=kind).copy(copy_frozen=False).batched(policies=policies)
    config.validate()
    modules = {name: spec.build() for name, spec in config.rl_module_spec.rl_module_specs.items()}
    with torch.no_grad():
        for module in modules.values():
            for weight in module.parameters():
                weight.add_(0.3 * torch.randn_like(weight))
    mapping = config.policy_mapping()
    export_bundle(tmp_path, modules, mapping, name="it", domain="cue", env_config={"num_agents": 3})
    bundle = load_bundle(tmp_path, verify=True)
    assert bundle.state_sizes == dict.fromkeys(modules, WIDTH)
    assert bundle.has_values(next(iter(modules))) == (kind == KINDS[0])
    worlds = get_domain("cue").env({"num_agents": 3}, 5, task=DYING)
    ours, theirs = (
        play(worlds, policy, worlds.tasks[0], episodes_per_world=2, seed=3)
        for policy in (ModulePolicy(modules, mapping), bundle)
    )
    np.testing.assert_allclose(theirs.returns, ours.returns, atol=1e-4)
