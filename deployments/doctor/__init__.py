"""Examines the nodes of a running Ray cluster. Imports `ray_calls` and the rooms below it."""
