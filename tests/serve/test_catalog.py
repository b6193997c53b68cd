"""The catalog: the registry decides, sound bundles only, and what goes wrong leaves things as they were."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policies.registry import ModelRegistry, Serving
from serve.catalog import Catalog
from serve.loader import Loader
from serve.models import Canary, Models
from serve.references import CatalogError, Reference
from serve.settings import ServeSettings
from tests.policies.forging import endless, regraphed, signed


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """The time set."""
        return self.now


class Registry:
    """Stands in for MLflow's registry, which takes seconds: bundles by number, and how they are to be served."""

    def __init__(self, folder: Path, make_bundle: Callable[..., Path], count: int = 4) -> None:
        self.bundles = {number: make_bundle(folder / f"v{number}", seed=number) for number in range(1, count + 1)}
        self.now = Serving({"champion": 1})
        self.fetched: list[int] = []
        self.broken: Exception | None = None

    def serving(self, name: str) -> Serving:
        """As the real one."""
        if self.broken is not None:
            raise self.broken
        return self.now

    def version(self, name: str, which: int) -> int:
        """As the real one, as far as it matters whether there is a version."""
        from policies.registry import RegistryError

        if which not in self.bundles:
            raise RegistryError(f"version of {name!r}: got {which!r}")
        return which

    def fetch(self, name: str, which: int, destination: Path) -> Path:
        """As the real one."""
        self.version(name, which)
        self.fetched.append(which)
        shutil.copytree(self.bundles[which], destination)
        return destination


