"""The command that is sent to a cluster; what becomes of files in it is in `test_cli`."""

from __future__ import annotations

import pytest

from cluster.arguments import option, resuming
from cluster.description import ClusterError


def test_a_run_is_resumed_as_it_was_set_up() -> None:
    """Where it lies is said again; its settings are not, for `--resume` refuses them."""
    asked = ["train", "cue", "--seed", "3", "--set", "resources.storage=s3://bucket", "--set", "ppo.lr=0.1"]
    going_on = ["train", "cue", "--experiment", "mine", "--set", "resources.storage=s3://bucket", "--resume"]
    assert resuming(asked, "mine") == going_on
    asked = ["sweep", "my.env:DOMAIN", "--set=resources.results=/mnt/a b"]
    going_on = ["sweep", "my.env:DOMAIN", "--experiment", "mine", "--set", "resources.results=/mnt/a b", "--resume"]
    assert resuming(asked, "mine") == going_on


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (["envs"], "allowed are train and sweep, without --resume"),
        (["train", "cue", "--resume"], "allowed are train and sweep, without --resume"),
        (["train", "--seed", "3", "cue"], "allowed is train DOMAIN, options after it"),
        (["train"], "allowed is train DOMAIN, options after it"),
        (["train", "cue", "--config", "mine.yaml"], "got no place for results, required is --set resources.results"),
    ],
)
def test_what_could_not_be_resumed_is_refused_beforehand(asked: list[str], reason: str) -> None:
    """Not when the head is lost."""
    with pytest.raises(ClusterError, match=reason):
        resuming(asked, "mine")


def test_an_option_of_the_command() -> None:
    """Either way of giving it is understood; one that is not there, or has no value, is none."""
    assert option(["train", "--experiment", "mine"], "--experiment") == "mine"
    assert option(["train", "--experiment=a=b"], "--experiment") == "a=b"
    assert option(["train", "--experiments=mine"], "--experiment") is None
    assert option(["train", "--experiment"], "--experiment") is None
