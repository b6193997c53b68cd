"""Several machines on one, to try a cluster for real."""
