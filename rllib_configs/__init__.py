"""Typed configuration: one YAML per domain and algorithm, and the schema that turns it into an AlgorithmConfig."""
