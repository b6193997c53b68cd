"""How much a bundle may be: whoever can write the registry can write anything into one.

They leave room for hundreds of agents and entities and for thousands of choices, and are checked before anything is
built. What a bundle costs beyond them (a small graph can ask for much memory) is found out by `policies.trial`.
"""

from __future__ import annotations

MIB = 2**20

GRAPH_BYTES = 512 * MIB
"""Largest graph [bytes]."""
MANIFEST_BYTES = 128 * MIB
"""Largest manifest [bytes]."""
MANIFEST_VALUES = 8_000_000
"""Most values in a manifest, golden observations among them: each takes some 70 bytes once it is read."""

NAME = 256
"""Longest name of anything [characters]."""
ENTRIES = 1_000
"""Most figures and most versions of libraries in a manifest."""
GROUPS = 1_000
AGENTS = 10_000
"""Most agents of a group."""
MODULES = 1_000
FEATURES = 10_000
"""Most features of an agent's own, and of an entity."""
ENTITIES = 10_000
TABLES = 100
"""Most tables of entities beside the first one."""
WIDTH = 100_000
"""Widest observation, action mask, inputs of an action distribution, and recurrent state [values]."""
ACTIONS = 10_000
"""Most action dimensions or branches."""
CHOICES = 10_000
"""Most choices of a branch."""
TABLE = 1_000_000
"""Branches times the choices of the largest one: branches are decoded side by side, filled up to the largest."""
GOLDEN_ROWS = 1_000
"""Most golden observations of a module."""

NODES = 100_000
"""Most nodes of a graph."""
OUTPUT_BYTES = 4096 * MIB
"""What all networks of a process may take beside their weights; a call that needs more is an error [bytes]."""

TRIED_ROWS = 16_384
TRIED_VALUES = 4 * MIB
"""A module is tried with so many rows: no more than either allows, the rows' widest array counted [values]."""
TRIED_MODULES = 16
"""Where there are more modules than this they share the rows of so many, that a hundred do not take minutes."""
TRIAL_BYTES = 2048 * MIB
TRIAL_BYTES_PER_BYTE = 8
"""Memory that a bundle may take while it is tried, and what is added for each byte of its files [bytes]."""
TRIAL_CPU_SECONDS = 20
TRIAL_SECONDS = 120.0
"""Time that a bundle may take while it is tried, of a processor, and on the clock [s]."""
