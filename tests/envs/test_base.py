"""Tests of the cycle that every batch of worlds shares, on the env whose values are known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray
from pydantic import ValidationError

from envs.base import Actions, AgentConfig, AgentGroup, AgentRole, BatchedEnv, EnvConfig, Outcome, Task, check_actions
from envs.cue import CueConfig, CueEnv, CueTask
from envs.layout import ObservationLayout

GROUP = CueEnv.GROUP


def _env(worlds: int = 3, task: CueTask | None = None, **fields: Any) -> CueEnv:
    return CueEnv(CueConfig.model_validate(fields), worlds, task=task)


def _half_right(env: CueEnv) -> dict[str, NDArray[Any]]:
    """Agent 0 repeats the cue (earns 1), the others miss by 1 in every dimension (earn 3/4)."""
    actions = env.perfect_actions()[GROUP]
    actions[:, 1:] -= np.sign(actions[:, 1:]) + (actions[:, 1:] == 0)
    return {GROUP: actions}


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_team_weight_mixes_in_the_mean_of_the_living(weight: float) -> None:
    """With own rewards 1, 3/4 and 3/4, and then one death, everybody gets (1 - w) own + w mean over the living."""
    env = _env(num_agents=3, team_weight=weight, task=CueTask(lifetimes=(0, 1), max_steps=9))
    env.reset(0)
    own = np.array([1.0, 0.75, 0.75])
    first = env.step(_half_right(env)).rewards[GROUP]
    np.testing.assert_allclose(first, np.tile((1 - weight) * own + weight * own.mean(), (3, 1)), rtol=1e-6)
    second = env.step(_half_right(env)).rewards[GROUP]
    living = np.array([1.0, 0.0, 0.75])
    expected = ((1 - weight) * living + weight * 0.875) * [1, 0, 1]
    np.testing.assert_allclose(second, np.tile(expected, (3, 1)), rtol=1e-6)


def test_returns_are_the_agents_own_however_rewards_are_shared() -> None:
    """An episode's account holds what each agent earned by itself, even if all rewards are the team's."""
    env = _env(num_agents=2, team_weight=1.0, task=CueTask(max_steps=4))
    env.reset(0)
    for _ in range(4):
        step = env.step(_half_right(env))
    assert step.final is not None
    np.testing.assert_allclose(step.final.returns[GROUP], [[4.0, 3.0]] * 3)


def test_mean_returns_leave_out_those_who_took_no_part() -> None:
    """The mean return is over the agents that were there at the start; those who died early count."""
    env = _env(worlds=1, num_agents=4, task=CueTask(agents=3, lifetimes=(1,), max_steps=4))
    env.reset(0)
    for _ in range(4):
        step = env.step(env.perfect_actions())
    assert step.final is not None
    np.testing.assert_array_equal(step.final.present[GROUP], [[True, True, True, False]])
    np.testing.assert_allclose(step.final.mean_returns(), [(1 + 4 + 4) / 3])


def test_worlds_play_tasks_of_their_own() -> None:
    """Worlds with different tasks end at different times, each reporting its own task."""
    env = _env(worlds=3)
    tasks = [CueTask(name=f"of {n}", max_steps=n) for n in (2, 3, 5)]
    env.set_tasks(tasks)
    env.reset(0)
    ends: dict[str, list[int]] = {}
    for number in range(1, 13):
        final = env.step(env.perfect_actions()).final
        for task in final.tasks if final is not None else []:
            ends.setdefault(task.name, []).append(number)
    assert ends == {"of 2": [2, 4, 6, 8, 10, 12], "of 3": [3, 6, 9, 12], "of 5": [5, 10]}


@pytest.mark.parametrize(
    ("tasks", "worlds", "message"),
    [
        ([CueTask()] * 2, None, r"^tasks: got 2 for 3 worlds"),
        (CueTask(), [0, 3], r"^worlds: got \[0, 3\], allowed is 0 to below 3$"),
        (CueTask(), [-1], r"^worlds: got \[-1\]"),
        ([CueTask(), CueTask(entities=9)], [0, 1], r"^entities: got 9"),
    ],
)
def test_tasks_that_cannot_be_set_change_nothing(tasks: Any, worlds: list[int] | None, message: str) -> None:
    """A wrong number of tasks, a world that does not exist and a task that does not fit are refused as a whole."""
    env = _env(task=CueTask(name="old", max_steps=2))
    with pytest.raises(ValueError, match=message):
        env.set_tasks(tasks, worlds)
    env.reset(0)
    assert [task.name for task in env.tasks] == ["old"] * 3


def test_restart_abandons_the_given_worlds_only() -> None:
    """Restarted worlds play their next episode with their next task; the others go on as if nothing had happened."""
    env, twin = _env(), _env()
    for each in (env, twin):
        each.reset(0)
        each.step(each.perfect_actions())
    env.set_tasks(CueTask(name="new"), [1])
    seen = env.restart([1])
    np.testing.assert_array_equal(env.clock, [1, 0, 1])
    assert [task.name for task in env.tasks] == ["default", "new", "default"]
    expected = twin.observe()
    np.testing.assert_array_equal(seen.observations[GROUP][[0, 2]], expected.observations[GROUP][[0, 2]])
    assert not np.array_equal(seen.observations[GROUP][1], expected.observations[GROUP][1])


def test_an_abandoned_episode_is_counted() -> None:
    """After a restart the world is in episode 1: the episode it would have been in after ending episode 0."""
    env, twin = _env(worlds=1, task=CueTask(max_steps=1)), _env(worlds=1, task=CueTask(max_steps=1))
    env.reset(5)
    twin.reset(5)
    ended = twin.step(twin.perfect_actions())
    np.testing.assert_array_equal(env.restart([0]).observations[GROUP], ended.observation.observations[GROUP])


class _CutShort(CueEnv):
    """World 1 is cut short by the domain itself after 2 steps."""

    def _advance(self, actions: Actions) -> Outcome:
        outcome = super()._advance(actions)
        outcome.truncated = (self.clock == 1) & (np.arange(self.num_worlds) == 1)
        return outcome


def test_a_domain_may_cut_an_episode_short() -> None:
    """A world that its domain truncates before max_steps is truncated, with its agents alive to be bootstrapped."""
    env = _CutShort(CueConfig(), 2, task=CueTask(max_steps=5))
    env.reset(0)
    assert env.step(env.perfect_actions()).final is None
    step = env.step(env.perfect_actions())
    np.testing.assert_array_equal(step.truncated, [False, True])
    assert step.final is not None
    np.testing.assert_array_equal(step.final.worlds, [1])
    assert step.final.observation.alive[GROUP].all()
    np.testing.assert_array_equal(step.final.lengths, [2])


def test_a_shortened_episode_that_is_over_anyway_is_terminated() -> None:
    """If all agents die in the step in which the domain cuts them short, there is nothing to bootstrap."""
    env = _CutShort(CueConfig(), 2, task=CueTask(max_steps=5, lifetimes=(2, 2)))
    env.reset(0)
    env.step(env.perfect_actions())
    step = env.step(env.perfect_actions())
    assert not step.truncated.any()
    assert step.terminated[GROUP].all()


def test_state_of_another_shape_is_refused() -> None:
    """A state does not fit into an env with another number of worlds."""
    env = _env(worlds=2)
    env.reset(0)
    with pytest.raises(ValueError, match=r"^state: got 2 worlds, allowed are 3$"):
        _env(worlds=3).set_state(env.get_state())


@pytest.mark.parametrize("call", ["step", "restart"])
def test_nothing_happens_before_the_first_reset(call: str) -> None:
    """Stepping or restarting an env that was never reset is one clear line."""
    env = _env()
    given: Any = env.perfect_actions() if call == "step" else [0]
    with pytest.raises(RuntimeError, match=rf"^{call}: the environment was never reset; call reset\(seed\) first$"):
        getattr(env, call)(given)


def test_wrong_sizes_and_seeds_are_named() -> None:
    """No worlds, and a negative seed, are refused with what is allowed."""
    with pytest.raises(ValueError, match=r"^num_worlds: got 0, allowed is 1 or more$"):
        _env(worlds=0)
    with pytest.raises(ValueError, match=r"^seed: got -1, allowed is 0 or more$"):
        _env().reset(-1)


LAYOUT = ObservationLayout(("x",))
CONTINUOUS = AgentGroup("boxes", ("a", "b"), Box(-1, 1, (3,), np.float32), LAYOUT)
DISCRETE = AgentGroup("branches", ("a", "b"), MultiDiscrete([2, 5, 3]), LAYOUT)


def test_groups_know_their_sizes() -> None:
    """A mask is as wide as the dimensions, or as all branches' choices side by side."""
    assert (CONTINUOUS.size, CONTINUOUS.num_actions, CONTINUOUS.mask_size, CONTINUOUS.discrete) == (2, 3, 3, False)
    assert (DISCRETE.size, DISCRETE.num_actions, DISCRETE.mask_size, DISCRETE.discrete) == (2, 3, 10, True)
    assert CONTINUOUS.observation_space == Box(-np.inf, np.inf, (1,), np.float32)


