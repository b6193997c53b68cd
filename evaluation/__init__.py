"""Suites, normalised scores, statistics and the HTML report."""
