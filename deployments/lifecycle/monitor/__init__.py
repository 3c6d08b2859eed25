"""Prometheus, Alertmanager and Grafana beside a herd: their configurations, and their processes on this machine."""
