"""The course of training, one JSON line an iteration, for curves in reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tune.figures import ITERATION, pick
from tune.files import jsonable

NAME = "history.jsonl"


def append(folder: Path, result: Mapping[str, Any]) -> None:
    """Adds a result's flat figures to a folder's history.

    A restored run repeats the iterations after its checkpoint; the later line then counts (see `read`).
    """
    line = json.dumps(jsonable(pick(result)))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """A folder's history in order, one row an iteration: of those repeated, the last; half a line is left out."""
    rows: dict[int, dict[str, Any]] = {}
    try:
        lines = (folder / NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # the run was killed while it wrote
            continue
        rows[int(row[ITERATION])] = row
    return [rows[iteration] for iteration in sorted(rows)]
