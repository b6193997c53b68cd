"""Sees a run through from outside the cluster: what runs on the head dies with it, so somebody must start it again.

What can go on without help does: dead runners are replaced by the algorithm, a dead trial by Tune. What is left is the
command itself. It is submitted again with `--resume`, and the cluster is started again if it is down.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
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

    def get(self, job: str) -> Job | None:
        """How it stands; None if it is not known."""


@dataclass(frozen=True)
class Watch:
    """How patiently a run is watched.

    Attributes:
        pause: Time between two looks [s].
        grace: How long the cluster may be out of reach before it is started again [s].
        failures: How often the command may fail by itself; losing it with the head does not count.
        rest: Wait before the command is submitted again, by the number of its failures [s].
        refusal: A command that is wrong is refused within this time [s].
        round: Time between two looks after the other machines [s].
    """

    pause: float = 1.0
    grace: float = 15.0
    failures: int = 3
    rest: float = 20.0
    refusal: float = 180.0
    round: float = 60.0


@dataclass(frozen=True)
class Supervision:
    """A command that is run on a cluster until it has succeeded.

    Attributes:
        open_jobs: Opens a way to the cluster's jobs; raises UnreachableError or OSError if there is none now.
        restart: Starts the cluster again if it is down; None: somebody else must.
        arguments: The command's, such as `["train", "trading", "--experiment", "mine"]`.
        resuming: Those of the command that goes on with what the first left behind, `--resume` among them.
        experiment: What it is called; jobs are named after it.
        modules: A user's modules to send along.
        watch: How patiently.
        tell: Told what happens, a line at a time.
        tend: Looks after machines that have dropped out, now and then; gets the way to the jobs.
        sleep: Waits.
        clock: Tells the time [s].
    """

    open_jobs: Callable[[], AbstractContextManager[Submitter]]
    restart: Callable[[], None] | None
    arguments: Sequence[str]
    resuming: Sequence[str]
    experiment: str
    modules: Sequence[str] = ()
    watch: Watch = Watch()
    tell: Callable[[str], Any] = print
    tend: Callable[[Any], Any] = lambda jobs: None
    sleep: Callable[[float], Any] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def run(self) -> Job:
        """Sees it through.

        Returns:
            The job that succeeded.

        Raises:
            ClusterError: If the command is wrong, fails too often, or was stopped by somebody.
        """
        attempt, failures, resume = 0, 0, False
        while True:
            attempt += 1
            job = f"{self.experiment}-{attempt}-{int(time.time())}"
            ended = self._see_through(job, self.resuming if resume else self.arguments)
            if ended is None:
                self.tell(f"job {job} was lost with its head; it is submitted again with --resume")
                resume = True
                continue
            if ended.status == "SUCCEEDED":
                return ended
            if ended.status == "STOPPED":
                raise ClusterError(f"job {job}: somebody stopped it; {shlex.join(self.resuming)} goes on with it")
            refused = ended.exit_code == MISTAKE
            if refused and attempt == 1 and ended.seconds < self.watch.refusal:
                raise ClusterError(f"job {job}: the command is not accepted; its log says why")
            failures += 1
            if failures > self.watch.failures:
                raise ClusterError(f"job {job}: failed {failures} times; its log says why ({ended.message})")
            # Lost before its folder was made, a run has nothing to resume; one that is there is not begun again.
            resume = not (refused and resume)
            how = "with --resume" if resume else "from its beginning, in case there is nothing to resume"
            self.tell(f"job {job} failed ({ended.message or 'no reason given'}); it is submitted again {how}")
            self.sleep(failures * self.watch.rest)

    def _see_through(self, job: str, command: Sequence[str]) -> Job | None:
        """Submits a job and waits until it has ended; None if the cluster has forgotten it."""
        accepted = False
        unreachable: float | None = None
        while True:
            try:
                with self.open_jobs() as jobs:
                    found = jobs.get(job)
                    if unreachable is not None:
                        self.tell(f"the cluster answers again, after {self.clock() - unreachable:.0f} s")
                    if found is None and accepted:
                        return None
                    if found is None:  # else it was taken, and only the answer was lost
                        jobs.submit(command, job=job, modules=self.modules)
                    if not accepted:
                        self.tell(f"submitted {job}")
                    accepted, unreachable = True, None
                    return self._wait(jobs, job)
            except (OSError, UnreachableError) as error:
                if unreachable is None:
                    unreachable = self.clock()
                    self.tell(f"the cluster does not answer ({error}); waiting")
                if self.clock() - unreachable > self.watch.grace:
                    self._restart()
                    unreachable = self.clock()
                self.sleep(self.watch.pause)

    def _wait(self, jobs: Submitter, job: str) -> Job | None:
        """Waits until a job has ended, and looks after the machines meanwhile; None if the cluster has forgotten it.

        Raises:
            UnreachableError: If the cluster does not answer.
        """
        tended = self.clock()
        while True:
            found = jobs.get(job)
            if found is None or found.ended:
                return found
            if self.clock() - tended >= self.watch.round:
                self.tend(jobs)
                tended = self.clock()
            self.sleep(self.watch.pause)

    def _restart(self) -> None:
        """Tries to start the cluster again; one that cannot be started now is tried again later."""
        if self.restart is None:
            self.tell("it was given by its URL: if it is down, whoever started it must start it again; waiting")
            return
        try:
            self.restart()
            self.tell("the cluster was started again")
        except (ClusterError, OSError) as error:
            self.tell(f"the cluster is not started again ({error}); waiting")
