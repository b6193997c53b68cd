"""The commands `entrepot cluster …`; what is heavy is imported in them."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.arguments import MODULE, for_the_head, option, resuming
from cluster.description import ClusterError, ClusterFile

if TYPE_CHECKING:
    from cluster.jobs import Job

clusters = typer.Typer(
    help="Clusters: start one, submit to it, look at it, end it.", no_args_is_help=True, rich_markup_mode="rich"
)


@clusters.callback()
def _ended_by_signal(context: typer.Context) -> None:
    """Lets a command that is ended by a signal, or whose terminal is closed, put away its tunnels and copies."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        former = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
        context.call_on_close(lambda: [signal.signal(number, handler) for number, handler in former.items()])


File = Annotated[Path, typer.Argument(metavar="CLUSTER", help="The cluster's YAML, such as cluster/onprem.yaml.")]
Target = Annotated[
    str, typer.Argument(metavar="CLUSTER", help="The cluster's YAML, or the URL of a dashboard within reach.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show traces of errors.")]
PLACES = {
    "local": "resources.results=/mnt/results",
    "aws": "resources.storage=s3://BUCKET/runs",
    "gcp": "resources.storage=gs://BUCKET/runs",
}
"""Where results outlive the head, by provider, as an example."""
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
    from cluster.nodes import await_nodes

    cluster = ClusterFile.read(file)
    launch(cluster, tls=tls)
    if wait > 0:
        here, wanted = await_nodes(cluster, wait), cluster.least_nodes
        missing = "" if here >= wanted else "; those that are missing may still join"
        typer.echo(f"{here} of {wanted} nodes are up{missing}")
    place = PLACES.get(str(cluster.content["provider"].get("type")), PLACES["local"])
    settings = f"--set {place} --set tracking.uri=http://SERVER:5000"
    typer.echo(f"next: entrepot cluster submit {file} -- train trading --experiment mine {settings}")


@clusters.command(
    epilog="Examples:\n\n"
    "entrepot cluster submit cluster/onprem.yaml -- train trading --set resources.results=/mnt/results\n\n"
    "entrepot cluster submit cluster/aws.yaml --supervise -- train trading --set resources.storage=s3://bucket/runs\n\n"
    "entrepot cluster submit http://127.0.0.1:8265 --detach -- "
    "sweep trading --samples 20 --set resources.results=/mnt/results",
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

    arguments = [for_the_head(argument) for argument in command]
    sent = [*(modules or ()), *(argument for argument in arguments if MODULE.fullmatch(argument))]
    if watch and detach:
        raise ClusterError("--supervise: got it with --detach, allowed is one of them: who watches must stay")
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


@clusters.command(epilog="Example:\n\nentrepot cluster stop cluster/onprem.yaml mine-1")
def stop(target: Target, job: Annotated[str, typer.Argument(help="Id of the job.")], debug: Debug = False) -> None:
    """End a job; what it has saved can be gone on with."""
    from cluster.connection import connect
    from cluster.jobs import Jobs

    with connect(target) as url:
        Jobs(url).stop(job)
    typer.echo(f"{job} is asked to end")


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
        outcomes = bring_back(cluster, url)
    for worker, reason in outcomes.items():
        typer.echo(f"{worker}: {reason or 'joined'}")
    if not outcomes:
        typer.echo("all machines of the file are in the cluster")
    if any(outcomes.values()):
        raise typer.Exit(1)


@clusters.command(epilog="Example:\n\nentrepot cluster down cluster/onprem.yaml")
def down(file: File, debug: Debug = False) -> None:
    """End a cluster: Ray on every node, and the machines where they are rented."""
    from cluster.launcher import down as end

    end(ClusterFile.read(file))


def _supervise(target: str, arguments: list[str], modules: Sequence[str]) -> None:
    """Sees a run through; its experiment gets a name if it has none, for it is resumed by that."""
    from cluster.connection import PATIENCE, connect, is_url
    from cluster.jobs import Jobs
    from cluster.nodes import bring_back, restart
    from cluster.sources import copied
    from cluster.supervise import Supervision, Watch
    from tune.paths import check_name

    experiment = option(arguments, "--experiment")
    if experiment is None:
        experiment = f"{arguments[0]}_{time.strftime('%Y%m%d_%H%M%S')}"
        arguments = [*arguments, "--experiment", experiment]
    going_on = resuming(arguments, check_name(experiment))
    cluster = None if is_url(target) else ClusterFile.read(Path(target))
    watch = Watch()
    # Ray's own tunnel to a rented head takes long to stand; one try of ours may take as long as the head may be away.
    patience = watch.grace if cluster is not None and cluster.on_premises else PATIENCE

    def start_again() -> None:
        assert cluster is not None
        restart(cluster, RETURN)  # a run may need more than the head

    def tell(line: str) -> None:
        typer.echo(f"{time.strftime('%H:%M:%S')} {line}")

    def tend(jobs: Jobs) -> None:
        if cluster is not None and cluster.on_premises:
            joined = [worker for worker, reason in bring_back(cluster, jobs.url).items() if not reason]
            if joined:
                tell(f"joined again: {', '.join(joined)}")

    with copied() as sources:

        @contextmanager
        def open_jobs() -> Iterator[Jobs]:
            with connect(target, patience=patience) as url:
                yield Jobs(url, sources)

        done = Supervision(
            open_jobs,
            start_again if cluster is not None else None,
            arguments,
            going_on,
            experiment,
            modules,
            watch,
            tell=tell,
            tend=tend,
        ).run()
    tell(f"job {done.id} succeeded")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _end(job: Job) -> None:
    """Says how a job ended; its failure is this command's."""
    if job.status != "SUCCEEDED":
        typer.echo(f"entrepot: job {job.id} {job.status.lower()}: {job.message}", err=True)
        raise typer.Exit(job.exit_code or 1)
