"""Remote runners outside the trial's placement group: each samples as soon as a CPU is free for it, on any node."""

from __future__ import annotations

import logging
import time
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.env_runner_group import EnvRunnerGroup

logger = logging.getLogger("entrepot")

PROBE_PERIOD = 0.5
"""Pause between looks whether runners are there, where nothing else is left to do [s]."""
GRACE = 10.0
"""Least time that the others have at the start, once the first runner is there [s]."""
GRACE_RATIO = 2.0
"""Time that they have for each second that the first one took."""
GOODBYE = 5.0
"""Time that runners have in the end to let go of their worlds [s]."""


class RemoteRunners:
    """The remote runners of an algorithm, which come and go while it trains with those that are there.

    RLlib makes runners inside the trial's placement group. Such a trial does not start before there is room for all of
    them, waits for ever if a lost node does not come back, and has no use for a node that is added. These are actors
    of their own: the trial needs room for its main process only, Ray spreads the runners over the nodes, keeps those
    pending that no CPU is free for, and restarts those whose process or node died.

    RLlib's group of runners calls them as it would its own; `healthy` there are those that are in service. One call
    is kept waiting at each of the others, so that looking after them takes no time.

    Args:
        config: A `BatchedConfig` with one remote runner or more.
        **context: What else RLlib passes to each runner's constructor.

    Attributes:
        handles: The actors, by worker index.
    """

    def __init__(self, config: Any, **context: Any) -> None:
        self.config = config
        make = ray.remote(
            num_cpus=config.num_cpus_per_env_runner,
            num_gpus=config.num_gpus_per_env_runner,
            resources=config.custom_resources_per_env_runner or None,
            max_restarts=config.max_num_env_runner_restarts if config.restart_failed_env_runners else 0,
            scheduling_strategy="SPREAD",  # any strategy that is named keeps Ray from using the trial's placement group
        )(config.env_runner_cls)
        count = config.num_env_runners
        # The config goes by value: a runner that restarts reads it again, and an object in Ray's store can be lost.
        self.handles: dict[int, Any] = {
            index: make.remote(config=config, worker_index=index, num_workers=count, **context)
            for index in range(1, count + 1)
        }
        self._group: EnvRunnerGroup | None = None
        self._calls: dict[int, Any] = {}
        self._known: set[int] = set()
        self._serving: set[int] = set()
        self._last_error = ""

    # -- coming and going ------------------------------------------------------------------------------------------

    def enter(self, group: EnvRunnerGroup) -> None:
        """Hands the runners to RLlib's group, and waits until they are there.

        The first may take `env_runner_restore_timeout_s`; the others then `GRACE`, or `GRACE_RATIO` times
        what the first one took, so that all are there from the start where there is room for all.

        Raises:
            RuntimeError: If none comes.
            Exception: What a runner's constructor raised.
        """
        self._group = group
        group.reset(list(self.handles.values()))
        for index in self.handles:  # RLlib takes new runners for healthy, and would wait for all of them
            self._manager.set_actor_state(index, healthy=False)
        began, patience = time.monotonic(), self.config.env_runner_restore_timeout_s
        if not self._wait_for(1, patience):
            why = f" ({self._last_error})" if self._last_error else ""
            raise RuntimeError(
                f"num_env_runners: got {len(self.handles)}, none of which started within {patience:g} s{why}; each "
                f"needs {self.config.num_cpus_per_env_runner:g} free CPU beside the main process"
            )
        if not self._wait_for(len(self.handles), max(GRACE, GRACE_RATIO * (time.monotonic() - began))):
            logger.warning("env runners: %s at the start; the others join when they are up", self)

    def arrivals(self, timeout: float = 0.0) -> list[int]:
        """Puts runners into service that were not there at the last look and answer now.

        They know neither weights nor tasks yet.

        Args:
            timeout: How long to wait for the first of them [s].

        Raises:
            Exception: What a runner's constructor raised.
        """
        self._log_losses()
        missing = [index for index in self.handles if index not in self._serving]
        if not missing:
            return []
        for index in missing:
            if index not in self._calls:
                self._calls[index] = self.handles[index].ping.remote()
        calls = list(self._calls.values())
        if timeout:
            ray.wait(calls, timeout=timeout)
        ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
        came = [index for index in missing if self._calls[index] in ready and self._answers(index)]
        if came:
            self._serving |= set(came)
            logger.info("env runners: %s joined, %s", ", ".join(map(str, came)), self)
        return came

    def stop(self) -> None:
        """Lets the runners go, those that never came as well: RLlib would wait for them."""
        if self._group is not None:
            self._group.foreach_env_runner("stop", local_env_runner=False, timeout_seconds=GOODBYE)
            self._group.reset([])
        else:
            for handle in self.handles.values():
                ray.kill(handle)
        self.handles = {}

    def __str__(self) -> str:
        return f"{len(self._serving)} of {len(self.handles)} sample"

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _manager(self) -> Any:
        """What keeps RLlib's list of healthy runners; its group has no method of its own to say that one is not."""
        assert self._group is not None
        return self._group._worker_manager

    def _log_losses(self) -> None:
        """Takes note of the runners that RLlib found dead since the last look."""
        lost = sorted(self._serving - set(self._manager.healthy_actor_ids()))
        if lost:
            self._serving -= set(lost)
            logger.warning("env runners: %s lost, %s", ", ".join(map(str, lost)), self)

    def _wait_for(self, number: int, seconds: float) -> bool:
        """Waits until so many are in service; returns whether they are."""
        deadline = time.monotonic() + seconds
        while len(self._serving) < number and (left := deadline - time.monotonic()) > 0:
            if not self.arrivals(min(left, PROBE_PERIOD)):
                time.sleep(min(left, PROBE_PERIOD / 10))  # a call to an actor that is restarting fails at once
        return len(self._serving) >= number

    def _answers(self, index: int) -> bool:
        """Takes the answer of a runner that was missing; returns whether it is there now."""
        assert self._group is not None
        try:
            ray.get(self._calls.pop(index))
        except RayError as error:
            if getattr(error, "actor_init_failed", False) and isinstance(error.args[0], RayTaskError):
                raise error.args[0].cause from error  # it would be raised again and again: no use to wait
            self._last_error = str(error).partition("\n")[0]
            return False
        if index not in self._known:
            self._known.add(index)
            self._manager.set_actor_state(index, healthy=True)
            return True
        # Called by RLlib itself, so that it counts a restart.
        answers = self._group.foreach_env_runner(
            "ping", remote_worker_ids=[index], local_env_runner=False, healthy_only=False, mark_healthy=True
        )
        return bool(answers)


class RunnersEnter(RLlibCallback):
    """Called by RLlib before all other callbacks, when networks and learners are there: the runners come in."""

    def on_algorithm_init(self, *, algorithm: Any, **kwargs: Any) -> None:
        """Called by RLlib."""
        algorithm.let_runners_in()
