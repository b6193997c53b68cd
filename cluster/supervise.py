"""Sees a run through from outside the cluster: what runs on the head dies with it, so somebody must start it again.

What can go on without help does: dead runners are replaced by the algorithm, a dead trial by Tune. What is left is the
command itself. It is submitted again with `--resume`, and the cluster is started again if it is down.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from cluster.connection import UnreachableError
from cluster.description import ClusterError
from cluster.jobs import Job

MISTAKE = 2
"""Exit code of `entrepot` for what only its user can set right."""


class Submitter(Protocol):
    """As much of `cluster.jobs.Jobs` as is needed here."""

    def submit(self, arguments: Sequence[str], *, job: str | None = None, modules: Sequence[str] = ()) -> str:
        """Starts a job."""
        ...

    def get(self, job: str) -> Job | None:
        """How it stands; None if it is not known."""
        ...


@dataclass(frozen=True)
class Watch:
    """How patiently a run is watched.

    Attributes:
        pause: Time between two looks [s].
        grace: How long the cluster may be out of reach before it is started again [s].
        failures: How often the command may fail by itself; losing it with the head does not count.
        round: Time between two looks after the other machines [s].
    """

    pause: float = 3.0
    grace: float = 30.0
    failures: int = 3
    round: float = 60.0


def supervise(
    open_jobs: Callable[[], AbstractContextManager[Submitter]],
    restart: Callable[[], None],
    arguments: Sequence[str],
    resuming: Sequence[str],
    *,
    experiment: str,
    modules: Sequence[str] = (),
    watch: Watch | None = None,
    tell: Callable[[str], Any] = print,
    tend: Callable[[Any], Any] = lambda jobs: None,
    sleep: Callable[[float], Any] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Job:
    """Runs a command on a cluster until it has succeeded.

    Args:
        open_jobs: Opens a way to the cluster's jobs; raises UnreachableError or OSError if there is none now.
        restart: Starts the cluster again; what still ran there would end.
        arguments: The command's, such as `["train", "trading", "--experiment", "mine"]`.
        resuming: Those of the command that goes on with what the first left behind, `--resume` among them.
        experiment: What it is called; jobs are named after it.
        modules: A user's modules to send along.
        watch: How patiently.
        tell: Told what happens, a line at a time.
        tend: Looks after machines that have dropped out, now and then; gets the way to the jobs.
        sleep: Waits.
        clock: Tells the time [s].

    Returns:
        The job that succeeded.

    Raises:
        ClusterError: If the command is wrong, fails too often, or was stopped by somebody.
    """
    watch = watch or Watch()
    attempt = failures = 0
    job: str | None = None
    resume = mistaken = False
    while True:
        unreachable: float | None = None
        while True:
            try:
                with open_jobs() as jobs:
                    if unreachable is not None:
                        tell(f"the cluster answers again, after {clock() - unreachable:.0f} s")
                        unreachable = None
                    if job is not None and jobs.get(job) is None:
                        tell(f"job {job} was lost with its head; it is submitted again with --resume")
                        job, resume = None, True
                    if job is None:
                        attempt += 1
                        job = f"{experiment}-{attempt}-{int(time.time())}"
                        jobs.submit(resuming if resume else arguments, job=job, modules=modules)
                        tell(f"submitted {job}")
                    ended = _wait(jobs, job, watch, partial(tend, jobs), sleep, clock)
                break
            except (OSError, UnreachableError) as error:
                if unreachable is None:
                    unreachable = clock()
                    tell(f"the cluster does not answer ({error}); waiting")
                if clock() - unreachable > watch.grace:
                    tell("starting the cluster again")
                    _restart(restart, tell)
                    unreachable = clock()
                sleep(watch.pause)
        job = None
        if ended.status == "SUCCEEDED":
            return ended
        if ended.status == "STOPPED":
            raise ClusterError(f"job {ended.id}: somebody stopped it; `--resume` goes on with it")
        if ended.exit_code == MISTAKE:
            # Lost before its folder was made, a run has nothing to resume: once, it may begin again.
            if mistaken or not resume:
                raise ClusterError(f"job {ended.id}: the command is not accepted; its log says why")
            mistaken, resume = True, False
            tell(f"job {ended.id} found nothing to resume; it begins again")
            continue
        failures, mistaken, resume = failures + 1, False, True
        if failures > watch.failures:
            raise ClusterError(f"job {ended.id}: failed {failures} times; its log says why ({ended.message})")
        tell(f"job {ended.id} failed ({ended.message or 'no reason given'}); it is submitted again with --resume")


def _wait(
    jobs: Submitter,
    job: str,
    watch: Watch,
    tend: Callable[[], Any],
    sleep: Callable[[float], Any],
    clock: Callable[[], float],
) -> Job:
    """Waits until a job has ended, and looks after the machines meanwhile.

    Raises:
        ConnectionError: If the cluster, or the job with it, is lost meanwhile.
    """
    tended = clock()
    while True:
        found = jobs.get(job)
        if found is None:
            raise ConnectionError(f"job {job} is not known any more")
        if found.ended:
            return found
        if clock() - tended >= watch.round:
            tend()
            tended = clock()
        sleep(watch.pause)


def _restart(restart: Callable[[], None], tell: Callable[[str], Any]) -> None:
    """Tries to start the cluster again; a machine that is still off is tried again later."""
    try:
        restart()
    except (ClusterError, OSError) as error:
        tell(f"it does not start yet ({error})")
