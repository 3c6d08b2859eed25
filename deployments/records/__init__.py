"""The herd's past, for operators and for autoscaling: events, starts and load in the cluster's store, and log lines of every node.

Imports `policy` and `ray_calls`.
"""
