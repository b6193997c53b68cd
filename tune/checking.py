"""What an env of one's own looks like to Entrepot, and whether it keeps the contract: `entrepot envs` and `check`."""

from __future__ import annotations

from gymnasium.spaces import MultiDiscrete
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from envs.base import AgentGroup, BatchedEnv
from envs.contract import ContractError, check_env
from envs.registry import get_domain
from rllib_configs.errors import ConfigError, one_line
from rllib_configs.schema import ExperimentConfig

STEPS = 24
"""Longest episodes that are checked [steps]; two of them are played, many times over."""
SHOWN = 6
"""Names that are listed before the rest is counted."""


def groups_table(env: BatchedEnv) -> Table:
    """The agents by group, with what they see and what they do."""
    table = Table(title="Who acts", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("group", style="bold")
    for heading in ("agents", "sees", "does"):
        table.add_column(heading, overflow="fold")
    for group in env.groups.values():
        cells = (group.name, _listed(group.agent_ids), _sees(group), _does(group))
        table.add_row(*(escape(cell) for cell in cells))
    return table


def agents_of(name: str) -> RenderableType:
    """The agents of a domain as it is without any settings; why they cannot be shown, where it needs some."""
    try:
        return groups_table(get_domain(name).env())
    except (ValueError, OSError) as error:
        return Text(f"Its agents show once it is configured: {one_line(error)}", style="yellow")


def verdict(config: ExperimentConfig) -> tuple[RenderableType, bool]:
    """Puts a domain, as configured, through the contract.

    Returns:
        What was found, and whether it keeps the contract.

    Raises:
        ConfigError: If its worlds cannot be made.
    """
    domain, task = config.get_domain(), config.typed_task()
    task = task.model_copy(update={"max_steps": min(task.max_steps, STEPS)})

    def make(worlds: int, first_world: int) -> BatchedEnv:
        return domain.env(config.env_config(), worlds, task=task, first_world=first_world)

    try:
        env = make(1, 0)
    except (ValueError, OSError) as error:
        raise ConfigError(f"env: {one_line(error).removeprefix('env: ')}") from error
    found: list[RenderableType] = [groups_table(env)]
    for clause, why in env.waived.items():
        found.append(Text(f"not checked, clause {clause}: {why}", style="yellow"))
    try:
        check_env(make, steps=2 * STEPS + 3)
    except ContractError as error:
        return Group(*found, Text(f"{config.domain} breaks the contract, clause {one_line(error)}", style="red")), False
    said = f"{config.domain} keeps the contract, in {2 * STEPS + 3} steps of 3 worlds, alone and together."
    return Group(*found, Text(said, style="green")), True


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"


def _sees(group: AgentGroup) -> str:
    layout = group.layout
    parts = [f"{layout.size} numbers: {_listed(layout.own)}"] if layout.own else [f"{layout.size} numbers"]
    for table, _, _ in layout.places:
        if table.entities:
            parts.append(f"{table.name}: {_listed(table.entities)}, each with {_listed(table.features)}")
    return "; ".join(parts)


def _does(group: AgentGroup) -> str:
    if isinstance(group.action_space, MultiDiscrete):
        return f"chooses among {' x '.join(str(n) for n in group.action_space.nvec.ravel())}"
    return f"{group.num_actions} numbers in [-1, 1]"
