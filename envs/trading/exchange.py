"""Where orders meet: who is filled how much, at which price, and how the market moves under the agents' flow.

All arrays that concern agents are `[N, B, A]`, assets first: sums over assets are then sums of whole planes.

**Model.** With the agents' *net* flow `Q` [shares], the average daily volume `V`, the exogenous open `O` and the
displacement `D = P + T` of the log mid that earlier flow has left behind:

- the mid before the trade is `O exp(D)`, called the reference;
- the flow moves it for good, `P += k Q`, and for a while, `T += l Q`, where `T` halves every `impact_half_life` bars:
  both linear, with slopes that are fixed for the whole episode;
- all fills of a bar happen at one price, `O exp(D') (1 + sign(Q) Y sigma sqrt(|Q| / V))`, the moved mid plus the
  square-root impact (Almgren et al. 2005; Sato & Kanazawa 2025), and each pays the half-spread on top. Whoever trades
  against the net flow is paid for the liquidity: the impact is zero-sum but for the net flow's own cost.

**Why it cannot be farmed** (Gatheral 2010). Fills happen after the move, so a flow pays its own impact in full. Write
`X` for cumulated flow, `f(x) = exp(k x)` and `g(x) = exp(l x)`, both increasing. The permanent part alone costs
`sum q_i f(X_i) >= F(X_n) - F(X_0)`, with `F` a primitive: zero at least over a round trip. So does the decaying part
alone, where `x_i = r x_{i-1} + q_i`: with `G` the primitive of `g - 1`, which is least at 0, each trade costs at least
`G(x_i) - G(r x_{i-1}) >= G(x_i) - G(x_{i-1})`. In the product of both the flow also revalues `G`, by at most the share
`k |q|` a bar, which is less than what decays, `1 - r^2`: `TradingTask` refuses anything else. Slopes that followed the
volatility would break the first step (push the price in nervous times, come back in quiet ones), hence fixed ones. The
square root is not remembered at all: it decays at once, and only adds to costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.trading.config import Terms

Array = NDArray[np.float64]


@dataclass(slots=True)
class Fills:
    """What became of a bar's orders. Arrays may be overwritten by the next bar.

    Attributes:
        shares: Shares bought (negative: sold), `[N, B, A]`.
        sizes: Their absolute values.
        reference: Mid before the agents' flow, `[N, B]`.
        price: The one price of all fills, half-spread apart, `[N, B]`.
        half_spread: Half the bid-ask spread [currency a share], `[N, B]`.
        ratio: Share of the orders that was filled, `[N, B]`.
        net: Net flow of all agents [shares], `[N, B]`.
    """

    shares: Array
    sizes: Array
    reference: Array
    price: Array
    half_spread: Array
    ratio: Array
    net: Array


class Exchange:
    """Fills orders and remembers what they did to prices.

    Args:
        num_worlds: Worlds `B`.
        num_assets: Assets `N`.
        num_agents: Agents `A`.
        lot_size: Shares in a lot; 0 is fractional.

    Attributes:
        permanent: Lasting displacement of the log mid, `[N, B]`.
        transient: Decaying displacement of the log mid, `[N, B]`.
    """

    def __init__(self, num_worlds: int, num_assets: int, num_agents: int, lot_size: float = 0.0) -> None:
        shape = (num_assets, num_worlds)
        self.lot_size = lot_size
        self.permanent, self.transient = np.zeros(shape), np.zeros(shape)
        self._permanent_slope, self._transient_slope = np.zeros(shape), np.zeros(shape)
        self._decay = np.ones(num_worlds)
        self._sizes = np.zeros((*shape, num_agents))

    def open(self, worlds: NDArray[np.int64], adv: Array, terms: Terms) -> None:
        """Forgets earlier flow in `worlds` and fixes the slopes of an episode.

        Args:
            worlds: The worlds, int64 `[E]`.
            adv: Their average daily volume [shares], `[E, N]`.
            terms: Terms of all worlds.
        """
        percent = 100.0 / adv.T
        self._permanent_slope[:, worlds] = terms.market_impact_factor[worlds] * percent
        self._transient_slope[:, worlds] = terms.transient_impact_factor[worlds] * percent
        self._decay[worlds] = 0.5 ** (1.0 / terms.impact_half_life[worlds])
        self.permanent[:, worlds] = 0.0
        self.transient[:, worlds] = 0.0

    @property
    def displacement(self) -> Array:
        """What earlier flow adds to the log mid at the next open, `[N, B]`."""
        return self.permanent + self.transient

    def quote(self, volatility: Array, terms: Terms) -> Array:
        """Half-spread as a share of the mid, `[N, B]`: wider, in proportion, when volatility `[N, B]` is high."""
        return terms.half_spread * np.maximum(volatility / terms.spread_volatility, 1.0)

    def fill(self, orders: Array, opened: Array, volume: Array, volatility: Array, adv: Array, terms: Terms) -> Fills:
        """Fills a bar's orders at its open and moves the mid.

        Args:
            orders: Shares to buy, negative to sell, `[N, B, A]`; overwritten.
            opened: The bar's exogenous open, `[N, B]`.
            volume: The bar's volume, `[N, B]`, of which all agents together get `max_participation` at most, pro rata.
            volatility: Volatility per bar, `[N, B]`.
            adv: Average daily volume, `[N, B]`.
            terms: Terms of all worlds.
        """
        sizes = np.abs(orders, out=self._sizes)
        wanted = sizes.sum(axis=2)
        ratio = terms.max_participation * volume / np.maximum(wanted, 1e-300)
        np.minimum(ratio, 1.0, out=ratio)
        if (ratio < 1.0).any():
            orders *= ratio[:, :, None]
            sizes *= ratio[:, :, None]
        if self.lot_size:
            orders /= self.lot_size
            np.trunc(orders, out=orders)
            orders *= self.lot_size
            np.abs(orders, out=sizes)
        net = orders.sum(axis=2)
        reference = opened * np.exp(self.displacement)
        self.permanent += self._permanent_slope * net
        self.transient += self._transient_slope * net
        moved = opened * np.exp(self.displacement)
        impact = np.sign(net) * terms.square_root_impact * volatility * np.sqrt(np.abs(net) / adv)
        half_spread = moved * self.quote(volatility, terms)
        return Fills(orders, sizes, reference, moved * (1.0 + impact), half_spread, ratio, net)

    def rest(self) -> None:
        """Lets the transient displacement decay by one bar, after its close."""
        self.transient *= self._decay

    _ARRAYS = ("permanent", "transient", "_permanent_slope", "_transient_slope", "_decay")

    def get_state(self) -> dict[str, Any]:
        """Displacements and slopes."""
        return {name: getattr(self, name).copy() for name in self._ARRAYS}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned."""
        for name in self._ARRAYS:
            getattr(self, name)[...] = state[name]
