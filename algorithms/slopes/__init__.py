"""Derivatives of what an env's team earns, one module for each domain that has them; torch lives here, not in envs."""
