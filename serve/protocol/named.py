"""From named observations to rows of modules; each refusal names the step, the agent and the feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.errors import BadRequest
from serve.protocol.checks import (
    BOOLEANS,
    NUMBERS,
    allowed_range,
    as_float32,
    booleans,
    in_bounds,
    listed,
    numbers,
    out_of_bounds,
    shown,
    stuck_row,
)
from serve.protocol.memory import MixedRows
from serve.protocol.rows import ModuleRows
from serve.protocol.signature import NEEDED, Limits, ModuleSignature, Signature

LONGEST_AGENT = 128
"""Most characters of an agent's name where any name will do: sessions remember agents by name."""

# -- plain rows of one module ----------------------------------------------------------------------------------------


def plain_rows(plain: dict[str, Any], signature: Signature, limits: Limits) -> dict[str, ModuleRows]:
    """What is asked of the one module that the request names.

    Raises:
        BadRequest: If there is no such module, or the rows do not fit it.
    """
    name = plain["module"]
    module = signature.modules.get(name) if type(name) is str else None
    if module is None:
        raise BadRequest(f"module: got {shown(name)}, allowed are {listed(signature.modules)}")
    if module.team:
        raise BadRequest(f"module: got {shown(name)}, allowed are observations by agent: {NEEDED}")
    given = plain.get("observations")
    if type(given) is list and len(given) > limits.max_rows:
        raise BadRequest(f"observations: got {len(given)} rows, allowed are 1 to {limits.max_rows}")
    observations = numbers(given, "observations")
    if observations.ndim != 2 or observations.shape[1] != module.size:
        raise BadRequest(f"observations: got shape {list(observations.shape)}, allowed is [N, {module.size}]")
    count = len(observations)
    masks, state = plain.get("action_masks"), plain.get("state")
    if masks is not None:
        masks = booleans(masks, "action_masks")
        _shaped(masks, (count, module.mask_size), "action_masks")
    if state is not None:
        if not module.state_size:
            raise BadRequest(f"state: is given, but module {module.module} has none, allowed is to leave it out")
        state = numbers(state, "state")
        _shaped(state, (count, module.state_size), "state")
    return {
        module.module: _checked(
            module,
            observations,
            masks,
            state,
            lambda field, row, column: f"{field}[{row}]" + ("" if column is None else f"[{column}]"),
        )
    }


def _shaped(array: NDArray[Any], shape: tuple[int, int], what: str) -> None:
    if array.shape != shape:
        raise BadRequest(f"{what}: got shape {list(array.shape)}, allowed is {list(shape)}")


# -- a team ------------------------------------------------------------------------------------------------------------


class _Columns:
    """What is asked of one module, row by row."""

    __slots__ = ("brought", "free", "fresh", "masks", "module", "observations", "places", "state", "used_masks")

    def __init__(self, module: ModuleSignature) -> None:
        self.module = module
        self.places: list[tuple[int, str]] = []
        self.observations: list[list[Any]] = []
        self.masks: list[list[Any]] = []
        self.state: list[list[Any]] = []
        self.free, self.fresh = [True] * module.mask_size, [0.0] * module.state_size
        self.brought: list[int] = []  # rows that bring a state
        self.used_masks = False


