"""Cluster launch, manifests and monitoring."""
