"""The command line: train, sweep, evaluate, report, serve, list environments, and run benchmarks.

Everything heavy (Ray, torch, MLflow) is imported by the command that needs it, so that `--help` answers at once. A
mistake of the user's is one line on standard error and exit code 2; `--debug` shows the trace.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.cli import clusters
from serve import cli as serving
from serve.cli_keys import keys

if TYPE_CHECKING:
    from rllib_configs.schema import ExperimentConfig

USER_ERROR = 2
FAILURE = 1
INTERRUPTED = 130

app = typer.Typer(
    name="entrepot",
    help="Teams of agents that learn trading and other business problems, on Ray.\n\n"
    "Begin with [bold]entrepot train trading[/bold]; [bold]entrepot COMMAND --help[/bold] explains each command.",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Domain = Annotated[
    str, typer.Argument(help="What is learned: a name from `entrepot envs`, or your own package.module:attribute.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting: key.path=value. May be given many times.", metavar="KEY=VALUE"),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Your own YAML in place of the domain's; it may say `extends: NAME`.")
]
AlgorithmName = Annotated[
    str | None,
    typer.Option(
        "--algorithm",
        help="How it is learned: ppo, pathwise, sac, maddpg, qmix, an installed one, or package.module:attribute.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random; the same as --set seed=…")]
Experiment = Annotated[
    str | None, typer.Option("--experiment", help="Name of the experiment and of its folder; made up if not given.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with a run that was killed: --experiment's, or the domain's latest."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show traces of errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback()
def _everywhere() -> None:
    from tune.runtime import add_working_folder

    add_working_folder()  # a domain, an algorithm or a policy of the user's own lies where she works


@app.command(
    epilog="Examples:\n\n"
    "entrepot train trading\n\n"
    "entrepot train trading --experiment mine --set ppo.lr=0.001 --set env.num_agents=8 --seed 3\n\n"
    "entrepot train trading --experiment mine --resume\n\n"
    "entrepot train trading --set runners.num_env_runners=1 --set stop.minutes=30"
)
def train(
    domain: Domain,
    algorithm: AlgorithmName = None,
    settings: Settings = None,
    config_file: ConfigFile = None,
    seed: Seed = None,
    experiment: Experiment = None,
    resume: Resume = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the complete configuration and stop.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Train a team: curriculum, evaluation against baselines, report, and a registered model.

    A run that is killed loses nothing: the same command with --resume continues it to the same result.
    """
    if resume:
        _refuse_changes(settings, config_file, seed, algorithm=algorithm)
    config = _config(domain, algorithm, settings, config_file, seed)
    if show_config:
        import yaml

        typer.echo(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, width=100), nl=False)
        return
    from tune.preflight import prepare

    prepare(config, experiment, resume=resume)
    from tune.finish import run
    from tune.panel import panel

    finished = run(config, name=experiment, resume=resume)
    _print(panel(finished))


@app.command(
    epilog="Examples:\n\n"
    "entrepot sweep trading --samples 8\n\n"
    "entrepot sweep trading --algorithm sac --samples 8\n\n"
    "entrepot sweep trading --samples 20 --space mine.yaml --set env.num_agents=8\n\n"
    "entrepot sweep trading --resume"
)
def sweep(
    domain: Domain,
    algorithm: AlgorithmName = None,
    samples: Annotated[int, typer.Option("--samples", help="Trials in all.")] = 8,
    space: Annotated[
        Path | None,
        typer.Option("--space", help="Your own search space, a YAML like rllib_configs/trading_sweep.yaml."),
    ] = None,
    settings: Settings = None,
    config_file: ConfigFile = None,
    seed: Seed = None,
    experiment: Experiment = None,
    resume: Resume = False,
    debug: Debug = False,
) -> None:
    """Search for better settings: Optuna proposes, ASHA stops what falls behind, a table ranks the trials."""
    from rllib_configs.overrides import of_preset
    from rllib_configs.space import load_sweep

    if resume:
        _refuse_changes(settings, config_file, seed, space, algorithm=algorithm)
    domain, settings = of_preset(domain, settings or ())
    plan = None if resume else load_sweep(domain, space, algorithm)
    config = _config(domain, None if plan is None or config_file else plan.algorithm, settings, config_file, seed)
    from tune.progress import Display
    from tune.ranking import ranking_table
    from tune.sweep import configured, resumed
    from tune.sweep import sweep as search

    if plan is not None:
        config = configured(config, plan)
    else:  # what is shown are its own name, bounds and trials
        config, folder, _, samples = resumed(config, experiment)
        experiment = folder.name
    with Display(experiment or f"sweep {domain}", config.stop, trials=max(samples, 2)) as display:
        found = search(config, plan, samples=samples, name=experiment, resume=resume, listeners=[display])
    _print(ranking_table(found))


