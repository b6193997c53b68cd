"""Side-by-side measurements; each prints its bars and writes them as JSON."""
