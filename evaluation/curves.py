"""What happens within an episode: a curve for every policy, on the same worlds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from envs.base import BatchedEnv, EnvConfig, Task
from evaluation.suite import Measure, Suite
from evaluation.worlds import SuiteWorlds
from policies.base import Policy
from policies.heuristics import Baselines, yardsticks_of


class Curve(BaseModel):
    """One policy's curve, mean over worlds, with the interval of that mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: str = Field(description="Name of the policy.")
    mean: tuple[float, ...] = Field(description="Mean over worlds at each step, the start included.")
    low: tuple[float, ...] = Field(description="Lower end of the 95% interval (normal).")
    high: tuple[float, ...] = Field(description="Upper end.")


class Curves(BaseModel):
    """All policies' curves in one scenario."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scenario: str = Field(description="Name of the scenario.")
    title: str = Field(description="Name for people.")
    description: str = Field("", description="What is asked there.")
    axis: str = Field(description="What is drawn.")
    relative: bool = Field(description="Whether values are relative to the start (1 is unchanged).")
    worlds: int = Field(description="Worlds the mean is over.")
    dates: tuple[str, ...] = Field((), description="Date of each step, where all worlds share one.")
    curves: tuple[Curve, ...] = Field(description="One a policy.")


def draw_suite(
    suite: Suite,
    env_config: EnvConfig | Mapping[str, Any] | None,
    learned: Mapping[str, Policy],
    *,
    yardsticks: Baselines | None = None,
) -> list[Curves]:
    """Draws learned policies and yardsticks in the scenarios that the suite names for it.

    Args:
        suite: Says which scenarios, which yardsticks, and what is drawn; see `Measure`.
        env_config: The run's env config.
        learned: Trained policies, by name.
        yardsticks: The domain's own if None.
    """
    sticks = yardsticks or yardsticks_of(suite.domain)
    measure = suite.measure
    names = [name for name in measure.policies or sticks.policies if name in sticks.policies and name != "random"]
    worlds = SuiteWorlds(suite.domain, env_config, max_worlds=measure.worlds)
    drawn = []
    for name in measure.scenarios or (suite.scenarios[0].name,):
        scenario = suite.scenario(name)
        env = worlds.of(scenario)
        players = {who: worlds.fit(policy, env) for who, policy in learned.items()}
        players |= {who: sticks.policies[who]() for who in names if who not in scenario.exclude}
        names_it = {"scenario": name, "title": scenario.title, "description": scenario.description}
        drawn.append(draw(env, players, scenario.tasks[0], measure, seed=suite.seed, **names_it))
    return drawn


def draw(
    env: BatchedEnv,
    policies: Mapping[str, Policy],
    task: Task,
    measure: Measure,
    *,
    scenario: str,
    title: str,
    description: str = "",
    seed: int,
) -> Curves:
    """Follows every policy through one episode of `task` in each world of `env`.

    The step that ends an episode restarts the world within it, so the curve ends one step before.

    Args:
        env: The worlds.
        policies: Who acts, by name.
        task: What is played.
        measure: What is drawn.
        scenario: Name of the scenario.
        title: Its name for people.
        description: What is asked there.
        seed: Seed of the worlds.

    Raises:
        ValueError: If the env has no such attribute.
    """
    curves = []
    for name, policy in policies.items():
        values = follow(env, policy, task, measure, seed=seed)
        mean = values.mean(axis=1)
        margin = 1.96 * values.std(axis=1, ddof=1) / np.sqrt(values.shape[1]) if values.shape[1] > 1 else 0.0 * mean
        curves.append(Curve(policy=name, mean=_short(mean), low=_short(mean - margin), high=_short(mean + margin)))
    return Curves(
        scenario=scenario,
        title=title,
        description=description,
        axis=measure.title,
        relative=measure.attribute is not None,
        worlds=env.num_worlds,
        dates=_dates(env, next(iter(policies.values())), task, measure, seed) if env.num_worlds == 1 else (),
        curves=tuple(curves),
    )


def follow(
    env: BatchedEnv,
    policy: Policy,
    task: Task,
    measure: Measure,
    *,
    seed: int,
    watch: Callable[[], None] = lambda: None,
) -> NDArray[np.float64]:
    """One policy's values, mean over agents, `[max_steps, B]`; a world that ends early keeps its last value.

    Args:
        env: The worlds.
        policy: Who acts.
        task: What is played.
        measure: What is drawn.
        seed: Seed of the worlds.
        watch: Called at the start and after each step.
    """
    env.set_tasks(task)
    policy.bind(env)
    rng = np.random.default_rng((seed, 0xAC7))
    observation = env.reset(seed)
    present = {name: alive.copy() for name, alive in env.alive.items()}
    earned = {name: np.zeros(alive.shape) for name, alive in present.items()}
    start = _mean(_read(env, measure, earned), present)
    values = np.empty((task.max_steps, env.num_worlds))
    values[0] = 1.0 if measure.attribute else 0.0
    going = np.ones(env.num_worlds, np.bool_)
    state = None
    watch()
    for step in range(1, task.max_steps):
        actions, state = policy.act(observation, state, deterministic=True, rng=rng)
        outcome = env.step(actions)
        observation = outcome.observation
        for name, rewards in outcome.rewards.items():
            earned[name] += rewards
        if outcome.final is not None:
            going[outcome.final.worlds] = False
        now = _mean(_read(env, measure, earned), present)
        values[step] = np.where(going, now / start if measure.attribute else now, values[step - 1])
        watch()
    return values


def _dates(env: BatchedEnv, policy: Policy, task: Task, measure: Measure, seed: int) -> tuple[str, ...]:
    """The date of each step of the first world; none where the env knows no dates."""
    try:
        read = attrgetter(measure.dates)(env) if measure.dates else None
    except AttributeError:
        read = None
    if read is None:
        return ()
    found: list[str] = []
    follow(env, policy, task, measure, seed=seed, watch=lambda: found.append(str(read()[0])))
    return tuple(found)


def _read(
    env: BatchedEnv, measure: Measure, earned: Mapping[str, NDArray[np.float64]]
) -> Mapping[str, NDArray[np.float64]]:
    """What is measured now, by group, `[B, A]`."""
    if measure.attribute is None:
        return earned
    found = getattr(env, measure.attribute, None)
    if not isinstance(found, Mapping) or set(found) != set(env.groups):
        raise ValueError(
            f"measure.attribute: got {measure.attribute!r}, allowed are attributes of {type(env).__name__} by group"
        )
    return found


def _mean(values: Mapping[str, NDArray[np.float64]], present: Mapping[str, NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Mean over the agents that take part, `[B]`."""
    total = sum(np.where(present[name], array, 0.0).sum(axis=1) for name, array in values.items())
    return np.asarray(total / np.maximum(sum(mask.sum(axis=1) for mask in present.values()), 1))


def _short(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Six significant figures: more would only swell the file."""
    return tuple(float(f"{value:.6g}") for value in values)
