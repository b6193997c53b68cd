"""Soft actor-critic, for continuous actions and for discrete branches."""
