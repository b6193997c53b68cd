"""Tests of PPO with agents that talk: it learns what nobody knows alone, from whole worlds and those who count."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from algorithms.constraints import MULTIPLIER, Constraints
from algorithms.costs import ADVANTAGES
from algorithms.export import export_bundle
from algorithms.networks.protocol import ALIVE, STATE
from algorithms.ppo import PPOConfig
from algorithms.rollout import ACTS, Rollout, counted, spread
from algorithms.runner import BatchedEnvRunner
from envs.contract import check_env
from envs.cue import CueTask
from envs.registry import get_domain
from policies.bundle import load_bundle
from policies.rollout import play
from tests.algorithms.learners import learner_of, who_does_not_count_teaches_nothing

sys.path.insert(0, str(Path(__file__).parents[1] / "toys"))
from parity import ParityConfig, alone

KINDS = ["mean", "attention"]
DYING = {"agents": 2, "lifetimes": (4,), "max_steps": 7}
"""Of three agents two take part, and one of them lives for 4 of 7 steps."""


def parity(messages, agents=4, *, env=None, **batched):
    """PPO on the bits of a team."""
    network = {"kind": "flat", "hidden_sizes": (64,), "messages": messages}
    return (
        PPOConfig()
        .environment("parity:DOMAIN", env_config={"num_agents": agents, **(env or {})})
        .env_runners(num_envs_per_env_runner=64, rollout_fragment_length=16)
        .training(lr=0.005, gamma=0.0, minibatch_size=128 * agents, num_epochs=6)
        .batched(**{"network": network, **batched})
    )


def played(algorithm, env):
    """What an agent earns a step."""
    worlds = get_domain("parity:DOMAIN").env(env, 256)
    return play(worlds, algorithm.as_policy(), worlds.tasks[0], seed=1).returns.mean() / 4


def cue(messages="mean", *, worlds=4, steps=14, task=None, network=None, env=None, **training):
    """PPO on the cue."""
    config = (
        PPOConfig()
        .environment("cue", env_config={"num_agents": 3, **(env or {})})
        .env_runners(num_envs_per_env_runner=worlds, rollout_fragment_length=steps)
        .training(**{"minibatch_size": 16, "num_epochs": 2, **training})
        .batched(task=DYING if task is None else task, network={"messages": messages, **(network or {})})
    )
    config.validate()
    return config


@pytest.mark.parametrize("env", [{}, {"asked": "sum", "roles": 2}], ids=["parity", "sum"])
def test_the_team_keeps_the_contract(env):
    """The throw-away env is one like others."""
    check_env(lambda b, k: get_domain("parity:DOMAIN").env(env, b, first_world=k), worlds=3, steps=20)


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(("messages", "env"), [("mean", {}), ("attention", {"roles": 2})], ids=KINDS)
def test_four_that_talk_know_the_parity(build, messages, env):
    """Each sees one bit of four: with messages nearly all answers are right, also where two roles share a network."""
    algorithm = build(parity(messages, env=env))
    for _ in range(14):
        algorithm.train()
    assert played(algorithm, env) >= 0.99


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(
    ("messages", "env", "batched"),
    [("none", {}, {}), ("mean", {"roles": 2, "deaf": True}, {"policies": "per_role"})],
    ids=["silent", "deaf"],
)
def test_four_that_do_not_hear_are_left_to_chance(build, messages, env, batched):
    """Without messages, or where the env lets nobody hear anybody, parity is right half of the time."""
    algorithm = build(parity(messages, env=env, **batched))
    for _ in range(14):
        algorithm.train()
    assert played(algorithm, env) == pytest.approx(alone(ParityConfig()), abs=0.06)  # four deviations of 1,024 steps


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("messages", ["none", *KINDS])
def test_sixteen_that_talk_know_the_sum(build, messages):
    """Each sees one bit of sixteen: they come to 0.99 of the optimum with messages, and not past chance without."""
    env = {"asked": "sum"}
    algorithm = build(parity(messages, 16, env=env))
    for _ in range(30 if messages != "none" else 10):
        algorithm.train()
    found = played(algorithm, {"num_agents": 16, **env})
    if messages == "none":
        assert found < alone(ParityConfig(num_agents=16, asked="sum")) + 0.05
    else:
        assert found >= 0.99


@pytest.mark.parametrize("central", [False, True], ids=["local", "central"])
@pytest.mark.parametrize("messages", KINDS)
def test_rows_are_worlds_that_say_who_counts(messages, central):
    """A rollout holds a world a row, with all its agents; those count that act, and only their steps are counted."""
    runner = BatchedEnvRunner(config=cue(messages, network={"central_critic": central, "share_trunk": central}))
    rollout = runner.sample()
    rows = rollout.batches["shared"]
    assert rows[Columns.OBS].shape == (4 * 14, 3, 7)
    assert rollout.agent_steps() == rows[ACTS].sum() == 4 * 2 * (7 + 4)
    np.testing.assert_array_equal(rows[ALIVE], rows[ACTS])
    assert not rows[Columns.OBS][~rows[ALIVE]].any()
    assert (STATE in rows) == central
    if central:
        assert rows[STATE].shape == (4 * 14, 9)
        assert rows[STATE].any(axis=1).all()
    values = runner.module["shared"].compute_values({name: torch.from_numpy(each) for name, each in rows.items()})
    known = rows[Postprocessing.VALUE_TARGETS] - rows[Postprocessing.ADVANTAGES]
    np.testing.assert_allclose(known[rows[ACTS]], values.detach().numpy()[rows[ACTS]], atol=1e-5)


def test_worlds_in_which_nobody_counts_are_left_out():
    """Who is there but whose turn is still open does not count; a world of none but such has no row."""
    runner = BatchedEnvRunner(config=cue())
    runner.sample()
    collector = runner._collectors["shared"]
    counts = collector.trajectory.acts[:-1].copy()
    counts[3, 1] = False
    rows = collector._worlds({Columns.OBS: collector.trajectory.observations[:-1]}, counts)
    np.testing.assert_array_equal(rows[ACTS], np.delete(counts.reshape(-1, 3), 3 * 4 + 1, axis=0))
    assert all(len(column) == 4 * 14 - 1 for column in rows.values())


def test_survivors_are_bootstrapped_where_worlds_are_whole():
    """With lambda 1 and a critic that says 100, one dead at the cut gets its rewards, the other 100 as well."""
    gamma = 0.8
    task = {"max_steps": 5, "lifetimes": (3, 0), "entities": 3}
    config = cue(worlds=2, steps=5, task=task, env={"num_agents": 2}, gamma=gamma, lambda_=1.0, minibatch_size=2)
    runner = BatchedEnvRunner(config=config)
    module = runner.module["shared"]

    def policy(batch):
        cues = batch[Columns.OBS][..., 1:4]
        return torch.cat([cues, torch.full_like(cues, -20.0)], dim=-1)

    module.compute_all_values = lambda batch: [torch.full(batch[ALIVE].shape, 100.0)]
    module.forward_policy_and_values = lambda batch: (policy(batch), module.compute_all_values(batch))
    rows = runner.sample().batches["shared"]
    targets = rows[Postprocessing.VALUE_TARGETS].reshape(5, 2, 2)
    for world in range(2):
        short = [(1 - gamma**left) / (1 - gamma) for left in (3, 2, 1)]
        long = [(1 - gamma**left) / (1 - gamma) + 100 * gamma**left for left in (5, 4, 3, 2, 1)]
        np.testing.assert_allclose(targets[:3, world, 0], short, rtol=1e-5)
        np.testing.assert_allclose(targets[:, world, 1], long, rtol=1e-5)


def test_who_does_not_count_teaches_nothing():
    """Whatever stands in columns of agents that do not count, the update is the same, to the bit."""
    _, taken_in = who_does_not_count_teaches_nothing(cue())
    assert taken_in == 4 * 2 * (7 + 4)


def test_minibatches_are_whole_worlds():
    """About as many agents that count as asked for, in worlds that are never cut; every world once an epoch."""
    learner, runner = learner_of(cue(steps=28))
    rollout = runner.sample()
    rows, seen = rollout.batches["shared"], []
    module = learner.module["shared"]
    forward, inner = module.forward_policy_and_values, learner.compute_loss_for_module
    losses = []

    def watch(batch):
        seen.append(batch[Columns.OBS].clone())
        return forward(batch)

    def lose(**kwargs):
        losses.append(len(kwargs["batch"][Postprocessing.ADVANTAGES]))
        assert len(kwargs["fwd_out"][Columns.ACTION_DIST_INPUTS]) == losses[-1]
        return inner(**kwargs)

    module.forward_policy_and_values, learner.compute_loss_for_module = watch, lose
    batch = MultiAgentBatch({"shared": SampleBatch(rows)}, env_steps=rollout.env_steps())
    learner.update(batch=batch, timesteps={"num_env_steps_sampled_lifetime": 0}, num_epochs=1, minibatch_size=22)
    assert len(seen) == 8  # 176 agent-steps that count
    assert sum(losses) == 176
    assert all(16 <= each <= 28 for each in losses)
    given = rows[Columns.OBS].reshape(len(rows[Columns.OBS]), -1)
    found = torch.cat(seen).flatten(1).numpy()
    assert not np.array_equal(found, given)
    np.testing.assert_array_equal(found[np.lexsort(found.T)], given[np.lexsort(given.T)])


@pytest.mark.usefixtures("ray_local")
def test_advantages_are_standardised_over_those_who_count(build):
    """Mean 0 and deviation 1 over the agents that count, and what is logged as trained on is their steps."""
    algorithm = build(cue())
    rollouts = algorithm.sample_runners()
    batch = algorithm._train_batch(rollouts)["shared"]
    estimates = counted(batch, Postprocessing.ADVANTAGES)
    assert len(batch) == rollouts[0].agent_steps() == estimates.size
    np.testing.assert_allclose([estimates.mean(), estimates.std()], [0, 1], atol=1e-5)
    assert not batch[Postprocessing.ADVANTAGES][~batch[ACTS]].any()


@pytest.mark.parametrize("messages", KINDS)
def test_a_bundle_knows_who_hears_whom(messages, tmp_path):
    """What the env says of who may hear whom is in the graph: another's bit moves an answer only where it is heard."""
    for deaf in (False, True):
        config = parity(messages, env={"deaf": deaf, "roles": 2})
        config.validate()
        modules = {name: spec.build() for name, spec in config.rl_module_spec.rl_module_specs.items()}
        export_bundle(tmp_path, modules, config.policy_mapping(), name="team", domain="cue", env_config={})
        policy, bits = load_bundle(tmp_path), np.ones((4, 1), np.float32)
        answers = []
        for other in (1, -1):
            bits[3] = other
            answers.append(policy.infer("shared", bits, alive=np.ones(4, np.bool_)).dist_inputs[0])
        assert np.array_equal(*answers) == deaf


