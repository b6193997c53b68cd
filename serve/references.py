"""What is to be served: as it is asked for at the start, and as it is told to the replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serve.models import Canary


class CatalogError(ValueError):
    """What is to be served cannot be; the message is one line."""


@dataclass(frozen=True)
class Reference:
    """A model to serve.

    Attributes:
        name: Its name; "" for a bundle's own.
        which: Alias or number of the version, in the registry.
        folder: The bundle's folder; None: it is in the registry.
    """

    name: str
    which: str = ""
    folder: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Reads `MODEL@ALIAS`, `MODEL@VERSION`, a folder, or `NAME=FOLDER`.

        Raises:
            CatalogError: If it is none of these.
        """
        name, equals, folder = text.partition("=")
        if not equals:
            name, folder = "", text
        if folder and Path(folder).is_dir():
            return cls(name, folder=Path(folder).absolute())
        name, at, which = text.partition("@")
        if equals or not at or not name or not which or "/" in name:
            raise CatalogError(
                f"models: got {text!r}, allowed are MODEL@ALIAS, MODEL@VERSION, the folder of a bundle, and NAME=FOLDER"
            )
        return cls(name, which)


@dataclass(frozen=True)
class ModelState:
    """What is to be served of one model: plain values, which travel between processes.

    Attributes:
        name: Its name.
        reference: How `current` was found: alias, number, or "" for a folder.
        current: Number of the version that answers requests which pin none.
        versions: Hash of the bundle, by number.
        aliases: Numbers by alias.
        canary: The canary, if there is one.
        shadow: Number of the shadow, if there is one.
    """

    name: str
    reference: str
    current: str
    versions: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)
    canary: Canary | None = None
    shadow: str | None = None