@app.command(
    epilog="Examples:\n\n"
    "entrepot evaluate trading@champion\n\n"
    "entrepot evaluate trading@3 --json\n\n"
    "entrepot evaluate results/mine/bundle --suite my_suite.yaml"
)
def evaluate(
    policy: Annotated[str, typer.Argument(help="A bundle's folder, or MODEL@VERSION or MODEL@ALIAS in the registry.")],
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="What is examined, by name or path of its YAML; else the domain's own."),
    ] = None,
    episodes: Annotated[
        int | None, typer.Option("--episodes", help="Most episodes of each scenario; else the suite's.")
    ] = None,
    tracking_uri: Annotated[
        str, typer.Option("--tracking-uri", help="MLflow, where the registry is.", envvar="MLFLOW_TRACKING_URI")
    ] = "sqlite:///mlflow.db",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare a trained policy with the baselines, on held-out seeds, stress tasks and real data."""
    from evaluation.table import table_of
    from tune.examine import examine

    comparison = examine(policy, suite=suite, episodes=episodes, tracking_uri=tracking_uri)
    if as_json:
        typer.echo(comparison.model_dump_json(indent=1))
    else:
        _print(table_of(comparison))


@app.command(epilog="Example:\n\nentrepot report mine")
def report(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment, or its folder.")],
    output: Annotated[
        Path | None, typer.Option("--output", help="File to write; else report.html in the experiment's folder.")
    ] = None,
    results: Annotated[Path, typer.Option("--results", help="Folder that holds the experiments.")] = Path("results"),
    debug: Debug = False,
) -> None:
    """Write an experiment's report anew: one HTML file that needs nothing else."""
    from tune.reports import rewrite_report

    typer.echo(str(rewrite_report(experiment, results, output)))


@app.command(
    epilog="Examples:\n\nentrepot envs\n\nentrepot envs trading\n\nentrepot envs mine:DOMAIN\n\n"
    "entrepot envs show stage_2\n\nentrepot envs show mine.yaml --output mine.html"
)
def envs(
    domain: Annotated[str | None, typer.Argument(help="Show this one; yours by its package.module:attribute.")] = None,
    network: Annotated[str | None, typer.Argument(help="After `show`: a supply network's name, or its YAML.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where the network's picture goes (HTML).")] = None,
    debug: Debug = False,
) -> None:
    """List the environments, or show one: its settings, its agents, what they see and what they do.

    `entrepot envs show NETWORK` draws a supply network with its flows.
    """
    from rllib_configs.errors import ConfigError
    from tune.listing import domain_table, domains_table

    if domain == "show":
        from tune.networks import show_network

        _print(show_network(network, output))
        return
    if network is not None or output is not None:
        raise ConfigError(f"envs: got {network or output} after {domain!r}, allowed is `entrepot envs show NETWORK`")
    if domain is None:
        _print(domains_table())
        return
    from tune.checking import agents_of

    _print(domain_table(domain))
    _print(agents_of(domain))


@app.command(
    epilog="Examples:\n\nentrepot check mine:DOMAIN\n\nentrepot check vmas:balance --set env.action_mode=discrete"
)
def check(
    domain: Domain,
    settings: Settings = None,
    config_file: ConfigFile = None,
    debug: Debug = False,
) -> None:
    """Say whether an environment keeps the contract that everything here relies on; the exit code is 1 if not."""
    from tune.checking import verdict

    found, kept = verdict(_config(domain, None, settings, config_file, None))
    _print(found)
    if not kept:
        raise typer.Exit(FAILURE)


