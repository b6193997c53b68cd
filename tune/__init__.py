"""Experiments: train, sweep, resume, and their tracking."""
