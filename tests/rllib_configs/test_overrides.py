"""Layers of configuration, and the one line that each mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_configs.errors import ConfigError
from rllib_configs.overrides import load, merge, parse, read_layers


def message(*overrides: str, domain: str = "cue") -> str:
    """What the user is told about a wrong setting."""
    with pytest.raises(ConfigError) as caught:
        load(domain, overrides=overrides)
    return str(caught.value)


@pytest.mark.parametrize("domain", ["cue", "trading"])
def test_built_in_files_are_complete(domain: str) -> None:
    """The YAML of every built-in domain passes the schema without any default in code."""
    config = load(domain)
    assert config.domain == domain
    assert config.env_config() is not None


def test_a_later_override_wins_and_values_win_over_all() -> None:
    """`--set` is applied in order, and typed values after it."""
    config = load("cue", overrides=["ppo.lr=0.1", "ppo.lr=0.2", "seed=4"], values={"seed": 5})
    assert config.ppo.lr == 0.2
    assert config.seed == 5


def test_a_users_file_extends_a_built_in_one(tmp_path: Path) -> None:
    """A file that says `extends` changes what it names and leaves the rest."""
    file = tmp_path / "mine.yaml"
    file.write_text("extends: cue_ppo\nppo: {epochs: 9}\nenv: {num_agents: 3}\n")
    config, plain = load("cue", file=file), load("cue")
    assert config.ppo.epochs == 9
    assert config.env == {"num_agents": 3}
    assert config.ppo.lr == plain.ppo.lr


def test_files_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    """A circle of files is named, not followed for ever."""
    (tmp_path / "a.yaml").write_text("extends: b\n")
    (tmp_path / "b.yaml").write_text("extends: a\n")
    with pytest.raises(ConfigError, match="extends itself"):
        read_layers(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("ppo.lr=-1", "ppo.lr: got -1, allowed is greater than 0"),
        ("ppo.lr=fast", "ppo.lr: got 'fast', allowed is a valid number"),
        ("policies=one", "policies: got 'one', allowed is 'shared', 'per_role' or 'per_agent'"),
        ("env.action_mode=foo", "env.action_mode: got 'foo', allowed is 'continuous' or 'discrete'"),
        ("env.num_agents=0", "env.num_agents: got 0, allowed is greater than or equal to 1"),
        ("env.num_agents=-3", "env.num_agents: got -3, allowed is greater than or equal to 1"),
        ("task.max_steps=0", "task.max_steps: got 0, allowed is greater than or equal to 1"),
        ("network.hidden_sizes=[]", "network.hidden_sizes: got no layer, allowed is one or more"),
        ("ppo=3", "ppo: got 3, allowed is a mapping of settings"),
        ("seed", "--set: got 'seed', allowed is key.path=value, such as ppo.lr=0.001"),
        ("ppo.lr.x=1", "ppo.lr.x: no such key; ppo.lr is a single value, set as ppo.lr=…"),
    ],
)
def test_a_mistake_is_one_line(override: str, line: str) -> None:
    """The line names the key, what was given and what is allowed."""
    assert message(override) == line


def test_arguments_of_a_users_own_env_are_set_one_by_one() -> None:
    """Below `env.settings` the keys are the env's; what it does not take is named when it is made."""
    domain = "pettingzoo.test.example_envs.generated_agents_parallel_v0:parallel_env"
    config = load(domain, overrides=["env.settings.max_cycles=7", "env.settings={seed: 3}"])
    assert config.env == {"settings": {"max_cycles": 7, "seed": 3}}
    assert message("env.settings=3", domain=domain) == "env.settings: got 3, allowed is a mapping of settings"
    assert message("env.setings.max_cycles=7", domain=domain).startswith("env.setings: no such key (did you mean")


def test_a_preset_is_another_domain(tmp_path: Path) -> None:
    """On the command line as in a file; the last one wins, and one that there is not is named."""
    domain = "resource_allocation"
    assert load(domain, overrides=["env.preset=cloud", "seed=3"]).domain == domain
    assert load(domain, overrides=["env.preset=cloud", "env.preset=energy"]).domain == "energy"
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: workforce_ppo\nenv: {preset: workforce}\n")
    found = load(domain, file=mine)
    assert (found.domain, found.curriculum) == ("workforce", "workforce")
    said = "env.preset: got 'energie' (did you mean energy?); allowed are cloud, energy, workforce"
    assert message("env.preset=energie", domain=domain) == said
    assert message("env.preset=cloud").startswith("env.preset: no such key")


def test_an_unknown_key_is_answered_with_the_closest_one() -> None:
    """The line suggests what was probably meant, and lists all keys at that level."""
    line = message("env.num_agnts=3")
    assert line.startswith("env.num_agnts: no such key (did you mean env.num_agents?); allowed are ")
    assert "env.num_entities" in line


def test_every_mistake_gets_its_own_line() -> None:
    """Two wrong values in different sections are both told."""
    lines = message("ppo.lr=-1", "runners.worlds=0").splitlines()
    assert [line.partition(":")[0] for line in lines] == ["runners.worlds", "ppo.lr"]


def test_an_unknown_domain_is_told_with_the_known_ones() -> None:
    """The closest domain is suggested."""
    with pytest.raises(ConfigError, match=r"domain: got 'tradin' \(did you mean trading\?\); allowed are"):
        load("tradin")


def test_a_task_beside_a_curriculum_is_refused() -> None:
    """A task would silently be ignored where a curriculum sets the tasks."""
    assert "allowed is one of the two" in message("task.num_assets=2", domain="trading")


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: [1", "is not YAML"), ("- 1\n- 2\n", "allowed is a mapping"), ("", "allowed is a mapping")],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str, reason: str) -> None:
    """Broken YAML, a list and an empty file each give one line with the path."""
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load("cue", file=file)
    line = str(caught.value)
    assert line.startswith(f"{file}: ")
    assert reason in line
    assert "\n" not in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path is in the line."""
    with pytest.raises(ConfigError, match=r"nowhere.yaml: cannot be read"):
        load("cue", file=tmp_path / "nowhere.yaml")


@given(st.floats(min_value=1e-12, max_value=1e12, allow_nan=False))
def test_any_way_of_writing_a_number_is_a_number(value: float) -> None:
    """YAML 1.1 takes `1e-3` for text; an override does not."""
    assert parse(f"ppo.lr={value!r}") == ("ppo.lr", value)
    assert parse(f"ppo.lr={value:e}")[1] == pytest.approx(value)


trees = st.recursive(
    st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(st.sampled_from("abc"), trees), st.dictionaries(st.sampled_from("abc"), trees))
def test_merging_lays_one_tree_over_the_other(below: dict[str, object], above: dict[str, object]) -> None:
    """Whatever the upper tree says is there afterwards, and laying it again changes nothing."""
    tree: dict[str, object] = {}
    merge(tree, below)
    merge(tree, above)
    again: dict[str, object] = {}
    merge(again, tree)
    merge(again, above)
    assert again == tree
    assert set(tree) == set(below) | set(above)
    for key, value in above.items():
        if not isinstance(value, dict):
            assert tree[key] == value
