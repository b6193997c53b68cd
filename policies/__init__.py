"""Anything that acts, learned or not, and the bundles and registry that keep what was learned."""
