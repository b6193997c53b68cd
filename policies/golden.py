"""Golden observations: rows that a module was given when it was exported, and what it made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.base import AgentGroup, FloatArray
from policies.decoding import inputs_size
from policies.folder import MANIFEST, BundleError
from policies.manifest import Manifest
from policies.network import Rows

TOLERANCE = 1e-5
"""Golden outputs are reproduced within this, absolutely and relatively."""


def golden_of(
    manifest: Manifest, module: str, group: AgentGroup, *, has_values: bool, team_size: int | None = None
) -> tuple[Rows, dict[str, FloatArray]]:
    """A module's golden rows, and the outputs they must give.

    Args:
        manifest: The manifest.
        module: Id of the module.
        group: A group whose spaces are the module's.
        has_values: Whether the graph has the module's critic.
        team_size: Agents of a world, if the module reads whole worlds.

    Returns:
        The rows `N`, and the outputs by name: `action_dist_inputs` `[N, P]`, `values` `[N]` and `next_state` `[N, H]`,
        those that the module has.

    Raises:
        BundleError: If there are no rows, or one of the arrays lacks or has another shape.
    """
    entry = manifest.golden.get(module)
    if entry is None:
        raise BundleError(f"bundle: {MANIFEST} has no golden observations for the module {module!r}, allowed are some")
    count, size = len(entry.observations), manifest.recurrent.get(module)
    if team_size is not None and count % team_size:
        raise BundleError(
            f"bundle: golden {module}.observations: got {count} rows, allowed are whole worlds of {team_size} agents"
        )

    def array(name: str, width: int | None, dtype: type = np.float32) -> NDArray[Any]:
        given = getattr(entry, name)
        shape = (count,) if width is None else (count, width)
        found: tuple[object, ...] = ()
        if given is not None:
            widths = {len(row) for row in given} if width is not None else set()
            found = (len(given), *(widths if len(widths) <= 1 else ("different widths",)))
        if found != shape:
            raise BundleError(
                f"bundle: golden {module}.{name}: got {'nothing' if given is None else f'shape {found}'}, "
                f"allowed is {shape}"
            )
        return np.array(given, dtype)

    rows = Rows(
        array("observations", group.layout.size),
        array("action_mask", group.mask_size, np.bool_),
        None if size is None else array("state", size),
        None if team_size is None else array("alive", None, np.bool_),
    )
    outputs = {"action_dist_inputs": array("action_dist_inputs", inputs_size(group.action_space))}
    if has_values:
        outputs["values"] = array("values", None)
    if size is not None:
        outputs["next_state"] = array("next_state", size)
    return rows, outputs


def check_close(what: str, wanted: FloatArray, found: FloatArray) -> None:
    """Raises BundleError, naming the value that is furthest off, unless all are within `TOLERANCE`."""
    if wanted.shape != found.shape:
        raise BundleError(f"{what}: found shape {found.shape}, expected {wanted.shape}")
    off = np.abs(found - wanted) - TOLERANCE * np.abs(wanted)
    if wanted.size and not off.max() <= TOLERANCE:  # written so that NaN, which compares false, fails
        worst = np.unravel_index(int(np.argmax(np.nan_to_num(off, nan=np.inf))), off.shape)
        place = [int(index) for index in worst]
        if not np.isfinite(wanted[worst]):
            raise BundleError(
                f"{what}{place}: the network itself puts out {wanted[worst]:g}, allowed are finite numbers; it learned "
                "from rewards or observations that were none, or diverged"
            )
        raise BundleError(f"{what}{place}: found {found[worst]:.8g}, expected {wanted[worst]:.8g}")
