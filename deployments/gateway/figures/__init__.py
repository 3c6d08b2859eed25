"""Figures that a gateway shows beside those of its requests: its own process, and the cluster that it is in."""
