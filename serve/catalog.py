"""From the registry, or folders, to what is served: bundles fetched and verified, refusals, versions kept a while.

The registry is the one source of truth: which version an alias means, canary and shadow are read from it, so that
everything is as it was after a restart. What cannot be had (the registry does not answer, a bundle is not sound) leaves
what is served as it is, and is that model's trouble alone: bundles are tried in a process with limits, and the others
do not wait for many of them. Blocking; meant for one thread at a time.
"""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.bundle import load_bundle
from policies.folder import LARGEST, one_line
from policies.trial import Tried, tried
from serve.models import Canary
from serve.references import CatalogError, ModelState, Reference
from serve.settings import ServeSettings

if TYPE_CHECKING:
    from policies.registry import ModelRegistry, Serving

log = logging.getLogger(__name__)

TRY_AGAIN = 60.0
"""When a version that was refused is tried again, as its download may have been at fault; then after twice that [s]."""
LONGEST_WAIT = 3600.0
"""However often it was refused, it is tried again after this [s]."""
PATIENCE = 5.0
"""After so long with one model the others have their turn; what it lacks still is taken up at the next look [s]."""

Files = Mapping[str, bytes]
"""A bundle's files by name."""


@dataclass
class _Refusal:
    """When to try a version again, and how long that was put off [s]."""

    again: float
    wait: float


@dataclass
class _Model:
    """What the catalog knows of a model."""

    references: list[Reference]
    current: str = ""
    loaded: dict[str, str] = field(default_factory=dict)  # hash by number
    wanted: dict[str, float] = field(default_factory=dict)  # when each was last referred to, but for pins
    pinned: OrderedDict[str, None] = field(default_factory=OrderedDict)  # the least recently asked first
    refused: dict[str, _Refusal] = field(default_factory=dict)  # by number, or by what a folder looked like
    seen: tuple[str, str] = ("", "")  # what the folder looked like at the last look, and the number of what was there


