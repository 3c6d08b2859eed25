"""A cluster as Prometheus is shown it, and the address of every page."""