def team_rows(
    plain: dict[str, Any], signature: Signature, limits: Limits
) -> tuple[dict[str, ModuleRows], dict[str, list[tuple[int, str]]]]:
    """What is asked for a team, in one step or several.

    Returns:
        Rows by module, and the step and agent of each. Of modules that read whole worlds each step is a world: agents
        that are not named in it are not there.

    Raises:
        BadRequest: If an agent is unknown, or what is given for it does not fit its module.
    """
    given = plain.get("observations")
    many = type(given) is list
    steps: list[Any] = given if type(given) is list else [given]
    if many and not 0 < len(steps) <= limits.max_rows:
        raise BadRequest(f"observations: got {len(steps)} steps, allowed are 1 to {limits.max_rows}")
    masks = _beside(plain.get("action_masks"), "action_masks", many, len(steps))
    states = _beside(plain.get("state"), "state", many, len(steps))
    columns: dict[str, _Columns] = {}
    total = 0
    for step, observed in enumerate(steps):
        if type(observed) is not dict or not observed:
            raise BadRequest(
                f"{_at('observations', step, many)}: got {shown(observed)}, allowed is an object with an observation "
                f"for each agent ({listed(signature.agents)})"
            )
        total += len(observed)
        if total > limits.max_rows:
            raise BadRequest(f"observations: got {total} rows and more, allowed are {limits.max_rows}")
        allowed, state = masks[step], states[step]
        for agent, row in observed.items():
            _add(columns, signature, agent, row, allowed.get(agent), state.get(agent), step, many)
        for field, table in (("action_masks", allowed), ("state", state)):
            if table and (lone := next((agent for agent in table if agent not in observed), None)) is not None:
                raise BadRequest(f"{_at('observations', step, many)}: lacks agent {shown(lone)}, which {field} has")
    rows = {name: _rows(column, many) for name, column in columns.items()}
    places = {name: column.places for name, column in columns.items()}
    for name, column in columns.items():
        if column.module.team:
            rows[name], places[name] = _whole(rows[name], column, limits)
    return rows, places


def _add(
    columns: dict[str, _Columns],
    signature: Signature,
    agent: str,
    row: Any,
    mask: Any,
    state: Any,
    step: int,
    many: bool,
) -> None:
    """Adds one agent's row to those of its module."""
    name = signature.agents.get(agent)
    if name is None:
        name = signature.common
        where = _at("observations", step, many)
        if name is None:
            raise BadRequest(f"{where}: got agent {shown(agent)}, allowed are {listed(signature.agents)}")
        if len(agent) > LONGEST_AGENT:
            raise BadRequest(f"{where}: got an agent's name of {len(agent)} characters, allowed are {LONGEST_AGENT}")
    column = columns.get(name)
    if column is None:
        column = columns[name] = _Columns(signature.modules[name])
    module = column.module
    if type(row) is not list or len(row) != module.size:
        row = _named(row, module, f"{_at('observations', step, many)}[{shown(agent)}]")
    column.observations.append(row)
    column.places.append((step, agent))
    if mask is None:
        column.masks.append(column.free)
    else:
        if type(mask) is not list or len(mask) != module.mask_size:
            where = f"{_at('action_masks', step, many)}[{shown(agent)}]"
            raise BadRequest(f"{where}: got {shown(mask)}, allowed is a list of {module.mask_size} true and false")
        column.masks.append(mask)
        column.used_masks = True
    if state is None:
        column.state.append(column.fresh)
    else:
        where = f"{_at('state', step, many)}[{shown(agent)}]"
        if not module.state_size:
            raise BadRequest(f"{where}: is given, but module {name} has none, allowed is to leave it out")
        if type(state) is not list or len(state) != module.state_size:
            raise BadRequest(f"{where}: got {shown(state)}, allowed is a list of {module.state_size} numbers")
        column.brought.append(len(column.state))
        column.state.append(state)


def _named(row: Any, module: ModuleSignature, what: str) -> list[Any]:
    """The features by name, as a list in the layout's order."""
    if type(row) is not dict:
        given = f"{len(row)} numbers" if type(row) is list else shown(row)
        raise BadRequest(f"{what}: got {given}, allowed are {module.size} numbers, or an object of features by name")
    try:
        values = [row[name] for name in module.names]
    except KeyError:
        missing = [name for name in module.names if name not in row]
        raise BadRequest(f"{what}: lacks {len(missing)} of {module.size} features: {listed(missing, 5)}") from None
    if len(row) != len(values):
        features = set(module.names)
        unknown = [shown(name) for name in row if name not in features]
        raise BadRequest(f"{what}: got unknown features: {listed(unknown, 5)}; allowed are {listed(module.names, 5)}")
    return values


