"""The commands `entrepot cluster …`; what is heavy is imported in them."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.description import ROOT, ClusterError, ClusterFile

if TYPE_CHECKING:
    from cluster.jobs import Job

clusters = typer.Typer(
    help="Clusters: start one, submit to it, look at it, end it.", no_args_is_help=True, rich_markup_mode="rich"
)

File = Annotated[Path, typer.Argument(metavar="CLUSTER", help="The cluster's YAML, such as cluster/onprem.yaml.")]
Target = Annotated[
    str, typer.Argument(metavar="CLUSTER", help="The cluster's YAML, or the URL of a dashboard within reach.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show traces of errors.")]
MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""A user's own domain, as `train` takes it."""
RETURN = 120.0
"""How long nodes may take to come back with a head that was started again, before the run goes on without them [s]."""


@clusters.command(epilog="Examples:\n\nentrepot cluster up cluster/onprem.yaml\n\nentrepot cluster up mine.yaml --tls")
def up(
    file: File,
    tls: Annotated[
        bool, typer.Option("--tls", help="Encrypt what the nodes say to each other; addresses must be known.")
    ] = False,
    wait: Annotated[
        float, typer.Option("--wait", help="How long to wait for the nodes that come up by themselves [s]; 0: not.")
    ] = 300.0,
    debug: Debug = False,
) -> None:
    """Start a cluster, or bring one that is up to what its file says (what runs there ends)."""
    from cluster.launcher import up as launch

    cluster = ClusterFile.read(file)
    launch(cluster, tls=tls)
    here = _await_nodes(file, cluster.least_nodes, wait) if wait > 0 else 0
    if wait > 0:
        typer.echo(f"{here} of {cluster.least_nodes} nodes are up; those that are missing may still join")
    typer.echo(f"next: entrepot cluster submit {file} -- train trading --experiment mine")


