"""What a supply network is made of: products, nodes, and the lanes that goods move on.

Units: a step is a period (a day, a week), goods are counted in units of their product, money in any one currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from envs.synthetic.demand import Demand

OUTSIDE = "outside"
"""Source of what nobody in the network has to make: it always has enough."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=64)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ROLES = ("supplier", "manufacturer", "distributor", "retailer")
Role = Literal["supplier", "manufacturer", "distributor", "retailer"]


class NetworkError(ValueError):
    """A network does not hang together; one line that names the node, lane or product."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Product(_Part):
    """Something that is made, moved and sold."""

    recipe: dict[Name, Positive] = Field(
        default_factory=dict, description="What one unit is made of: units by component. Empty: it is bought outside."
    )
    volume: Positive = Field(1.0, description="Storage that a unit takes [volume].")
    shelf_life: int = Field(
        0, ge=0, description="Steps that a unit keeps after it was made or bought outside; 0: for ever."
    )


class LeadTime(_Part):
    """Steps from order to arrival if the source has the goods, drawn evenly from a range.

    Counted as by Snyder and Shen (2019), "Fundamentals of supply chain theory", chapter 6: what is ordered after the
    demand of period `t` was seen arrives before that of period `t + L`. So with 1 it is there for the next demand.
    """

    least: int = Field(ge=1, description="Shortest [steps].")
    most: int = Field(ge=1, description="Longest [steps].")

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, given: Any) -> Any:
        """A number is a fixed lead time."""
        return {"least": given, "most": given} if isinstance(given, int) and not isinstance(given, bool) else given

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"most: got {self.most}, allowed is {self.least}, the least, or more")
        return self

    @property
    def mean(self) -> float:
        """Its expected value [steps]."""
        return (self.least + self.most) / 2


class Sale(_Part):
    """What a node sells to customers, and what it costs not to have it."""

    demand: Demand = Field(description="What customers ask for.")
    price: Amount = Field(0.0, description="What a customer pays [currency a unit].")
    shortage: Amount = Field(0.0, description="Penalty for unmet demand [currency a unit; of backlog each step].")
    lost: bool = Field(False, description="Whether unmet demand is lost; else it waits.")


class Node(_Part):
    """A place that stores, makes or sells; an agent orders for it."""

    role: Role = Field(description="Agents of one role play with one policy, if policies are by role.")
    hold: dict[Name, Amount] | Amount = Field(0.0, description="Holding cost [currency a unit and step], by product.")
    stock: dict[Name, Amount] | Amount = Field(0.0, description="Stock at the start [units], by product.")
    storage: Positive | None = Field(None, description="Space that all products share [volume]; None: no end of it.")
    overflow: Amount = Field(0.0, description="Rent of space beyond that [currency a volume and step].")
    capacity: Positive | None = Field(
        None, description="Most that is made a step, or, where nothing is made, sent [units]; None: no limit."
    )
    makes: dict[Name, Making] = Field(default_factory=dict, description="How products with a recipe are made here.")
    sells: dict[Name, Sale] = Field(default_factory=dict, description="What is sold to customers, by product.")
    allocation: Literal["proportional", "priority"] = Field(
        "proportional",
        description="Who gets how much when there is too little: all alike, or lanes as they are listed.",
    )
    issuing: Literal["fifo", "lifo"] = Field("fifo", description="Which perishable units go first: the oldest, or not.")

    def of(self, table: Literal["hold", "stock"], product: str) -> float:
        """A figure that may be given for all products or for each."""
        given = getattr(self, table)
        return float(given.get(product, 0.0)) if isinstance(given, Mapping) else float(given)


class Terms(_Part):
    """What ordering costs, on a lane or of a product that is made."""

    lead_time: LeadTime = Field(description="Steps from order to arrival.")
    crossing: bool = Field(True, description="Whether a later order may overtake an earlier one.")
    price: Amount = Field(0.0, description="Paid for what is sent or made [currency a unit].")
    order: Amount = Field(0.0, description="Paid for each order, however large [currency].")
    transit: Amount = Field(0.0, description="Holding cost on the way [currency a unit and step].")
    emissions: Amount = Field(0.0, description="Emissions [kg CO2e a unit].")
    minimum: Amount = Field(0.0, description="Smallest order [units]; less than half of it is none.")
    batch: Amount = Field(0.0, description="Orders are whole batches of so many units; 0: any quantity.")
    yield_: float = Field(1.0, gt=0, le=1, alias="yield", description="Mean share of the quantity that is any good.")
    yield_spread: float = Field(
        0.0, ge=0, lt=1, description="How far the yield is from its mean at most; drawn evenly for each shipment."
    )

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not 0 <= self.yield_ - self.yield_spread <= self.yield_ + self.yield_spread <= 1:
            raise ValueError(f"yield_spread: got {self.yield_spread:g}, allowed keeps yield {self.yield_:g} in [0, 1]")
        return self


class Making(Terms):
    """How a product is made: components are taken when it is begun, and it is there when the lead time is over."""


class Lane(Terms):
    """How products get from one node to another, or from outside; two nodes may have several, one faster, say."""

    name: Name = Field(description="Name of the lane.")
    source: Name = Field(description="A node, or `outside`.")
    target: Name = Field(description="The node that orders.")
    products: tuple[Name, ...] = Field(min_length=1, description="What moves on it.")
    capacity: Positive | None = Field(None, description="Most units a step, all products together; None: no limit.")


class Network(_Part):
    """A directed network without cycles.

    Raises:
        pydantic.ValidationError: If a name is unknown, or the network does not hang together.
    """

    name: Name = Field(description="Name of the network.")
    products: dict[Name, Product] = Field(min_length=1, description="Products by name.")
    nodes: dict[Name, Node] = Field(min_length=1, description="Nodes by name.")
    lanes: tuple[Lane, ...] = Field(
        description="Lanes; where goods are short and go by priority, the first come first."
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        try:
            self._check_names()
            _ = self.order
            self._check_supply()
        except NetworkError as error:
            raise ValueError(f"network {self.name!r}: {error}") from None
        return self

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Nodes in the order of the arrays: sources before those they supply."""
        return tuple(order_of(self))

    @cached_property
    def cells(self) -> tuple[tuple[str, str], ...]:
        """Nodes and the products that come there, in the order of the arrays."""
        come = {(way.target, way.product) for way in self.ways}
        return tuple((node, product) for node in self.order for product in self.products if (node, product) in come)

    def _check_names(self) -> None:
        """Raises NetworkError if something is named that there is not, or named twice."""
        if OUTSIDE in self.nodes:
            raise NetworkError(f"nodes: got {OUTSIDE!r}, allowed are other names: it is what lies outside")
        taken: set[str] = set()
        for lane in self.lanes:
            what = f"lane {lane.name!r}"
            if lane.name in taken:
                raise NetworkError(f"{what}: is there twice, allowed is once")
            taken.add(lane.name)
            _known(what, "source", lane.source, (OUTSIDE, *self.nodes))
            _known(what, "target", lane.target, self.nodes)
            if lane.source == lane.target:
                raise NetworkError(f"{what}: goes from {lane.source!r} to itself; what is made belongs to `makes`")
            for product in lane.products:
                _known(what, "products", product, self.products)
        for name, thing in self.products.items():
            for component in thing.recipe:
                _known(f"product {name!r}", "recipe", component, self.products)
        for name, node in self.nodes.items():
            for field in ("hold", "stock", "makes", "sells"):
                given = getattr(node, field)
                for product in given if isinstance(given, Mapping) else ():
                    _known(f"node {name!r}", field, product, self.products)
            for product in node.makes:
                if not self.products[product].recipe:
                    raise NetworkError(f"node {name!r}: makes {product!r}, which has no recipe")

    def _check_supply(self) -> None:
        """Raises NetworkError if a node needs what never comes, or has nothing to do with the rest."""
        for name, node in self.nodes.items():
            comes = {product for lane in self.lanes if lane.target == name for product in lane.products}
            goes = {product for lane in self.lanes if lane.source == name for product in lane.products}
            made = set(node.makes)
            used = {component for product in made for component in self.products[product].recipe}
            for product in sorted(goes | used | set(node.sells)):
                if product not in comes | made:
                    raise NetworkError(f"node {name!r}: sends, uses or sells {product!r}, which never comes there")
            if not comes | made:
                raise NetworkError(f"node {name!r}: is an orphan, nothing comes there")
            if not goes | set(node.sells):
                raise NetworkError(f"node {name!r}: is an orphan, nothing leaves it")
        for name, thing in self.products.items():
            bought = any(lane.source == OUTSIDE and name in lane.products for lane in self.lanes)
            if not bought and not any(name in node.makes for node in self.nodes.values()):
                how = "nobody makes it" if thing.recipe else "nobody buys it outside, and it has no recipe"
                raise NetworkError(f"product {name!r}: {how}")

    @cached_property
    def ways(self) -> tuple[Way, ...]:
        """All that can be ordered: upstream first, each node's lanes before what it makes, components first."""
        lanes: dict[str, list[Lane]] = {name: [] for name in self.nodes}
        for lane in self.lanes:
            lanes[lane.target].append(lane)
        found: list[Way] = []
        components = _sorted({name: set(product.recipe) for name, product in self.products.items()}, "recipes")
        for name in self.order:
            found += [Way(ln.source, name, product, ln, ln.name) for ln in lanes[name] for product in ln.products]
            makes = self.nodes[name].makes
            found += [Way(name, name, product, makes[product], None) for product in components if product in makes]
        return tuple(found)


