"""The only room that uses Ray's non-public names: applications, actors, nodes, broadcast, drain, `ray.serve.llm`, the hook for autoscaling.

`tests/alone/test_seams_ray.py` holds each of these names against the Ray that is installed. Imports `policy` and `cluster`.
"""
