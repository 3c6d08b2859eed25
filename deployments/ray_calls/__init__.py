"""The only room that uses Ray's non-public names: names of actors, broadcast, drain, the hook for autoscaling.

Imports `policy` and `cluster`.
"""
