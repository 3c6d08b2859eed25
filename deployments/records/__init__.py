"""The herd's past, for operators: events in the cluster's store, and log lines of every node. Imports `policy` and `ray_calls`."""
