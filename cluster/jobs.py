"""Jobs on a cluster: this repository as it stands here, sent along with a command of `entrepot`."""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from cluster.connection import UnreachableError, headers
from cluster.description import ClusterError, first_line
from tune.runtime import runtime_env

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
"""Ray's words for jobs that are over."""
PATIENCE = 30.0
"""How long an answer may take [s]."""


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
        ended_at: When it ended [Unix ms]; None if it has not.
    """

    id: str
    status: str
    command: str
    exit_code: int | None = None
    message: str = ""
    started: int | None = None
    ended_at: int | None = None

    @property
    def ended(self) -> bool:
        """Whether it is over."""
        return self.status in ENDED

    @property
    def seconds(self) -> float:
        """How long it took [s]; 0 if it is not over, or never began."""
        return (self.ended_at - self.started) / 1000 if self.started and self.ended_at else 0.0


class Jobs:
    """The jobs of one cluster.

    Args:
        url: Its dashboard's, as `connect` yields it.
        sources: Copy of the repository that is sent; the repository as it stands if None.

    Attributes:
        url: The same.

    Raises:
        UnreachableError: If it does not answer.
    """

    def __init__(self, url: str, sources: Path | None = None) -> None:
        from ray.job_submission import JobSubmissionClient

        self.url = url
        self._sources = sources
        for name in ("ray", "ray.dashboard", "ray._private", "ray.job_submission"):
            logging.getLogger(name).setLevel(logging.ERROR)  # every file that is not sent would be a line
        try:
            self._client = JobSubmissionClient(url, headers=headers())
        except (OSError, RuntimeError) as error:
            raise UnreachableError(f"address: got {url}, which takes no jobs ({first_line(error)})") from error

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
        if self._sources is not None:
            environment["working_dir"] = str(self._sources)
        environment["env_vars"] = {"PYTHONUNBUFFERED": "1"}
        command = shlex.join(["python", "entrepot.py", *arguments])
        try:
            return str(self._client.submit_job(entrypoint=command, submission_id=job, runtime_env=environment))
        except RuntimeError as error:
            kind = UnreachableError if "status code 5" in str(error) else ClusterError
            raise kind(f"job: the cluster did not take {command!r} ({first_line(error)})") from error

    def get(self, job: str) -> Job | None:
        """How a job stands; None if the cluster knows none of that id.

        Raises:
            UnreachableError: If the cluster does not answer.
        """
        found = self._ask(f"/api/jobs/{job}")
        return None if found is None else _job(found)

    def list(self) -> list[Job]:
        """All jobs that were submitted, the newest first.

        Raises:
            UnreachableError: If the cluster does not answer.
        """
        found = [_job(each) for each in self._ask("/api/jobs/") if each.get("submission_id")]
        return sorted(found, key=lambda each: each.started or 0, reverse=True)

    def logs(self, job: str) -> str:
        """What a job has printed.

        Raises:
            ClusterError: If there is no such job.
        """
        self._known(job)
        return str(self._client.get_job_logs(job))

    def follow(self, job: str, write: Callable[[str], Any], *, pause: float = 1.0) -> Job:
        """Hands on what a job prints until it ends.

        Raises:
            ClusterError: If there is no such job.
            UnreachableError: If the cluster is lost meanwhile.
        """

        async def tail() -> None:
            async for text in self._client.tail_job_logs(job):
                write(text)

        try:
            asyncio.run(tail())
        except Exception as error:  # aiohttp's, whose kinds are not Ray's promise
            if not self._known(job).ended:
                raise UnreachableError(first_line(error)) from error
        while not (found := self._known(job)).ended:
            time.sleep(pause)
        return found

    def stop(self, job: str) -> None:
        """Asks a job to end.

        Raises:
            ClusterError: If there is no such job.
        """
        self._known(job)
        self._client.stop_job(job)

    def _known(self, job: str) -> Job:
        """How a job stands that there must be."""
        found = self.get(job)
        if found is None:
            known = ", ".join(each.id for each in self.list()) or "none yet"
            raise ClusterError(f"job: got {job!r}, allowed are {known}")
        return found

    def _ask(self, path: str) -> Any:
        """What Ray's REST API answers, which its own client would wait for without end; None for 404."""
        try:
            answer = httpx.get(self.url.rstrip("/") + path, headers=headers(), timeout=PATIENCE, trust_env=False)
            if answer.status_code == 404:
                return None
            return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise UnreachableError(f"address: got {self.url}, which does not answer ({first_line(error)})") from error


def _job(details: Mapping[str, Any]) -> Job:
    return Job(
        id=str(details.get("submission_id") or details.get("job_id")),
        status=str(details["status"]),
        command=str(details["entrypoint"]).removeprefix("python entrepot.py "),
        exit_code=details.get("driver_exit_code"),
        message=str(details.get("message") or ""),
        started=details.get("start_time"),
        ended_at=details.get("end_time"),
    )