class Catalog:
    """Knows what is to be served, and has the bundles.

    Args:
        settings: The service's settings.
        on_reload: Told of each version taken up or refused: model, number, and whether it was taken up.
        clock: Seconds that only ever grow.

    Raises:
        CatalogError: If a reference is none, or two bundles have one name.
        policies.registry.RegistryError: If the registry cannot be opened.
        policies.bundle.BundleError: If a folder without a name is not a sound bundle.

    Attributes:
        states: What is to be served, by model.
        bundles: Files of all bundles in `states`, by hash.
    """

    def __init__(
        self,
        settings: ServeSettings,
        *,
        on_reload: Callable[[str, str, bool], None] = lambda model, version, taken: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._on_reload = on_reload
        self._clock = clock
        self._patience = math.inf
        self._trouble: dict[str, str] = {}
        self._models: dict[str, _Model] = {}
        self.states: dict[str, ModelState] = {}
        self.bundles: dict[str, Files] = {}
        for text in settings.models:
            reference = Reference.parse(text)
            name = reference.name or tried(reference.folder or "").name
            model = self._models.setdefault(name, _Model([]))
            model.references.append(reference)
            if len(model.references) > 1 and any(each.folder for each in model.references):
                raise CatalogError(f"models: got two bundles of the name {name!r}, allowed is one; write NAME=FOLDER")
        self._registry: ModelRegistry | None = None
        if any(reference.folder is None for model in self._models.values() for reference in model.references):
            from policies.registry import ModelRegistry

            self._registry = ModelRegistry(settings.tracking_uri)

    def refresh(self) -> bool:
        """Looks whether anything has changed, and fetches what is new.

        Returns:
            Whether `states` has changed.
        """
        changed = [self._look(name) for name in self._models]
        return any(changed)

    def start(self) -> None:
        """The first look: here what cannot be had is an error, not a line in the log.

        Raises:
            CatalogError: If a model has no version that can be served.
        """
        self.refresh()
        self._patience = PATIENCE
        for name in self._models:
            if name not in self.states:
                raise CatalogError(self._trouble.get(name, f"model {name!r}: cannot be served"))

    def pin(self, name: str, which: str) -> bool:
        """Loads a version because a request asks for it by number, or by an alias that is new.

        Args:
            name: Name of a model that is served.
            which: Number or alias.

        Returns:
            Whether it can be asked now.
        """
        model = self._models.get(name)
        if model is None or self._registry is None or model.references[0].folder is not None:
            return False
        if not which.isdecimal():
            self._look(name)
            return which in self.states[name].aliases if name in self.states else False
        if len(which) > 18 or str(int(which)) != which:
            return False
        # What does not exist is not refused: it may be registered, and promoted, in a moment.
        if which not in model.loaded and not self._exists(name, which):
            return False
        if not self._have(name, model, which):
            return False
        model.pinned[which] = None
        model.pinned.move_to_end(which)
        while len(model.pinned) > self._settings.max_pinned:
            model.pinned.popitem(last=False)
        self._look(name)
        return name in self.states and which in self.states[name].versions

    # -- one model -----------------------------------------------------------------------------------------------------

    def _look(self, name: str) -> bool:
        """Brings a model up to date; whether its state has changed."""
        model = self._models[name]
        try:
            if (folder := model.references[0].folder) is not None:
                state = self._from_folder(name, model, folder)
            else:
                assert self._registry is not None
                state = self._from_registry(name, model, self._registry.serving(name))
        except Exception as error:  # whatever it is, the other models are followed
            self._tell(name, one_line(error))
            return False
        if state == self.states.get(name):
            return False
        self.states[name] = state
        kept = {digest for each in self.states.values() for digest in each.versions.values()}
        self.bundles = {digest: files for digest, files in self.bundles.items() if digest in kept}
        return True

    def _from_folder(self, name: str, model: _Model, folder: Path) -> ModelState:
        looks = _looks(folder)
        if model.seen[0] != looks:  # else nobody has written there since
            bundle = self._take(name, model, looks, "", lambda: tried(folder))
            if bundle is None and not model.current:
                raise CatalogError(self._trouble[f"{name} {looks}"])
            if bundle is not None:
                number = bundle.sha256[:12]
                self._load(name, model, number, bundle)
                self._make_current(name, model, number)
                model.seen = (looks, number)
        self._keep(name, model, {model.current, looks})
        self._calm(name)
        return ModelState(name, "", model.current, dict(model.loaded))

    def _from_registry(self, name: str, model: _Model, serving: Serving) -> ModelState:
        first = model.references[0].which
        aliases = {alias: str(number) for alias, number in serving.aliases.items()}
        current = aliases.get(first, "") if not first.isdecimal() else first
        trouble = ""
        if not current:
            allowed = ", ".join(sorted(aliases)) or "none: it has no aliases"
            trouble = f"model {name!r}: got alias {first!r}, allowed are {allowed}"
        wanted = {current} if current else set()
        wanted |= set(aliases.values()) | {str(each) for each in (serving.canary, serving.shadow) if each is not None}
        wanted |= {aliases.get(each.which, each.which) for each in model.references[1:]} & {
            *aliases.values(),
            *(each.which for each in model.references if each.which.isdecimal()),
        }
        end = self._clock() + self._patience
        for number in sorted(wanted | set(model.pinned), key=lambda number: (number != current, number)):
            if self._clock() <= end:
                self._have(name, model, number)
        if current in model.loaded:
            self._make_current(name, model, current)
        elif not model.current:
            raise CatalogError(trouble or self._trouble[f"{name} {current}"])
        self._keep(name, model, wanted | {model.current})
        if trouble:
            self._tell(name, f"{trouble}; version {model.current} goes on")
        else:
            self._calm(name)
        canary = None
        if serving.canary is not None and str(serving.canary) in model.loaded:
            canary = Canary(str(serving.canary), serving.percent)
        shadow = str(serving.shadow) if serving.shadow is not None and str(serving.shadow) in model.loaded else None
        usable = {alias: number for alias, number in aliases.items() if number in model.loaded}
        if first and not first.isdecimal():
            usable[first] = model.current  # the old one stays if the new one is refused
        return ModelState(name, first, model.current, dict(model.loaded), usable, canary, shadow)

    def _exists(self, name: str, number: str) -> bool:
        """Whether the registry has a version."""
        from policies.registry import RegistryError

        assert self._registry is not None
        try:
            self._registry.version(name, int(number))
        except RegistryError:
            return False
        return True

    def _have(self, name: str, model: _Model, number: str) -> bool:
        """Whether a version of the registry is loaded, which it is after this unless it is refused."""
        if number in model.loaded:
            return True

        def fetched() -> Tried:
            assert self._registry is not None
            with tempfile.TemporaryDirectory(prefix="entrepot-bundle-") as aside:
                return tried(self._registry.fetch(name, int(number), Path(aside) / "bundle"))

        bundle = self._take(name, model, number, number, fetched)
        if bundle is not None:
            self._load(name, model, number, bundle)
        return bundle is not None

    def _take(self, name: str, model: _Model, key: str, number: str, get: Callable[[], Tried]) -> Tried | None:
        """A bundle, unless it is refused or has been lately.

        Args:
            name: Name of the model.
            model: What is known of it.
            key: What its refusal is remembered by.
            number: Number of the version; "" for what is in a folder, whose number is not known before.
            get: Gets the bundle, tried.
        """
        now = self._clock()
        refusal = model.refused.get(key)
        if refusal is not None and refusal.again > now:
            return None
        try:
            bundle = get()
        except Exception as error:  # nothing that is in a bundle may keep others from being served
            wait = TRY_AGAIN if refusal is None else min(2 * refusal.wait, LONGEST_WAIT)
            model.refused[key] = _Refusal(self._clock() + wait, wait)
            what = f"version {number}" if number else "in its folder"
            self._tell(f"{name} {key}", f"{name!r} {what} is refused: {one_line(error)}")
            self._on_reload(name, number, False)
            return None
        model.refused.pop(key, None)
        self._calm(f"{name} {key}")
        return bundle

    def _load(self, name: str, model: _Model, number: str, bundle: Tried) -> None:
        """Has a sound bundle as a version."""
        if number not in model.loaded:
            self._on_reload(name, number, True)
            log.info("%r version %s is loaded and verified", name, number)
        model.loaded[number] = bundle.sha256
        self.bundles[bundle.sha256] = bundle.files

    def _make_current(self, name: str, model: _Model, number: str) -> None:
        if number != model.current:
            log.info("%r is served in version %s%s", name, number, f" after {model.current}" if model.current else "")
            model.current = number

    def _keep(self, name: str, model: _Model, wanted: set[str]) -> None:
        """Forgets versions that nothing has referred to for a while; requests may still be on their way to them.

        Versions that only a pin kept go at once with the pin: else requests could have any number of them loaded.
        """
        now = self._clock()
        for number in list(model.loaded):
            if number in wanted:
                model.wanted[number] = now
            elif number not in model.pinned:
                last = model.wanted.get(number)
                if last is None or now - last > self._settings.keep_seconds:
                    del model.loaded[number]
                    model.wanted.pop(number, None)
        forgotten = [key for key, refusal in model.refused.items() if key not in wanted and refusal.again <= now]
        for number in forgotten:
            del model.refused[number]
            self._trouble.pop(f"{name} {number}", None)

    def _tell(self, key: str, trouble: str) -> None:
        """Logs trouble once, not at every look."""
        if self._trouble.get(key) != trouble:
            log.error("%s", trouble)
        self._trouble[key] = trouble

    def _calm(self, key: str) -> None:
        if self._trouble.pop(key, None) is not None:
            log.info("%s is well again", key)


def _looks(folder: Path) -> str:
    """What can be seen of a bundle's files from outside; it changes as soon as one is written."""
    found = []
    for name in LARGEST:
        try:
            status = (folder / name).stat()
            found.append(f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}")
        except OSError as error:
            found.append(str(error.errno))
    return " ".join(found)


def unpacked(files: Files, **options: Any) -> Any:
    """Loads a bundle from its files, with all checks.

    Raises:
        BundleError: If it is not sound.
    """
    with tempfile.TemporaryDirectory(prefix="entrepot-bundle-") as aside:
        for name, content in files.items():
            (Path(aside) / Path(name).name).write_bytes(content)
        return load_bundle(aside, verify=True, **options)