@clusters.command(
    epilog="Examples:\n\n"
    "entrepot cluster submit cluster/onprem.yaml -- train trading --set resources.results=/mnt/results\n\n"
    "entrepot cluster submit cluster/aws.yaml --supervise -- train trading --set resources.storage=s3://bucket/runs\n\n"
    "entrepot cluster submit http://127.0.0.1:8265 --detach -- sweep trading --samples 20",
)
def submit(
    target: Target,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…", help="A command of entrepot's.")],
    watch: Annotated[
        bool,
        typer.Option("--supervise", help="See it through: if the head is lost, start it again and resume the run."),
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait; print the job's id and stop.")] = False,
    modules: Annotated[
        list[str] | None,
        typer.Option("--module", help="A module of yours to send along; the domain's own is sent anyway."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Run a command of entrepot's on a cluster, with this repository as it stands here."""
    from cluster.connection import connect
    from cluster.jobs import Jobs

    arguments = [_for_the_head(argument) for argument in command]
    sent = [*(modules or ()), *(argument for argument in arguments if MODULE.fullmatch(argument))]
    if sent:
        from tune.runtime import add_working_folder

        add_working_folder()
    if watch:
        _supervise(target, arguments, sent)
        return
    with connect(target) as url:
        jobs = Jobs(url)
        job = jobs.submit(arguments, modules=sent)
        if detach:
            typer.echo(job)
            return
        typer.echo(f"submitted {job}; Ctrl-C leaves it running (entrepot cluster logs {target} {job} --follow)")
        _end(jobs.follow(job, _write))


@clusters.command(epilog="Example:\n\nentrepot cluster status cluster/onprem.yaml")
def status(target: Target, debug: Debug = False) -> None:
    """Show the nodes and the jobs of a cluster."""
    from rich.console import Console

    from cluster.connection import connect
    from cluster.jobs import Jobs
    from cluster.nodes import list_nodes
    from cluster.tables import jobs_table, nodes_table

    with connect(target) as url:
        console = Console()
        console.print(nodes_table(list_nodes(url)))
        console.print(jobs_table(Jobs(url).list()))


@clusters.command(
    epilog="Examples:\n\n"
    "entrepot cluster logs cluster/onprem.yaml\n\n"
    "entrepot cluster logs cluster/onprem.yaml mine-1 --follow"
)
def logs(
    target: Target,
    job: Annotated[str | None, typer.Argument(help="Id of the job; the newest if not given.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job has ended.")] = False,
    debug: Debug = False,
) -> None:
    """Show what a job has printed."""
    from cluster.connection import connect
    from cluster.jobs import Jobs

    with connect(target) as url:
        jobs = Jobs(url)
        if job is None:
            newest = jobs.list()
            if not newest:
                raise ClusterError(f"job: {target} has had none; entrepot cluster submit {target} -- … starts one")
            job = newest[0].id
        if follow:
            _end(jobs.follow(job, _write))
        else:
            _write(jobs.logs(job))


@clusters.command(epilog="Example:\n\nentrepot cluster join cluster/onprem.yaml")
def join(file: File, debug: Debug = False) -> None:
    """Have machines join that are in the file but not in the cluster: they were off, or are new. What runs goes on."""
    from cluster.connection import connect
    from cluster.nodes import bring_back

    cluster = ClusterFile.read(file)
    if not cluster.on_premises:
        raise ClusterError(
            f"join: got {file.name}, allowed is a cluster with provider local; others rent machines anew"
        )
    with connect(str(file)) as url:
        joined = bring_back(cluster, url)
    typer.echo(f"joined: {', '.join(joined)}" if joined else "all machines of the file are in the cluster")


@clusters.command(epilog="Example:\n\nentrepot cluster down cluster/onprem.yaml")
def down(file: File, debug: Debug = False) -> None:
    """End a cluster: Ray on every node, and the machines where they are rented."""
    from cluster.launcher import down as end

    end(ClusterFile.read(file))


def _supervise(target: str, arguments: list[str], modules: Sequence[str]) -> None:
    """Sees a run through; its experiment gets a name if it has none, for it is resumed by that."""
    from collections.abc import Iterator
    from contextlib import contextmanager

    from cluster.connection import connect
    from cluster.jobs import Jobs
    from cluster.launcher import up as launch
    from cluster.nodes import bring_back
    from cluster.supervise import supervise

    if arguments[0] not in ("train", "sweep") or "--resume" in arguments:
        raise ClusterError(f"--supervise: got {' '.join(arguments)!r}, allowed are train and sweep, without --resume")
    experiment = _option(arguments, "--experiment")
    if experiment is None:
        experiment = f"{arguments[0]}_{time.strftime('%Y%m%d_%H%M%S')}"
        arguments = [*arguments, "--experiment", experiment]

    @contextmanager
    def open_jobs() -> Iterator[Jobs]:
        with connect(target) as url:
            yield Jobs(url)

    def restart() -> None:
        if target.startswith(("http://", "https://")):
            raise ClusterError("it was given by its URL, and whoever started it must start it again")
        cluster = ClusterFile.read(Path(target))
        launch(cluster, tls=_had_tls(cluster))
        _await_nodes(Path(target), cluster.least_nodes, RETURN)  # a run may need more than the head

    def tell(line: str) -> None:
        typer.echo(f"{time.strftime('%H:%M:%S')} {line}")

    def tend(jobs: Jobs) -> None:
        if target.startswith(("http://", "https://")):
            return
        cluster = ClusterFile.read(Path(target))
        if cluster.on_premises and (joined := bring_back(cluster, jobs.url)):
            tell(f"joined again: {', '.join(joined)}")

    resuming = _resuming(arguments, experiment)
    done = supervise(
        open_jobs, restart, arguments, resuming, experiment=experiment, modules=modules, tell=tell, tend=tend
    )
    tell(f"job {done.id} succeeded")


def _resuming(arguments: Sequence[str], experiment: str) -> list[str]:
    """The command that goes on with a run: a run is resumed as it was set up, so only where it lies is said again."""
    where = [
        value
        for option, value in pairwise(arguments)
        if option == "--set" and value.startswith(("resources.results=", "resources.storage="))
    ]
    settings = [text for value in where for text in ("--set", value)]
    return [*arguments[:2], "--experiment", experiment, *settings, "--resume"]


def _had_tls(cluster: ClusterFile) -> bool:
    """Whether the cluster was started with `--tls`: its certificate is kept."""
    from cluster.credentials import tls_folder

    return (tls_folder(cluster.name) / "server.key").is_file()


def _option(arguments: Sequence[str], name: str) -> str | None:
    """Value of an option in somebody else's command line."""
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def _for_the_head(argument: str) -> str:
    """An argument as it holds where the repository is sent: the relative path of a file here, from there.

    Absolute paths are taken for the head's, such as those on storage that all share.

    Raises:
        ClusterError: If it is the relative path of a file that is not sent.
    """
    key, equals, value = argument.partition("=")
    text = value if equals else argument
    if "\n" in text or not Path(text).suffix or Path(text).is_absolute() or not Path(text).is_file():
        return argument
    path = Path(text).resolve()
    if not path.is_relative_to(ROOT):
        raise ClusterError(f"{key}: got {text}, which is not sent to the cluster; allowed are files in {ROOT}")
    return f"{key}={path.relative_to(ROOT)}" if equals else str(path.relative_to(ROOT))


def _await_nodes(file: Path, wanted: int, wait: float) -> int:
    """Waits until so many nodes are up, or time is up; returns how many are."""
    from cluster.connection import connect
    from cluster.nodes import alive

    deadline, here = time.monotonic() + wait, 0
    with connect(str(file), patience=wait) as url:
        while True:
            here = len(alive(url))
            if here >= wanted or time.monotonic() > deadline:
                return here
            time.sleep(1.0)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _end(job: Job) -> None:
    """Says how a job ended; its failure is this command's."""
    if job.status != "SUCCEEDED":
        typer.echo(f"entrepot: job {job.id} {job.status.lower()}: {job.message}", err=True)
        raise typer.Exit(job.exit_code or 1)