def _rows(column: _Columns, many: bool) -> ModuleRows:
    """The rows of one module, as arrays."""
    places, module = column.places, column.module

    def where(field: str, row: int, index: int | None) -> str:
        step, agent = places[row]
        name = f"{_at(field, step, many)}[{shown(agent)}]"
        if index is None:
            return name
        return f"{name}[{shown(module.names[index])}]" if field == "observations" else f"{name}[{index}]"

    observations = _table(column.observations, numbers, NUMBERS, "observations", where)
    masks = _table(column.masks, booleans, BOOLEANS, "action_masks", where) if column.used_masks else None
    state = _table(column.state, numbers, NUMBERS, "state", where) if column.brought else None
    rows = _checked(module, observations, masks, state, where)
    if state is None or len(column.brought) == len(places):
        return rows
    brought = np.zeros(len(places), np.bool_)
    brought[column.brought] = True
    return MixedRows(rows.observations, rows.masks, rows.state, brought=brought)


def _whole(rows: ModuleRows, column: _Columns, limits: Limits) -> tuple[ModuleRows, list[tuple[int, str]]]:
    """Rows of the agents that were named as whole worlds, one a step that names any of the module's agents."""
    module = column.module
    steps = list(dict.fromkeys(step for step, _ in column.places))
    count = len(steps) * len(module.team)
    if count > limits.max_rows:
        raise BadRequest(
            f"observations: got {count} rows, agents that are away included, allowed are {limits.max_rows}"
        )
    worlds = {step: world * len(module.team) for world, step in enumerate(steps)}
    index = np.array([worlds[step] + module.places[agent] for step, agent in column.places])
    alive = np.zeros(count, np.bool_)
    alive[index] = True

    def spread(array: NDArray[Any] | None, empty: Any) -> Any:
        """An array of the rows that were named, with what the others have."""
        if array is None:
            return None
        whole = np.full((count, *array.shape[1:]), empty, array.dtype)
        whole[index] = array
        return whole

    observations, masks, state = spread(rows.observations, 0), spread(rows.masks, True), spread(rows.state, 0)
    places = [(step, agent) for step in steps for agent in module.team]
    if isinstance(rows, MixedRows):
        return MixedRows(observations, masks, state, alive, brought=spread(rows.brought, False)), places
    return ModuleRows(observations, masks, state, alive), places


def _table(
    rows: list[list[Any]],
    read: Callable[[Any, str], NDArray[Any]],
    types: frozenset[type],
    field: str,
    where: Callable[[str, int, int | None], str],
) -> NDArray[Any]:
    """Rows of equal length as an array; if that fails, the message names the agent."""
    try:
        array = read(rows, field)
        if array.ndim == 2:
            return array
    except BadRequest:
        pass
    for row, values in enumerate(rows):
        for index, value in enumerate(values):
            if type(value) not in types:
                read([value], where(field, row, index))
    raise BadRequest(f"{field}: got lists in lists, allowed is one list for each agent")


def _checked(
    module: ModuleSignature,
    observations: NDArray[Any],
    masks: NDArray[Any] | None,
    state: NDArray[Any] | None,
    where: Callable[[str, int, int | None], str],
) -> ModuleRows:
    """Rows whose numbers are in bounds, and whose masks allow something."""
    for field, array in (("observations", observations), ("state", state)):
        if array is not None and not in_bounds(array):
            row, column, value = out_of_bounds(array)
            raise BadRequest(f"{where(field, row, column)}: got {value}, {allowed_range()}")
    if masks is not None and (stuck := stuck_row(masks, module)):
        raise BadRequest(
            f"{where('action_masks', stuck[0], None)}: allows nothing in branch {stuck[1]}, allowed is one true or "
            "more in each branch"
        )
    return ModuleRows(as_float32(observations), masks, None if state is None else as_float32(state))


def _beside(given: Any, field: str, many: bool, steps: int) -> list[dict[str, Any]]:
    """Masks or states, a table by agent for each step."""
    if given is None:
        return [{}] * steps
    tables = given if many else [given]
    if type(tables) is not list or len(tables) != steps or any(type(table) is not dict for table in tables):
        allowed = f"a list of {steps} objects, one for each step" if many else "an object by agent"
        raise BadRequest(f"{field}: got {shown(given)}, allowed is {allowed}, as observations are")
    return tables


def _at(field: str, step: int, many: bool) -> str:
    return f"{field}[{step}]" if many else field