@pytest.mark.parametrize(
    ("group", "actions", "message"),
    [
        (CONTINUOUS, None, r"^actions\['boxes'\]: got nothing, allowed is an array of shape \(4, 2, 3\)$"),
        (CONTINUOUS, np.zeros((4, 2, 2)), r"got shape \(4, 2, 2\), allowed is an array of shape \(4, 2, 3\)$"),
        (CONTINUOUS, np.zeros((4, 2, 3)).tolist(), r"got shape \(4, 2, 3\), allowed is an array"),
        (CONTINUOUS, np.full((4, 2, 3), np.nan), r"got NaN, allowed is -1 to 1$"),
        (CONTINUOUS, np.full((4, 2, 3), -1.5), r"got magnitude 1\.5, allowed is -1 to 1$"),
        (DISCRETE, np.zeros((4, 2, 3)), r"^actions\['branches'\]: got dtype float64, allowed are integers$"),
        (DISCRETE, np.full((4, 2, 3), 2), r"got values from 2 to 2, allowed is 0 to below \[2, 5, 3\] by branch$"),
        (DISCRETE, np.full((4, 2, 3), -1), r"got values from -1 to -1, allowed"),
    ],
)
def test_wrong_actions_are_named(group: AgentGroup, actions: Any, message: str) -> None:
    """Each kind of wrong action is one line that names the group, what was given and what is allowed."""
    with pytest.raises(ValueError, match=message) as error:
        check_actions(group, actions, 4)
    assert "\n" not in str(error.value)