@dataclass(frozen=True)
class Way:
    """One product on one lane, or one product that is made: what a node can order.

    Attributes:
        source, target: Nodes; `source` may be `outside`, and is the node itself for what it makes.
        product: Its name.
        terms: On what terms.
        lane: Name of the lane; None: it is made.
    """

    source: str
    target: str
    product: str
    terms: Terms
    lane: str | None

    @property
    def name(self) -> str:
        """`lane.product`, or `make.product`."""
        return f"{self.lane or 'make'}.{self.product}"


def order_of(network: Network) -> list[str]:
    """Nodes, sources before those they supply (Kahn 1962), else as they are listed.

    Raises:
        NetworkError: If lanes, or recipes, go round in a circle.
    """
    _sorted({name: set(product.recipe) for name, product in network.products.items()}, "recipes")
    sources = {name: {lane.source for lane in network.lanes if lane.target == name} for name in network.nodes}
    return _sorted({name: found - {OUTSIDE} for name, found in sources.items()}, "lanes")


def _sorted(before: Mapping[str, set[str]], what: str) -> list[str]:
    """Names such that all that must come before another do."""
    found: list[str] = []
    left = dict(before)
    while left:
        free = next((name for name, needs in left.items() if needs.isdisjoint(left)), None)
        if free is None:
            raise NetworkError(f"{what}: go round in a circle through {', '.join(sorted(left))}")
        found.append(free)
        del left[free]
    return found


def _known(what: str, field: str, name: str, allowed: Any) -> None:
    if name not in allowed:
        raise NetworkError(f"{what}: {field}: got {name!r}, allowed are {', '.join(allowed)}")


Node.model_rebuild()