def test_a_limits_price_is_that_of_who_counts():
    """Of worlds, the Lagrangian's advantages and the multiplier's unit are those of the rows of agents that count."""
    config = SimpleNamespace(env="cue", limits={"late": 1.0}, multiplier=MULTIPLIER, task=None)
    rng = np.random.default_rng(0)
    batch = {
        name: rng.standard_normal((5, 3)).astype(np.float32)
        for name in (Postprocessing.ADVANTAGES, ADVANTAGES + "late")
    }
    batch[ACTS] = rng.random((5, 3)) < 0.6
    rows = {name: column[batch[ACTS]] for name, column in batch.items() if name != ACTS}
    found = []
    for each in (batch, rows):
        constraints = Constraints(config)
        algorithm = SimpleNamespace(tasks=[CueTask()], rounds=1, finished_episodes=[], metrics=None)
        algorithm.metrics = SimpleNamespace(log_value=lambda *args, **kwargs: None)
        constraints.update(algorithm, [Rollout(0, {"shared": each}, 0, [])])
        constraints.multipliers.values[:] = 0.5
        found.append((constraints.multipliers.units, constraints.penalised(each)))
        assert ADVANTAGES + "late" not in each
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_what_is_counted_can_be_spread_again():
    """Rows of those who count go back to their places; where nobody is left out, nothing is done."""
    batch = {"x": np.arange(6.0).reshape(2, 3), ACTS: np.array([[True, False, True], [False, False, True]])}
    np.testing.assert_array_equal(counted(batch, "x"), [0, 2, 5])
    np.testing.assert_array_equal(spread(batch, counted(batch, "x") + 1), [[1, 0, 3], [0, 0, 6]])
    rows = {"x": np.arange(3.0)}
    assert spread(rows, counted(rows, "x")) is rows["x"]
