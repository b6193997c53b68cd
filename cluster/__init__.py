"""Clusters: launching them, submitting to them, watching over what runs there, and ending them again."""