@pytest.fixture
def registry(tmp_path: Path, make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Four versions of a model; 1 is the champion."""
    found = Registry(tmp_path, make_bundle)
    monkeypatch.setattr("policies.registry.ModelRegistry", lambda uri: found)
    return found


def catalog_of(*models: str, **options: Any) -> Catalog:
    settings = {name: options.pop(name) for name in ("keep_seconds", "max_pinned") if name in options}
    catalog = Catalog(ServeSettings(models=models, **settings), **options)
    catalog.start()
    return catalog


@pytest.mark.parametrize("text", ["trading", "@champion", "trading@", "a/b@1", "name=nowhere", ""])
def test_wrong_references_are_named(text: str) -> None:
    """What is no reference is named, with what is."""
    with pytest.raises(CatalogError, match=r"^models: got .*, allowed are MODEL@ALIAS"):
        Reference.parse(text)


def test_alias_moves(registry: Registry) -> None:
    """When the alias moves, the new version is fetched once and becomes the current one."""
    catalog = catalog_of("m@champion")
    assert catalog.states["m"].current == "1"
    assert not catalog.refresh()
    registry.now = Serving({"champion": 2})
    assert catalog.refresh()
    assert catalog.states["m"].current == "2"
    registry.now = Serving({"champion": 1})
    catalog.refresh()
    assert catalog.states["m"].current == "1"
    assert registry.fetched == [1, 2]


def test_old_version_stays_for_a_while(registry: Registry) -> None:
    """A version that nothing refers to any more stays loaded while requests may be on their way to it."""
    clock = Clock()
    catalog = catalog_of("m@champion", clock=clock, keep_seconds=60)
    registry.now = Serving({"champion": 2})
    catalog.refresh()
    clock.now = 50
    catalog.refresh()
    assert set(catalog.states["m"].versions) == {"1", "2"}
    clock.now = 61
    assert catalog.refresh()
    assert set(catalog.states["m"].versions) == {"2"}
    assert len(catalog.bundles) == 1


def test_canary_shadow_and_aliases_are_loaded(registry: Registry) -> None:
    """Whatever the registry refers to is loaded and passed on."""
    registry.now = Serving({"champion": 1, "old": 2}, canary=3, percent=5.0, shadow=4)
    state = catalog_of("m@champion").states["m"]
    assert set(state.versions) == {"1", "2", "3", "4"}
    assert state.aliases == {"champion": "1", "old": "2"}
    assert (state.canary, state.shadow) == (Canary("3", 5.0), "4")


def spoil(bundle: Path) -> None:
    """Makes the golden observations lie, and signs the manifest anew: the hashes are right, the network is not."""
    from policies.manifest import Manifest

    plain = json.loads((bundle / "manifest.json").read_text())
    plain["golden"]["shared"]["action_dist_inputs"][0][0] += 0.01
    manifest = Manifest.model_validate(plain)
    manifest = manifest.model_copy(update={"sha256": manifest.digest()})
    (bundle / "manifest.json").write_text(manifest.model_dump_json())


def test_unsound_version_is_refused(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """A bundle that does not reproduce its golden observations is refused once, aloud, and the old one stays."""
    clock = Clock()
    reloads: list[tuple[str, str, bool]] = []
    catalog = catalog_of("m@champion", clock=clock, on_reload=lambda *what: reloads.append(what))
    spoil(registry.bundles[2])
    registry.now = Serving({"champion": 2})
    for _ in range(3):
        catalog.refresh()
    state = catalog.states["m"]
    assert state.current == "1"
    assert state.aliases == {"champion": "1"}
    assert reloads == [("m", "1", True), ("m", "2", False)]
    assert registry.fetched == [1, 2]
    assert len([record for record in caplog.records if "golden" in record.message]) == 1
    clock.now = 61
    catalog.refresh()
    assert registry.fetched == [1, 2, 2]


def test_unsound_canary_is_not_one(registry: Registry) -> None:
    """A canary or shadow that is refused gets no requests."""
    spoil(registry.bundles[3])
    registry.now = Serving({"champion": 1}, canary=3, percent=50.0, shadow=3)
    state = catalog_of("m@champion").states["m"]
    assert (state.canary, state.shadow) == (None, None)


def _nameless(bundle: Path) -> None:
    signed(bundle, lambda found: found["files"].update({"a\0b": found["files"]["policy.onnx"]}))


def _endless(bundle: Path) -> None:
    regraphed(bundle, lambda model: endless(model, "shared.observations"))


def _wide(bundle: Path) -> None:
    signed(bundle, lambda found: found["groups"]["traders"]["layout"].update(own=[f"f{n}" for n in range(5000)]))


def _unproven(bundle: Path) -> None:
    signed(bundle, lambda found: found["golden"].clear())


def _nobodys(bundle: Path) -> None:
    (bundle / "policy.onnx").unlink()
    os.mkfifo(bundle / "policy.onnx")


@pytest.mark.parametrize("change", [_nameless, _endless, _wide, _unproven, _nobodys])
def test_one_models_error_is_not_anothers(
    registry: Registry,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[Path], None],
) -> None:
    """Whatever is in a bundle, its champion stays, what is wrong is said, and the models after it are followed."""
    folder = make_bundle(tmp_path / "other")
    catalog = catalog_of("m@champion", f"other={folder}")
    before = catalog.states["other"].current
    change(registry.bundles[2])
    registry.fetch = lambda name, which, destination: registry.bundles[which]  # type: ignore[method-assign]
    registry.now = Serving({"champion": 2})
    make_bundle(folder, seed=3)
    assert catalog.refresh()
    assert catalog.states["m"].current == "1"
    assert catalog.states["other"].current != before
    assert any("'m' version 2 is refused: bundle: " in record.message for record in caplog.records)


def test_any_error_is_one_models_own(registry: Registry, make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """An error that nobody thought of, in the registry or in a bundle, does not stop the others either."""
    folder = make_bundle(tmp_path / "other")
    catalog = catalog_of("m@champion", f"other={folder}")
    registry.broken = ZeroDivisionError("nobody thought of it")
    make_bundle(folder, seed=3)
    assert catalog.refresh()

    def fetch(name: str, which: int, destination: Path) -> Path:
        raise RecursionError("nor of this")

    registry.broken, registry.fetch = None, fetch  # type: ignore[method-assign]
    registry.now = Serving({"champion": 2})
    make_bundle(folder, seed=4)
    assert catalog.refresh()
    assert catalog.states["m"].current == "1"


def test_what_is_refused_again_is_tried_less_often(registry: Registry) -> None:
    """Each refusal doubles the time until the version is tried again: others are not to wait for it for ever."""
    clock = Clock()
    catalog = catalog_of("m@champion", clock=clock)
    spoil(registry.bundles[2])
    registry.now = Serving({"champion": 2})
    for now, tries in ((0, 1), (59, 1), (61, 2), (121, 2), (182, 3), (360, 3)):
        clock.now = now
        catalog.refresh()
        assert registry.fetched.count(2) == tries


def test_others_do_not_wait_for_many_versions(registry: Registry) -> None:
    """A look that has taken long leaves the rest of the model's versions to the next one; the served one goes first."""
    clock = Clock()
    catalog = catalog_of("m@champion", clock=clock)
    fetch = registry.fetch

    def slow(name: str, which: int, destination: Path) -> Path:
        clock.now += 10
        return fetch(name, which, destination)

    registry.fetch = slow  # type: ignore[method-assign]
    registry.now = Serving({"champion": 4, "a": 2, "b": 3})
    for loaded in ({"1", "4"}, {"1", "4", "2"}, {"1", "4", "2", "3"}):
        catalog.refresh()
        assert catalog.states["m"].current == "4"
        assert set(catalog.states["m"].versions) == loaded


def test_folder_is_not_read_at_every_look(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """What nobody has written to is not read again: a large bundle would be, every other second."""
    folder = make_bundle(tmp_path / "bundle", seed=1)
    catalog = catalog_of(f"mine={folder}")
    read: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serve.catalog.tried", lambda path: read.append(str(path)))
        for _ in range(3):
            assert not catalog.refresh()
    assert not read


def test_silent_registry_changes_nothing(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """While the registry does not answer all stays as it is; it is said once."""
    from policies.registry import RegistryError

    catalog = catalog_of("m@champion")
    before = catalog.states["m"]
    registry.broken = RegistryError("registry: connection refused")
    for _ in range(3):
        assert not catalog.refresh()
    assert catalog.states["m"] is before
    assert sum("connection refused" in record.message for record in caplog.records) == 1
    registry.broken, registry.now = None, Serving({"champion": 2})
    assert catalog.refresh()


def test_alias_that_is_taken_away(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    """Without the alias the version that had it goes on."""
    catalog = catalog_of("m@champion")
    registry.now = Serving({})
    catalog.refresh()
    assert catalog.states["m"].current == "1"
    assert any("version 1 goes on" in record.message for record in caplog.records)


def test_nothing_to_begin_with_is_an_error(registry: Registry) -> None:
    """At the start there is no old version: one line says what is wrong."""
    with pytest.raises(CatalogError, match=r"got alias 'best', allowed are champion$"):
        catalog_of("m@best")
    spoil(registry.bundles[1])
    with pytest.raises(CatalogError, match=r"'m' version 1 is refused: .*golden"):
        catalog_of("m@champion")


def test_pins(registry: Registry) -> None:
    """Numbers that requests pin are loaded, the least recent go beyond the bound; what does not exist does not."""
    clock = Clock()
    catalog = catalog_of("m@champion", clock=clock, keep_seconds=0, max_pinned=2)
    assert [catalog.pin("m", number) for number in ("2", "3", "4")] == [True, True, True]
    clock.now = 1
    catalog.refresh()
    assert set(catalog.states["m"].versions) == {"1", "3", "4"}
    for wrong in ("99", "03", "best", "9" * 30, "²"):
        assert not catalog.pin("m", wrong)
    assert not catalog.pin("other", "1")


def test_asking_too_early_does_not_hold_up_a_version(registry: Registry) -> None:
    """A version that was asked for before it was registered is taken up at once when it is promoted."""
    reloads: list[tuple[str, str, bool]] = []
    catalog = catalog_of("m@champion", clock=Clock(), on_reload=lambda *what: reloads.append(what))
    late = registry.bundles.pop(2)
    assert not catalog.pin("m", "2")
    assert reloads == [("m", "1", True)]
    registry.bundles[2] = late
    registry.now = Serving({"champion": 2})
    catalog.refresh()
    assert catalog.states["m"].current == "2"


def test_refusals_are_forgotten(registry: Registry) -> None:
    """What was refused and is no longer wanted leaves nothing behind once it may be tried again."""
    clock = Clock()
    catalog = catalog_of("m@champion", clock=clock)
    spoil(registry.bundles[2])
    assert not catalog.pin("m", "2")
    assert catalog._trouble
    clock.now = 61
    catalog.refresh()
    assert not catalog._trouble
    assert not catalog._models["m"].refused


def test_pins_that_are_pushed_out_go_at_once(registry: Registry) -> None:
    """However long versions are kept that were served, those that were only pinned are never more than the bound."""
    catalog = catalog_of("m@champion", clock=Clock(), keep_seconds=1000, max_pinned=1)
    registry.now = Serving({"champion": 2})
    for number in ("3", "4"):
        assert catalog.pin("m", number)
    assert set(catalog.states["m"].versions) == {"1", "2", "4"}
    assert not catalog.pin("m", "99")
    assert "4" in catalog.states["m"].versions


def test_several_references_to_a_model(registry: Registry) -> None:
    """The first is served, the others are loaded from the beginning."""
    state = catalog_of("m@champion", "m@3").states["m"]
    assert (state.current, set(state.versions)) == ("1", {"1", "3"})


def test_folder_is_followed(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """A bundle that is written anew in its folder is taken up; its version is the beginning of its hash."""
    folder = make_bundle(tmp_path / "bundle", seed=1)
    catalog = catalog_of(f"mine={folder}")
    first = catalog.states["mine"].current
    assert len(first) == 12
    make_bundle(folder, seed=2)
    assert catalog.refresh()
    assert catalog.states["mine"].current != first
    assert first in catalog.states["mine"].versions
    (folder / "policy.onnx").write_bytes(b"nonsense")
    (folder / "manifest.json").write_text("{")
    assert not catalog.refresh()


def test_two_folders_of_one_name_are_refused(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Two bundles cannot have one name; the sentence says how to give them two."""
    one, other = make_bundle(tmp_path / "one"), make_bundle(tmp_path / "other")
    with pytest.raises(CatalogError, match="write NAME=FOLDER"):
        catalog_of(str(one), str(other))
    assert set(catalog_of(f"a={one}", f"b={other}").states) == {"a", "b"}


def test_loader_keeps_what_it_has(registry: Registry) -> None:
    """From snapshot to snapshot only new bundles are fetched, and versions that stay are the same objects."""
    catalog = catalog_of("m@champion")
    fetched: list[str] = []

    async def fetch(digest: str) -> Any:
        fetched.append(digest)
        return catalog.bundles[digest]

    loader = Loader(fetch)

    async def run() -> None:
        one = await loader.models(1, catalog.states.values(), Models())
        registry.now = Serving({"champion": 1}, canary=2, percent=50.0)
        catalog.refresh()
        two = await loader.models(2, catalog.states.values(), one)
        assert len(fetched) == 2
        assert two.model("m").versions["1"] is one.model("m").versions["1"]
        assert {two.choose("m").version.version for _ in range(100)} == {"1", "2"}

    asyncio.run(run())


def test_loader_tries_again(registry: Registry) -> None:
    """A bundle that could not be loaded, for the disk was full, is missing until a later try loads it."""
    catalog = catalog_of("m@champion")
    full = True

    async def fetch(digest: str) -> Any:
        if full:
            raise OSError("no space left on device")
        return catalog.bundles[digest]

    async def run() -> None:
        nonlocal full
        loader = Loader(fetch)
        none = await loader.models(1, catalog.states.values(), Models())
        assert (len(none), list(loader.missing)) == (0, list(catalog.bundles))
        full = False
        assert len(await loader.models(1, catalog.states.values(), none)) == 1
        assert not loader.missing

    asyncio.run(run())


def test_loader_keeps_the_old_where_the_new_does_not_load(registry: Registry) -> None:
    """A replica that cannot load the new version goes on with the one that it has."""
    catalog = catalog_of("m@champion")

    async def fetch(digest: str) -> Any:
        files = dict(catalog.bundles[digest])
        if catalog.states["m"].current == "2":
            files["policy.onnx"] = b"cut off"
        return files

    loader = Loader(fetch)

    async def run() -> None:
        one = await loader.models(1, catalog.states.values(), Models())
        registry.now = Serving({"champion": 2})
        catalog.refresh()
        two = await loader.models(2, catalog.states.values(), one)
        assert two.choose("m").version.version == "1"
        assert two.choose("m", "champion").version.version == "1"

    asyncio.run(run())


def test_from_the_real_registry(small_registry: ModelRegistry) -> None:
    """With MLflow: alias, canary and shadow are as the registry has them, and rollback goes back."""
    name = "small"
    before = small_registry.champion(name)
    assert before is not None
    small_registry.set_canary(name, 2, 12.5)
    small_registry.set_shadow(name, 3)
    catalog = Catalog(ServeSettings(models=(f"{name}@champion",), tracking_uri=small_registry.tracking_uri))
    catalog.start()
    state = catalog.states[name]
    assert (state.current, state.canary, state.shadow) == (str(before.version), Canary("2", 12.5), "3")
    small_registry.set_alias(name, "champion", 4)
    assert catalog.refresh()
    assert catalog.states[name].current == "4"
    small_registry.rollback(name)
    small_registry.clear_canary(name)
    small_registry.clear_shadow(name)
    assert catalog.refresh()
    state = catalog.states[name]
    assert (state.current, state.canary, state.shadow) == (str(before.version), None, None)
