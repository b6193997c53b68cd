"""The registry: versions, the champion, and the way back. One database for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from algorithms.export import export_bundle
from algorithms.mapping import PolicyMapping
from algorithms.networks.module import module_spec
from envs.registry import get_domain
from policies.bundle import GRAPH, BundleError, load_bundle
from policies.registry import ModelRegistry, RegistryError, Score, Serving, beats
from tests.policies.forging import signed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def registry(folder: Path, new_database: Callable[[Path], str]) -> ModelRegistry:
    return ModelRegistry(new_database(folder), folder / "artifacts")


@pytest.fixture(scope="module")
def bundles(folder: Path) -> list[Path]:
    """Two different bundles."""
    env = get_domain("cue").env({}, 1)
    mapping = PolicyMapping("shared", env.groups)
    paths = [folder / f"bundle_{number}" for number in range(2)]
    for number, path in enumerate(paths):
        torch.manual_seed(number)
        modules = {name: module_spec(mapping.module_spaces(name)).build() for name in mapping.modules}
        export_bundle(path, modules, mapping, name=f"team {number}", domain="cue", env_config={})
    return paths


def score(value: float, evaluation: str = "held-out") -> Score:
    return Score(value, value - 0.1, value + 0.1, evaluation)


def test_champion_is_who_beats_the_champion(registry: ModelRegistry, bundles: list[Path]) -> None:
    """The first version is champion; then only a higher score on the same evaluation takes the alias."""
    played = [(0.3, "held-out"), (0.3, "held-out"), (0.2, "held-out"), (0.9, "easier"), (0.4, "held-out")]
    versions = [registry.register(bundles[0], "rivals", score(*each)) for each in played]
    assert [v.champion for v in versions] == [True, False, False, False, True]
    assert [v.version for v in versions] == [1, 2, 3, 4, 5]
    champion = registry.champion("rivals")
    assert champion is not None
    assert (champion.version, champion.score) == (5, score(0.4))
    assert [v.champion for v in registry.versions("rivals")] == [True, False, False, False, False]


def test_version_carries_score_hash_and_tags(registry: ModelRegistry, bundles: list[Path]) -> None:
    """A version knows its score with interval, its domain, the bundle's hash, and what else was said of it."""
    version = registry.register(bundles[0], "tagged", score(0.25), tags={"stage": "crisis"})
    assert version.score == score(0.25)
    assert version.tags["stage"] == "crisis"
    assert version.tags["domain"] == "cue"
    assert version.tags["sha256"] == load_bundle(bundles[0]).manifest.sha256


def test_fetched_bundle_is_the_registered_one(registry: ModelRegistry, bundles: list[Path], tmp_path: Path) -> None:
    """By number or alias, what comes back is the bundle that went in, and replaces an older one."""
    for number, path in enumerate(bundles):
        registry.register(path, "kept", score(number))
    target = tmp_path / "deep" / "copy"
    for which, name in ((1, "team 0"), ("champion", "team 1"), ("1", "team 0")):
        assert registry.fetch("kept", which, target) == target
        assert load_bundle(target, verify=True).name == name
    assert [p.name for p in target.parent.iterdir()] == ["copy"]


