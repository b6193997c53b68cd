"""A supply network for the terminal, and its picture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from envs.supply_chain import Network, NetworkError, load_network, network_names
from policies.files import write_text
from rllib_configs.errors import ConfigError


def show_network(given: str | None, output: Path | None = None) -> RenderableType:
    """Draws a network to a file, and says in tables what it is made of.

    Args:
        given: Its name, or the path of its YAML.
        output: The HTML file; `NAME.html` in the current folder if None.

    Raises:
        ConfigError: If there is no such network, or it does not hang together.
        OSError: If the picture cannot be written; nothing half-written is left.
    """
    from evaluation.supply_networks import flows_of, network_figure

    if given is None:
        raise ConfigError(f"network: got none, allowed are {', '.join(network_names())}, or the path of a YAML file")
    try:
        network = load_network(given)
    except NetworkError as error:
        raise ConfigError(str(error)) from error
    file = output or Path(f"{network.name}.html")
    write_text(file, network_figure(network).to_html(include_plotlyjs=True, full_html=True))
    return Group(_nodes(network), _lanes(network, flows_of(network)), Text(f"the picture is {file}", style="dim"))


def _nodes(network: Network) -> Table:
    table = Table(title=f"{network.name}: {len(network.nodes)} nodes, {len(network.products)} products", box=None)
    for title in ("node", "role", "makes", "sells", "capacity"):
        table.add_column(title)
    for name in network.order:
        node = network.nodes[name]
        most = "" if node.capacity is None else f"{node.capacity:g}"
        table.add_row(name, node.role, ", ".join(node.makes), ", ".join(node.sells), most)
    return table


def _lanes(network: Network, flows: dict[str, dict[str, float]]) -> Table:
    table = Table(title="lanes", box=None)
    for title in ("lane", "from", "to", "lead time", "flow a step"):
        table.add_column(title)
    for lane in network.lanes:
        lead = lane.lead_time
        steps = f"{lead.least}" if lead.least == lead.most else f"{lead.least} to {lead.most}"
        flow = ", ".join(f"{product} {units:.1f}" for product, units in flows[lane.name].items())
        table.add_row(lane.name, lane.source, lane.target, steps, flow)
    return table
