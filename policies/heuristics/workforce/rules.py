"""What those who watch over a centre during the day do: nothing, thresholds, and square-root staffing."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from envs.base import Actions, BatchedEnv, Observation
from envs.resource_allocation.workforce.env import WorkforceEnv
from envs.resource_allocation.workforce.outlook import Outlook
from envs.resource_allocation.workforce.plan import Floats, Ints
from envs.resource_allocation.workforce.staff import Orders
from policies.base import Policy, PolicyState


class Manager(Policy):
    """A rule that sees all teams, and says who is called in, sent home and lent."""

    def bind(self, env: BatchedEnv) -> None:
        """Keeps the env."""
        if not isinstance(env, WorkforceEnv):
            raise TypeError(f"env: got {type(env).__name__}, allowed is WorkforceEnv")
        self._env = env

    def act(
        self, observation: Observation, state: PolicyState, *, deterministic: bool, rng: np.random.Generator
    ) -> tuple[Actions, PolicyState]:
        """The actions that come to what the rule orders."""
        return self._env.actions_for(self.ordered()), None

    @abstractmethod
    def ordered(self) -> Orders:
        """Whole workers, as far as it is possible."""

    def outlook(self) -> Outlook:
        """What the rule expects."""
        return self._env.outlook()

    def possible(self, call: Floats | Ints, home: Floats | Ints, lent: Ints | None = None) -> Orders:
        """Orders cut to what can be done."""
        env = self._env
        skills = env.size.skills
        share = np.zeros((env.num_worlds, skills, skills))
        call, home = np.asarray(call).astype(np.int64), np.asarray(home).astype(np.int64)
        orders = env.staff.ordered(call, home, share, env.plan, env.now())
        return orders if lent is None else Orders(orders.call, orders.home, lent)


class Roster(Manager):
    """The roster as it was planned."""

    name = "roster"

    def ordered(self) -> Orders:
        """Nothing."""
        none = np.zeros(self._env.plan.skill.shape)
        return self.possible(none, none)


class SquareRoot(Manager):
    """Square-root staffing of the load that the calls so far let expect.

    Workers are called in up to `R + call sqrt(R)` and sent home down to `R + home sqrt(R)` (Halfin and Whitt 1981;
    two levels as in Eberly and Van Mieghem 1997). Nobody is lent.

    Args:
        call: Below so many roots of the load workers are called in.
        home: Above so many they are sent home.
    """

    name = "square_root"

    def __init__(self, call: float = 0.5, home: float = 1.75) -> None:
        self._call, self._home = call, home

    def ordered(self) -> Orders:
        """What brings staff between the levels."""
        called, soon = self.outlook().called, self.outlook().soon
        more = called.load + self._call * np.sqrt(np.maximum(called.load, 1.0)) - called.staff
        fewer = soon.staff - soon.load - self._home * np.sqrt(np.maximum(soon.load, 1.0))
        return self.possible(np.floor(np.maximum(more, 0.0) + 0.5), np.floor(np.maximum(fewer, 0.0) + 0.5))


class Reactive(Manager):
    """Looks at the queue: one worker in five is called in when it is long, and one in ten goes when many are idle.

    Args:
        long: Calls that wait, by workers, above which workers are called in.
        idle: Share of workers not in a call above which workers are sent home, if nobody waits.
    """

    name = "reactive"

    def __init__(self, long: float = 0.25, idle: float = 0.6) -> None:
        self._long, self._idle = long, idle

    def ordered(self) -> Orders:
        """What the queue and those idle ask for; nothing before anybody could be busy."""
        env = self._env
        staff = self.outlook().now[1]
        waiting = env.queues.count > self._long * staff
        idle = (1 - env.busy > self._idle) & (env.queues.count == 0) & (env.now() > 1)[:, None]
        coming = env.plan.on_call - env.staff.pool > 0
        call = np.where(waiting, np.ceil(staff / 5), 0.0) * np.where(coming, 0.5, 1.0)
        return self.possible(np.floor(call), np.where(idle, np.floor(staff / 10), 0.0))