def test_tampered_artifacts_are_not_fetched(
    registry: ModelRegistry, bundles: list[Path], folder: Path, tmp_path: Path
) -> None:
    """A stored file that was changed is noticed, and nothing is left at the destination."""
    version = registry.register(bundles[0], "tampered", score(0.0))
    stored = Path(registry._client.get_model_version("tampered", str(version.version)).source.removeprefix("file://"))
    (stored / GRAPH).write_bytes(b"something else")
    with pytest.raises(BundleError, match="sha256"):
        registry.fetch("tampered", 1, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_rollback_goes_back_champion_by_champion(registry: ModelRegistry, bundles: list[Path]) -> None:
    """Each rollback gives the alias to the champion before, until there is none; an alias set by hand counts."""
    for value in (0.1, 0.2, 0.0):
        registry.register(bundles[0], "rolled", score(value))
    registry.set_alias("rolled", "champion", 3)
    assert [registry.rollback("rolled").version for _ in range(2)] == [2, 1]
    with pytest.raises(RegistryError, match="rollback: got 'rolled', which has had 1 champions"):
        registry.rollback("rolled")
    assert registry.register(bundles[0], "rolled", score(0.15)).champion


def test_other_aliases_leave_the_champion_alone(registry: ModelRegistry, bundles: list[Path]) -> None:
    """A version can bear several aliases, and be found by each."""
    registry.register(bundles[0], "aliased", score(0.1))
    registry.register(bundles[1], "aliased", score(0.0))
    registry.set_alias("aliased", "canary", 2)
    assert registry.version("aliased", "canary").version == 2
    assert registry.version("aliased", "champion").version == 1
    registry.set_alias("aliased", "stable", 1)
    assert registry.version("aliased", 1).aliases == ("champion", "stable")


def test_a_training_run_can_hold_the_bundle(registry: ModelRegistry, bundles: list[Path], folder: Path) -> None:
    """Given a run, the files become its artifacts and the version points to it."""
    client = registry._client
    experiment = client.create_experiment("training", artifact_location=(folder / "runs").as_uri())
    run = client.create_run(experiment).info.run_id
    version = registry.register(bundles[0], "from-run", score(0.1), run_id=run)
    assert client.get_model_version("from-run", str(version.version)).run_id == run
    assert [item.path for item in client.list_artifacts(run)] == ["bundle"]


def test_spoiled_bundle_is_not_registered(registry: ModelRegistry, bundles: list[Path], tmp_path: Path) -> None:
    """A bundle that does not load leaves no version behind."""
    with pytest.raises(BundleError):
        registry.register(tmp_path, "spoiled", score(0.1))
    with pytest.raises(RegistryError, match="model: got 'spoiled', allowed are "):
        registry.versions("spoiled")


def test_bundle_without_proof_is_not_registered(registry: ModelRegistry, plain: Path) -> None:
    """A bundle without golden observations for every module is refused before anything is sent."""
    with pytest.raises(BundleError, match="no golden observations for the module 'm'"):
        registry.register(signed(plain, lambda found: found["golden"].clear()), "unproven", score(0.1))
    with pytest.raises(RegistryError, match="model: got 'unproven'"):
        registry.versions("unproven")


def test_only_what_was_tried_is_sent(registry: ModelRegistry, plain: Path) -> None:
    """Other things that lie in the folder do not come along."""
    (plain / "secret").write_text("…")
    registry.register(plain, "alone", score(0.1))
    stored = Path(str(registry._client.get_model_version("alone", "1").source).removeprefix("file://"))
    assert sorted(file.name for file in stored.iterdir()) == ["manifest.json", "policy.onnx"]


def test_unknown_names_are_answered_with_what_there_is(
    registry: ModelRegistry, bundles: list[Path], tmp_path: Path
) -> None:
    """An unknown model or version raises one line that lists the known ones."""
    registry.register(bundles[0], "known", score(0.1))
    for which in ("nobody", 7, "7"):
        with pytest.raises(RegistryError, match=f"version of 'known': got {which!r}, allowed are 1, champion$"):
            registry.fetch("known", which, tmp_path / "copy")
    with pytest.raises(RegistryError, match=r"model: got 'unknown', allowed are .*known"):
        registry.champion("unknown")
    with pytest.raises(RegistryError, match="alias: "):
        registry.set_alias("known", "no spaces please", 1)


@pytest.mark.parametrize("values", [(float("nan"), 0, 1), (0, float("-inf"), 1)])
def test_scores_must_be_finite(values: tuple[float, float, float]) -> None:
    """A score that is not a number cannot become champion."""
    with pytest.raises(RegistryError, match="finite"):
        Score(*values, "held-out")


def test_scores_of_different_evaluations_are_not_compared() -> None:
    """Beating means a higher score on the same evaluation; a tie is not enough."""
    assert beats(score(0.2), score(0.1))
    assert not beats(score(0.1), score(0.1))
    assert not beats(score(0.2, "other"), score(0.1))


def test_unreachable_database_is_one_line(folder: Path) -> None:
    """A folder that cannot be made is named in one line."""
    (folder / "file").write_text("")
    with pytest.raises(RegistryError, match="tracking_uri: ") as caught:
        ModelRegistry(f"sqlite:///{folder}/file/mlflow.db")
    assert "\n" not in str(caught.value)


def test_canary_and_shadow_are_kept(registry: ModelRegistry, bundles: list[Path]) -> None:
    """Canary, shadow and aliases are as they were set, until they are taken away; taking away twice is no mistake."""
    for bundle in bundles:
        registry.register(bundle, "besides", score(0.1))
    assert registry.serving("besides") == Serving({"champion": 1})
    registry.set_canary("besides", 2, 12.5)
    registry.set_shadow("besides", 2)
    registry.set_alias("besides", "tried", 2)
    assert registry.serving("besides") == Serving({"champion": 1, "tried": 2}, 2, 12.5, 2)
    for _ in range(2):
        registry.clear_canary("besides")
        registry.clear_shadow("besides")
    registry.delete_alias("besides", "tried")
    assert registry.serving("besides") == Serving({"champion": 1})
    assert "besides" in registry.names()


def test_canary_is_checked(registry: ModelRegistry, bundles: list[Path]) -> None:
    """A version that is not there, a share that is none, an alias that nobody has: each is named."""
    registry.register(bundles[0], "checked", score(0.1))
    for percent in (-1.0, 100.5, float("nan")):
        with pytest.raises(RegistryError, match=r"^percent: got .*, allowed is 0 to 100$"):
            registry.set_canary("checked", 1, percent)
    with pytest.raises(RegistryError, match="got 9, allowed are 1, champion"):
        registry.set_canary("checked", 9, 10)
    with pytest.raises(RegistryError, match="got 9, allowed are 1, champion"):
        registry.set_shadow("checked", 9)
    with pytest.raises(RegistryError, match=r"^alias of 'checked': got 'best', allowed are champion$"):
        registry.delete_alias("checked", "best")


def test_tag_that_is_no_version_is_named(registry: ModelRegistry, bundles: list[Path]) -> None:
    """A tag that somebody wrote by hand, and wrongly, is one line."""
    registry.register(bundles[0], "by hand", score(0.1))
    registry._client.set_registered_model_tag("by hand", "entrepot.canary", "4")
    with pytest.raises(RegistryError, match=r"^tag 'entrepot.canary' of 'by hand': got '4'"):
        registry.serving("by hand")
