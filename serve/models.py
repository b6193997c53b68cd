"""The models that can be asked at one moment: an immutable snapshot, swapped whole when something changes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from zlib import crc32

from policies.bundle import BundlePolicy
from policies.manifest import Manifest
from serve.errors import NotFound


@dataclass(frozen=True, eq=False)
class ServedVersion:
    """A loaded bundle under the name and number that requests know it by.

    Attributes:
        name: Name of the model.
        version: Number of the version; bundles in folders have their hash's first twelve digits.
        policy: The loaded bundle.
        aliases: Its aliases in the registry, when the snapshot was taken.
    """

    name: str
    version: str
    policy: BundlePolicy
    aliases: tuple[str, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """What the bundle is."""
        return self.policy.manifest

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """Ids of its modules."""
        return tuple(self.policy.modules)


@dataclass(frozen=True)
class Canary:
    """A version that gets a share of the requests which pin none.

    Attributes:
        version: Number of the version.
        percent: The share, 0 to 100.
    """

    version: str
    percent: float


@dataclass(frozen=True, eq=False)
class Choice:
    """Which version answers a request.

    Attributes:
        version: The one whose answer is sent.
        shadow: One that is asked the same afterwards, for comparison.
        canary: Whether the version is the canary.
    """

    version: ServedVersion
    shadow: ServedVersion | None = None
    canary: bool = False


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model: all loaded versions, and which of them answers.

    Attributes:
        name: Its name.
        current: Number of the version that answers requests which pin none.
        reference: Alias or number that `current` was found by; empty for a bundle in a folder.
        versions: The loaded versions by number.
        aliases: Numbers by alias.
        canary: The canary, if there is one.
        shadow: Number of the shadow, if there is one.
    """

    name: str
    current: str
    reference: str
    versions: Mapping[str, ServedVersion]
    aliases: Mapping[str, str] = field(default_factory=dict)
    canary: Canary | None = None
    shadow: str | None = None

    @property
    def version(self) -> ServedVersion:
        """The version that answers requests which pin none."""
        return self.versions[self.current]

    def references(self) -> list[tuple[str, str]]:
        """How versions are referred to, and their numbers: the current one, aliases, canary, shadow, the loaded ones.

        Each loaded version comes at least once.
        """
        found = [("current", self.current), *sorted(self.aliases.items())]
        if self.canary is not None:
            found.append(("canary", self.canary.version))
        if self.shadow is not None:
            found.append(("shadow", self.shadow))
        found = [(reference, number) for reference, number in found if number in self.versions]
        named = {number for _, number in found}
        return found + [("loaded", number) for number in self.versions if number not in named]

    @cached_property
    def _plain(self) -> Choice:
        """The choice of nearly every request, made once."""
        return Choice(self.versions[self.current], self._other(self.shadow))

    @cached_property
    def _canary(self) -> Choice | None:
        version = None if self.canary is None else self._other(self.canary.version)
        return None if version is None else Choice(version, canary=True)

    @cached_property
    def _pinned(self) -> Mapping[str, Choice]:
        """Choices by number and by alias."""
        choices = {number: Choice(version) for number, version in self.versions.items()}
        named = {alias: choices[number] for alias, number in self.aliases.items() if number in choices}
        return MappingProxyType(named | choices)

    def choose(self, which: str | None, key: str | None) -> Choice:
        """The version that answers.

        Args:
            which: Number or alias that the request pins, or None.
            key: What requests of one session have in common: they all get the canary, or none does.

        Raises:
            NotFound: If there is no such version.
        """
        if which is not None:
            choice = self._pinned.get(which)
            if choice is None:
                raise VersionNotFound(self, which)
            return choice
        if self.canary is not None and self._canary is not None:
            drawn = random.random() if key is None else crc32(f"{self.name}/{key}".encode()) / 2**32
            if drawn * 100.0 < self.canary.percent:
                return self._canary
        return self._plain

    def _other(self, number: str | None) -> ServedVersion | None:
        """A loaded version that is not the current one."""
        return None if number is None or number == self.current else self.versions.get(number)


class VersionNotFound(NotFound):
    """The model is served, but not in this version; the registry may have it still.

    Args:
        model: The model.
        which: Number or alias that was asked for.
    """

    def __init__(self, model: ServedModel, which: str) -> None:
        allowed = ", ".join(sorted({*model.aliases, *model.versions}))
        super().__init__(f"version of {model.name!r}: got {which!r}, allowed are {allowed}")
        self.name = model.name
        self.which = which


class Models:
    """All models at one moment. Never changed: a new one takes its place.

    Args:
        models: The models by name.
        number: Snapshots are numbered in the order they were taken.
    """

    def __init__(self, models: Mapping[str, ServedModel] | None = None, number: int = 0) -> None:
        self.models: Mapping[str, ServedModel] = MappingProxyType(dict(models or {}))
        self.number = number

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self.models.values())

    def __len__(self) -> int:
        return len(self.models)

    def model(self, name: str) -> ServedModel:
        """A model by name.

        Raises:
            NotFound: If there is none.
        """
        model = self.models.get(name)
        if model is None:
            raise NotFound(f"model: got {name!r}, allowed are {', '.join(sorted(self.models)) or 'none yet'}")
        return model

    def choose(self, name: str, which: str | None = None, key: str | None = None) -> Choice:
        """The version that answers a request, and the shadow that is asked afterwards.

        Args:
            name: Name of the model.
            which: Number or alias that the request pins; None for whatever is served.
            key: Session of the request, if it has one.

        Raises:
            NotFound: If there is no such model or version.
        """
        model = self.models.get(name)
        return (model or self.model(name)).choose(which, key)
