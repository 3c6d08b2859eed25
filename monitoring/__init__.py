"""Metrics by name, and how they leave a process."""
