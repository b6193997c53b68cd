"""Synthetic and historical data: prices, regimes, and the generator that mixes them."""
