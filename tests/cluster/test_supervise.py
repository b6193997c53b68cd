"""Seeing a run through from outside the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from cluster.connection import UnreachableError
from cluster.description import ClusterError
from cluster.jobs import Job
from cluster.supervise import Supervision, Watch

WATCH = Watch(pause=1.0, grace=10.0, failures=2, rest=1.0, refusal=60.0, round=5.0)


class Script:
    """A cluster on which each job goes through the states it is given.

    Args:
        jobs: For each job submitted: what is seen of it, look by look. A `Job`; None: not known; an exception: raised.
    """

    def __init__(self, *jobs: Sequence[Job | Exception | None]) -> None:
        self.scripts = [list(states) for states in jobs]
        self.submitted: list[list[str]] = []
        self.names: list[str] = []
        self.restarts = 0
        self.down_until = 0.0
        self.time = 0.0
        self.told: list[str] = []
        self.tended: list[object] = []
        self.refusals: list[Exception] = []
        self.startable = True

    def submit(self, arguments: Sequence[str], *, job: str | None = None, modules: Sequence[str] = ()) -> str:
        """Remembers what is asked."""
        assert job is not None
        if self.refusals:
            raise self.refusals.pop(0)
        self.submitted.append(list(arguments))
        self.names.append(job)
        return job

    def get(self, job: str) -> Job | None:
        """The next state of the newest job; one that was not taken is not known."""
        if job not in self.names:
            return None
        state = self.scripts[len(self.submitted) - 1].pop(0)
        if isinstance(state, Exception):
            raise state
        return state

    @contextmanager
    def open(self) -> Iterator[Script]:
        """A way in, while there is one."""
        if self.time < self.down_until:
            raise UnreachableError("nobody answers")
        yield self

    def sleep(self, seconds: float) -> None:
        """Moves the clock."""
        self.time += seconds

    def restart(self) -> None:
        """Starts the cluster again."""
        self.restarts += 1
        self.down_until = self.time

    def run(self) -> Job:
        """Sees `train` through."""
        return Supervision(
            self.open,
            self.restart if self.startable else None,
            ["train", "cue"],
            ["train", "cue", "--resume"],
            experiment="mine",
            watch=WATCH,
            tell=self.told.append,
            tend=self.tended.append,
            sleep=self.sleep,
            clock=lambda: self.time,
        ).run()


def state(status: str, exit_code: int | None = None, *, seconds: int = 5) -> Job:
    """How a job stands that took so long, if it is over."""
    return Job("mine-1", status, "train cue", exit_code, started=1000, ended_at=1000 + 1000 * seconds)


def test_an_undisturbed_run() -> None:
    """It is submitted once, without --resume, and watched until it has succeeded."""
    script = Script([state("PENDING"), state("RUNNING"), state("SUCCEEDED", 0)])
    assert script.run().status == "SUCCEEDED"
    assert script.submitted == [["train", "cue"]]
    assert script.restarts == 0


def test_machines_are_looked_after() -> None:
    """While a run lasts, somebody looks now and then after machines that dropped out."""
    script = Script([state("RUNNING")] * 12 + [state("SUCCEEDED", 0)])
    script.run()
    assert script.tended == [script, script]


def test_the_head_is_lost() -> None:
    """Out of reach for longer than the grace, the cluster is started again, and the lost run is resumed."""
    script = Script([state("RUNNING"), ConnectionError("cut"), None], [state("RUNNING"), state("SUCCEEDED", 0)])
    script.down_until = 0.0

    def fall(seconds: float) -> None:
        script.time += seconds
        if script.time == 2.0:  # after the first two looks
            script.down_until = 1e9

    script.sleep = fall  # type: ignore[method-assign]
    assert script.run().status == "SUCCEEDED"
    assert script.submitted == [["train", "cue"], ["train", "cue", "--resume"]]
    assert len(set(script.names)) == 2
    assert script.restarts == 1


def test_only_the_way_was_lost() -> None:
    """A job that still runs when the cluster is back in reach is watched on, not restarted or submitted again."""
    running = state("RUNNING")
    script = Script([running, ConnectionError("cut"), running, running, state("SUCCEEDED", 0)])
    assert script.run().status == "SUCCEEDED"
    assert len(script.submitted) == 1
    assert script.restarts == 0


def test_failures_are_resumed_so_often() -> None:
    """A command that fails by itself is resumed, but not for ever."""
    failed = [state("FAILED", 1)]
    script = Script(failed, failed, failed)
    with pytest.raises(ClusterError, match="failed 3 times"):
        script.run()
    assert script.submitted[1:] == [["train", "cue", "--resume"]] * 2


def test_a_wrong_command_is_not_repeated() -> None:
    """What only the user can set right ends at once."""
    script = Script([state("FAILED", 2)])
    with pytest.raises(ClusterError, match="not accepted"):
        script.run()
    assert len(script.submitted) == 1


def test_lost_before_there_was_anything_to_resume() -> None:
    """A run that was lost before it had a folder begins again, without --resume."""
    script = Script([state("RUNNING"), None], [state("FAILED", 2)], [state("SUCCEEDED", 0)])
    assert script.run().status == "SUCCEEDED"
    assert script.submitted == [["train", "cue"], ["train", "cue", "--resume"], ["train", "cue"]]


def test_a_refusal_after_hours_is_a_failure() -> None:
    """What worked and then is refused, as when storage is out for a while, is resumed; in turns with beginning anew."""
    refused = [state("FAILED", 2)]
    script = Script([state("FAILED", 2, seconds=36_000)], refused, refused)
    with pytest.raises(ClusterError, match="failed 3 times"):
        script.run()
    assert script.submitted == [["train", "cue"], ["train", "cue", "--resume"], ["train", "cue"]]
    script = Script([state("FAILED", 2, seconds=36_000)], refused, [state("FAILED", 2)])
    script.scripts[1] = [state("SUCCEEDED", 0)]
    assert script.run().status == "SUCCEEDED"


def test_a_submission_that_is_not_taken_is_made_again() -> None:
    """As it was: nothing was lost. Under the same id, lest it be taken twice."""
    script = Script([state("SUCCEEDED", 0)])
    script.refusals = [UnreachableError("disk full"), UnreachableError("disk full")]
    assert script.run().status == "SUCCEEDED"
    assert script.submitted == [["train", "cue"]]
    assert any("disk full" in line for line in script.told)


def test_a_submission_whose_answer_is_lost_is_not_made_again() -> None:
    """The job is known, so it was taken."""
    script = Script([state("RUNNING"), state("SUCCEEDED", 0)])
    submit = script.submit

    def taken(arguments: Sequence[str], *, job: str | None = None, modules: Sequence[str] = ()) -> str:
        submit(arguments, job=job, modules=modules)
        raise UnreachableError("cut")

    script.submit = taken  # type: ignore[method-assign]
    assert script.run().status == "SUCCEEDED"
    assert script.submitted == [["train", "cue"]]


def test_a_cluster_of_somebody_else_is_waited_for() -> None:
    """It is not started again, which is said; back again, it gets the run."""
    script = Script([state("RUNNING"), ConnectionError("cut"), None], [state("SUCCEEDED", 0)])
    script.startable = False

    def fall(seconds: float) -> None:
        script.time += seconds
        script.down_until = 100.0 if script.time >= 1.0 else 0.0

    script.sleep = fall  # type: ignore[method-assign]
    assert script.run().status == "SUCCEEDED"
    assert script.restarts == 0
    assert any("whoever started it" in line for line in script.told)


def test_stopped_by_somebody() -> None:
    """A job that a person stopped stays stopped."""
    with pytest.raises(ClusterError, match="somebody stopped it"):
        Script([state("STOPPED")]).run()


def test_a_machine_that_is_still_off() -> None:
    """A cluster that does not start yet is tried again until it does."""
    script = Script([state("RUNNING"), None], [state("SUCCEEDED", 0)])
    tries = iter([ClusterError("no route"), ClusterError("no route"), None])

    def restart() -> None:
        if (error := next(tries)) is not None:
            raise error
        script.down_until = script.time

    script.restart = restart  # type: ignore[method-assign]
    script.down_until = 1e9
    assert script.run().status == "SUCCEEDED"
    assert sum("is not started again" in line for line in script.told) == 2
