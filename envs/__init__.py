"""Simulators: batches of worlds stepped as arrays. Importing this package imports neither Ray nor torch."""
