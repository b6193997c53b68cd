"""Centres as YAML files."""

from __future__ import annotations

from pathlib import Path

from envs.resource_allocation.workforce.centre import Centre, CentreError
from envs.shelf import Shelf

FOLDER = Path(__file__).parent / "centres"
CENTRES = Shelf("centre", Centre, FOLDER, CentreError)
centre_names, load_centre = CENTRES.names, CENTRES.load
