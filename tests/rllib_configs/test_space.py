"""Search spaces are checked against the schema before any trial starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load
from rllib_configs.space import check_space, load_sweep

HEAD = "domain: cue\niterations: 4\ngrace: 2\nreduction: 2\nsettings: {}\n"


def written(folder: Path, space: str) -> Path:
    """A sweep with the given space."""
    file = folder / "sweep.yaml"
    file.write_text(f"{HEAD}space: {space}\n")
    return file


@pytest.mark.parametrize("domain", ["cue", "trading"])
def test_built_in_spaces_hold_only_allowed_values(domain: str) -> None:
    """Every end of every range passes the schema."""
    check_space(load(domain), load_sweep(domain))


@pytest.mark.parametrize("algorithm", ["sac", "maddpg", "qmix"])
@pytest.mark.parametrize("domain", ["trading", "supply_chain", "resource_allocation"])
def test_every_algorithm_has_a_space_for_every_domain(domain: str, algorithm: str) -> None:
    """Where a domain has none for it, its own for all domains; all that is in it passes the schema."""
    plan = load_sweep(domain, algorithm=algorithm)
    assert plan.algorithm == algorithm
    check_space(load(domain, algorithm), plan)


def test_a_domains_own_space_comes_first() -> None:
    """For the algorithm that it is for; and an algorithm without any is named."""
    assert load_sweep("trading", algorithm="ppo") == load_sweep("trading")
    with pytest.raises(ConfigError, match=r"sweep: 'trading' with 'pathwise' comes with no search space"):
        load_sweep("trading", algorithm="pathwise")


def test_a_space_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    """A sweep says which algorithm it is for."""
    file = written(tmp_path, "{ppo.lr: {kind: uniform, low: 0.1, high: 1}}")
    with pytest.raises(ConfigError, match="algorithm: got 'ppo', allowed is the sweep's, 'sac'"):
        load_sweep("cue", file, "sac")


@pytest.mark.parametrize(
    ("space", "line"),
    [
        ("{ppo.le: {kind: uniform, low: 0.1, high: 1}}", "ppo.le: no such key"),
        ("{ppo.lr: {kind: uniform, low: 1, high: 0.1}}", "low: got 1, allowed is below high, 0.1"),
        ("{ppo.lr: {kind: loguniform, low: 0, high: 1}}", "got 0, allowed is greater than 0"),
        ("{ppo.lr: {kind: gaussian}}", "gaussian"),
        ("{ppo.lr: {kind: choice, values: [0.1]}}", "values"),
        ("{}", "space"),
    ],
)
def test_a_wrong_space_is_one_line(tmp_path: Path, space: str, line: str) -> None:
    """The line names what is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_sweep("cue", written(tmp_path, space))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_no_trial_could_use_is_found_beforehand(tmp_path: Path) -> None:
    """A range that leaves the schema's bounds is refused."""
    plan = load_sweep("cue", written(tmp_path, "{ppo.gamma: {kind: uniform, low: 0.9, high: 1.1}}"))
    with pytest.raises(ConfigError, match=r"space: ppo\.gamma: got 1\.1, allowed is less than or equal to 1"):
        check_space(load("cue"), plan)


def test_a_sweep_needs_no_settings_of_its_own(tmp_path: Path) -> None:
    """A file that changes nothing else need not say so."""
    file = written(tmp_path, "{ppo.lr: {kind: uniform, low: 0.1, high: 1}}")
    file.write_text(file.read_text().replace("settings: {}\n", ""))
    assert load_sweep("cue", file).settings == {}


def test_a_domain_without_a_space_says_which_have_one(tmp_path: Path) -> None:
    """A user's own domain needs --space."""
    with pytest.raises(ConfigError, match="give one with --space"):
        load_sweep("envs.cue:DOMAIN")


def test_a_space_of_another_domain_is_refused(tmp_path: Path) -> None:
    """A sweep says which domain it is for."""
    file = written(tmp_path, "{ppo.lr: {kind: uniform, low: 0.1, high: 1}}")
    with pytest.raises(ConfigError, match="domain: got 'cue'"):
        load_sweep("trading", file)