def test_actions_at_the_bounds_are_right() -> None:
    """The bounds themselves are allowed."""
    check_actions(CONTINUOUS, np.ones((4, 2, 3)) * [-1.0, 0.0, 1.0], 4)
    check_actions(DISCRETE, np.ones((4, 2, 3), np.int32) * [1, 4, 2], 4)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (EnvConfig, {"action_mode": "both"}),
        (EnvConfig, {"team_weight": 1.5}),
        (EnvConfig, {"colour": "red"}),
        (Task, {"max_steps": 0}),
        (Task, {"name": ""}),
        (AgentConfig, {"agent_id": ""}),
        (AgentConfig, {"agent_id": "a", "role": "Market maker"}),
    ],
)
def test_configs_refuse_what_is_not_allowed(kind: Any, fields: dict[str, Any]) -> None:
    """Unknown keys and values out of range are validation errors that name the field."""
    with pytest.raises(ValidationError, match=list(fields)[-1]):
        kind.model_validate(fields)


def test_an_agents_role_is_its_domains_business() -> None:
    """Any word is a role, and what else is said of an agent is kept for its domain to check."""
    agent = AgentConfig(agent_id="node_3", role="wholesaler", lead_time=4)
    assert agent.model_dump() == {"agent_id": "node_3", "role": "wholesaler", "lead_time": 4}
    assert AgentConfig(agent_id="a", role=AgentRole.EXECUTOR).role == "executor"


def test_a_batch_names_its_agents_group_by_group() -> None:
    """`agent_ids` lists everyone once, in the order of the arrays."""
    env: BatchedEnv = _env(num_agents=3)
    assert env.agent_ids == ["repeater_0", "repeater_1", "repeater_2"]
