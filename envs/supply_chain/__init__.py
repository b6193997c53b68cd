"""Supply networks: goods that are ordered, made, moved and sold, node by node."""
