"""Networks, clusters and their like as YAML files: those that come with Entrepot, by name, and one's own, by path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from envs.yaml_files import FileError, fault_line, read_yaml

Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True)
class Shelf(Generic[Kind]):
    """Things of one kind.

    Attributes:
        what: What one is called.
        model: Its type.
        folder: Where those lie that come with Entrepot.
        error: What is raised where one is not as it should be.
        prepare: Called with what a file holds and the file's folder, before it is checked.
    """

    what: str
    model: type[Kind]
    folder: Path
    error: type[ValueError]
    prepare: Callable[[Any, Path], None] | None = None

    def names(self) -> list[str]:
        """Names of those that come with Entrepot."""
        return sorted(path.stem for path in self.folder.glob("*.yaml"))

    def load(self, given: str | Path | Kind | Mapping[str, Any]) -> Kind:
        """One by its name, from a file, or from plain values.

        Raises:
            ValueError: Of the shelf's own type, if there is none, it cannot be read, or it does not hang together; a
                line for each fault, with file, key and what is allowed.
        """
        if isinstance(given, self.model):
            return given
        if isinstance(given, Mapping):
            return self._parsed(given, self.what)
        path = Path(str(given))
        if path.suffix not in (".yaml", ".yml"):
            path = self.folder / f"{given}.yaml"
            if not path.is_file():
                allowed = ", ".join(self.names())
                raise self.error(f"{self.what}: got {str(given)!r}, allowed are {allowed}, or the path of a YAML file")
        try:
            data = read_yaml(path)
        except FileError as error:
            raise self.error(str(error)) from error
        if not isinstance(data, Mapping):
            keys = ", ".join(self.model.model_fields)
            raise self.error(f"{path}: got {type(data).__name__}, allowed is a mapping with {keys}")
        if self.prepare is not None:
            self.prepare(data, path.parent)
        return self._parsed(data, str(path))

    def _parsed(self, data: Mapping[str, Any], where: str) -> Kind:
        try:
            return self.model.model_validate(dict(data))
        except ValidationError as error:
            faults = (fault_line({**each}) for each in error.errors(include_url=False))
            raise self.error("\n".join(f"{where}: {fault}" for fault in faults)) from None