@app.command(epilog="Examples:\n\nentrepot bench\n\nentrepot bench signal --json benchmarks/results/signal.json")
def bench(
    name: Annotated[str | None, typer.Argument(help="Which benchmark; without a name they are listed.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="File to write the result to.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", help="Option of the benchmark: name=value.", metavar="NAME=VALUE")
    ] = None,
    debug: Debug = False,
) -> None:
    """Run a benchmark and say whether its bars hold; the exit code is 1 if one does not."""
    from benchmarks.harness import BENCHMARKS, as_json, command_line, write_json
    from rllib_configs.errors import ConfigError
    from rllib_configs.overrides import parse, unknown_name
    from tune.listing import bars_table, benchmarks_table

    if name is None:
        _print(benchmarks_table(BENCHMARKS))
        return
    if name not in BENCHMARKS:
        raise ConfigError(unknown_name("benchmark", name, BENCHMARKS))
    if json_path is not None:
        from tune.files import ready_folder

        ready_folder(json_path.parent)
    result = BENCHMARKS[name].run(**dict(parse(option) for option in options or ()))
    _print(bars_table(name, result.bars))
    if json_path is not None:
        write_json(json_path, as_json(name, result, command_line()))
    if any(bar.holds is False for bar in result.bars):
        raise typer.Exit(FAILURE)


app.command(
    "serve",
    epilog="Examples:\n\n"
    "entrepot serve\n\n"
    "entrepot serve --models trading@champion --models trading@3 --port 8080\n\n"
    "entrepot serve --models results/mine/bundle\n\n"
    "entrepot keys add desk && entrepot serve --host 0.0.0.0 --keys keys.json --replicas 4",
)(serving.serve)
app.add_typer(serving.models, name="models")
app.add_typer(keys, name="keys")
app.add_typer(clusters, name="cluster")


def _refuse_changes(
    settings: list[str] | None,
    file: Path | None,
    seed: int | None,
    space: Path | None = None,
    algorithm: str | None = None,
) -> None:
    """Raises ConfigError if a run that is resumed would be changed; only where it lies may be said."""
    from rllib_configs.errors import ConfigError

    where = ("resources.results=", "resources.storage=")
    changes = [f"--set {text}" for text in settings or () if not text.startswith(where)]
    changes += [f"--config {file}"] * (file is not None) + [f"--seed {seed}"] * (seed is not None)
    changes += [f"--space {space}"] * (space is not None)
    changes += [f"--algorithm {algorithm}"] * (algorithm is not None)
    if changes:
        raise ConfigError(
            f"--resume: got it with {changes[0]}, allowed beside it is --experiment: a run goes on as it was set up"
        )


def _config(
    domain: str, algorithm: str | None, settings: list[str] | None, file: Path | None, seed: int | None
) -> ExperimentConfig:
    """The checked configuration that the options describe."""
    from rllib_configs.overrides import load

    values = {} if seed is None else {"seed": seed}
    return load(domain, algorithm, file=file, overrides=settings or (), values=values)


def _print(content: Any) -> None:
    from rich.console import Console

    Console().print(content)


def main() -> None:
    """Runs the command line; mistakes end in one line and exit code 2, failures in one line and exit code 1."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if len(sys.argv) == 1:
        sys.argv.append("--help")
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = _tell(["interrupted"], INTERRUPTED)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        code = _tell(_lines(error), _exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)


def _lines(error: Exception) -> list[str]:
    """What the user is told: every mistake of theirs a line, of anything else the last line, which says what it was."""
    if isinstance(error, typer.Abort):
        return ["interrupted"]
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()] or [type(error).__name__]
    if _exit_code(error) == FAILURE:
        return [f"{lines[-1]} (--debug shows the trace)"]
    return lines


def _tell(lines: list[str], code: int) -> int:
    for line in lines:
        print(f"entrepot: {line}", file=sys.stderr)
    return code


def _exit_code(error: Exception) -> int:
    """2 for what the user can set right, 1 for everything else."""
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    if hasattr(error, "exit_code"):
        return int(error.exit_code)
    return USER_ERROR if isinstance(error, (ValueError, OSError)) else FAILURE


if __name__ == "__main__":
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    main()
