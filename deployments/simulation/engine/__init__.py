"""One engine in virtual time: its batch, its KV cache, its step times. Imports `cluster.planner`."""
