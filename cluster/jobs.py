"""Jobs on a cluster: this repository as it stands here, sent along with a command of `entrepot`."""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.connection import UnreachableError, headers
from cluster.description import ClusterError
from tune.runtime import runtime_env

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
"""Ray's words for jobs that are over."""


@dataclass(frozen=True)
class Job:
    """How a job stands.

    Attributes:
        id: Its id.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        command: What runs.
        exit_code: The command's, once it has ended and Ray knows it.
        message: What Ray says of it.
        started: When it started [Unix ms]; None if it has not.
    """

    id: str
    status: str
    command: str
    exit_code: int | None = None
    message: str = ""
    started: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in ENDED


class Jobs:
    """The jobs of one cluster.

    Args:
        url: Its dashboard's, as `connect` yields it.

    Attributes:
        url: The same.

    Raises:
        UnreachableError: If it does not answer.
    """

    def __init__(self, url: str) -> None:
        from ray.job_submission import JobSubmissionClient

        self.url = url

        for name in ("ray", "ray.dashboard", "ray._private", "ray.job_submission"):
            logging.getLogger(name).setLevel(logging.ERROR)  # every file that is not sent would be a line
        try:
            self._client = JobSubmissionClient(url, headers=headers())
        except (OSError, RuntimeError) as error:
            raise UnreachableError(f"address: got {url}, which takes no jobs ({_first_line(error)})") from error

    def submit(self, arguments: Sequence[str], *, job: str | None = None, modules: Sequence[str] = ()) -> str:
        """Sends the repository and has a command of `entrepot` run on the head.

        Args:
            arguments: The command's, such as `["train", "trading"]`.
            job: Id for it; made up if None.
            modules: A user's modules to send along, with or without `:attribute`.

        Returns:
            The job's id.

        Raises:
            ClusterError: If the cluster does not take it.
            UnreachableError: If it cannot now, as while it starts.
            ValueError: If a module cannot be found.
        """
        environment = runtime_env(*modules)
        environment["env_vars"] = {"PYTHONUNBUFFERED": "1"}
        command = shlex.join(["python", "entrepot.py", *arguments])
        try:
            return str(self._client.submit_job(entrypoint=command, submission_id=job, runtime_env=environment))
        except RuntimeError as error:
            kind = UnreachableError if "status code 5" in str(error) else ClusterError
            raise kind(f"job: the cluster did not take {command!r} ({_first_line(error)})") from error

    def get(self, job: str) -> Job | None:
        """How a job stands; None if the cluster knows none of that id.

        Raises:
            OSError: If the cluster does not answer.
        """
        try:
            return _job(self._client.get_job_info(job))
        except RuntimeError as error:
            if "does not exist" in str(error) or "404" in str(error):
                return None
            raise ConnectionError(_first_line(error)) from error

    def list(self) -> list[Job]:
        """All jobs that were submitted, the newest first."""
        found = [_job(each) for each in self._client.list_jobs() if each.submission_id]
        return sorted(found, key=lambda each: each.started or 0, reverse=True)

    def logs(self, job: str) -> str:
        """What a job has printed.

        Raises:
            ClusterError: If there is no such job.
        """
        try:
            return str(self._client.get_job_logs(job))
        except RuntimeError as error:
            known = ", ".join(each.id for each in self.list()) or "none yet"
            raise ClusterError(f"job: got {job!r}, allowed are {known}") from error

    def follow(self, job: str, write: Callable[[str], Any], *, pause: float = 1.0) -> Job:
        """Hands on what a job prints until it ends.

        Raises:
            ClusterError: If there is no such job.
            OSError: If the cluster is lost meanwhile.
        """

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job):
                write(text)

        try:
            asyncio.run(tail())
        except Exception as error:  # aiohttp's, whose kinds are not Ray's promise
            found = self.get(job)
            if found is None:
                raise ClusterError(f"job: got {job!r}, which the cluster does not know") from error
            if not found.ended:
                raise ConnectionError(_first_line(error)) from error
        while True:
            found = self.get(job)
            if found is None:
                raise ClusterError(f"job: got {job!r}, which the cluster does not know")
            if found.ended:
                return found
            time.sleep(pause)

    def stop(self, job: str) -> None:
        """Asks a job to end."""
        self._client.stop_job(job)


def _job(details: Any) -> Job:
    return Job(
        id=str(details.submission_id or details.job_id),
        status=str(getattr(details.status, "value", details.status)),
        command=str(details.entrypoint).removeprefix("python entrepot.py "),
        exit_code=getattr(details, "driver_exit_code", None),
        message=str(details.message or ""),
        started=details.start_time,
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
