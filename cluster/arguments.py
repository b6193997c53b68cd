"""The command that is sent to a cluster: its arguments as they hold there, and the one that goes on with its run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from cluster.description import ROOT, ClusterError
from cluster.sources import is_sent

MODULE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""A user's own domain, as `train` takes it."""


def for_the_head(argument: str) -> str:
    """An argument as it holds where the repository is sent: the relative path of a file here, from there.

    Absolute paths are taken for the head's, such as those on storage that all share.

    Raises:
        ClusterError: If it is the relative path of a file that is not sent.
    """
    key, equals, value = argument.partition("=")
    text = value if equals else argument
    if "\n" in text or not Path(text).suffix or Path(text).is_absolute() or not Path(text).is_file():
        return argument
    if not is_sent(Path(text)):
        raise ClusterError(
            f"{key}: got {text}, which is not sent to the cluster; allowed are files in {ROOT}, but "
            "for what .rayignore names"
        )
    path = Path(text).resolve().relative_to(ROOT)
    return f"{key}={path}" if equals else str(path)


def option(arguments: Sequence[str], name: str) -> str | None:
    """Value of an option, given as `--name value` or `--name=value`; None if it is not there."""
    for place, argument in enumerate(arguments):
        if argument == name and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


def resuming(arguments: Sequence[str], experiment: str) -> list[str]:
    """The command that goes on with a run.

    A run is resumed as it was set up, so only where it lies is said again: whoever resumes it must know that.

    Args:
        arguments: Those of `train` or `sweep`, the domain after it.
        experiment: The run's name.

    Raises:
        ClusterError: If they are another command's, or do not say where the run lies.
    """
    if arguments[0] not in ("train", "sweep") or "--resume" in arguments:
        raise ClusterError(f"--supervise: got {shlex.join(arguments)}, allowed are train and sweep, without --resume")
    if len(arguments) < 2 or arguments[1].startswith("-"):
        raise ClusterError(
            f"--supervise: got {shlex.join(arguments)}, allowed is {arguments[0]} DOMAIN, options after it"
        )
    settings = [value for flag, value in pairwise(arguments) if flag == "--set"]
    settings += [argument.partition("=")[2] for argument in arguments if argument.startswith("--set=")]
    where = [value for value in settings if value.startswith(("resources.results=", "resources.storage="))]
    if not where:
        raise ClusterError(
            "--supervise: got no place for results, required is --set resources.results=FOLDER, which all machines "
            "share, or --set resources.storage=URI: a head that is lost takes its own with it"
        )
    return [
        *arguments[:2],
        "--experiment",
        experiment,
        *(text for value in where for text in ("--set", value)),
        "--resume",
    ]
