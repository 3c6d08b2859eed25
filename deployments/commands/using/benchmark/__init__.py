"""A benchmark of an endpoint: the load, vLLM's client that makes it, the plan beside it, and how both are shown."""
