"""YAML files that people write: read, and what is wrong with them said in one line a fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, ten times as fast, where PyYAML was built with it."""


class FileError(ValueError):
    """A file is missing, malformed, or holds a key or value that is not allowed."""


def read_yaml(path: Path) -> Any:
    """What a file holds.

    Raises:
        FileError: If it cannot be read, or is no YAML; names the file, and the place.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), LOADER)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise FileError(f"{path}: cannot be read ({reason})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise FileError(f"{path}: {where}{getattr(error, 'problem', None) or 'not valid YAML'}") from error


def fault_line(fault: Mapping[str, Any], allowed: Sequence[str] = ()) -> str:
    """One of pydantic's faults: which key, what was given, what is allowed.

    Args:
        fault: As `ValidationError.errors` has it.
        allowed: Keys that are allowed where an unknown one stands.
    """
    key = ".".join(str(part) for part in fault["loc"])
    message: str = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not key:
        return message
    if fault["type"] == "missing":
        return f"{key}: missing"
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key" + (f", allowed are {', '.join(allowed)}" if allowed else "")
    if isinstance(fault["input"], (str, int, float, bool, type(None))):
        return f"{key}: got {fault['input']!r}, {message}"
    return f"{key}: {message}"
