"""The networks: a thin one that pools over entities, a flat one, and the normaliser that lives inside them."""
