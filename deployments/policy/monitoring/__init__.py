"""What Prometheus is shown of a cluster, and where it finds every page."""
