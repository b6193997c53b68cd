"""Grids as YAML files."""

from __future__ import annotations

from pathlib import Path

from envs.resource_allocation.energy.grid import Grid, GridError
from envs.shelf import Shelf

FOLDER = Path(__file__).parent / "grids"
GRIDS = Shelf("grid", Grid, FOLDER, GridError)
grid_names, load_grid = GRIDS.names, GRIDS.load
