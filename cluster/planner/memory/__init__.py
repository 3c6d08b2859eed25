"""The contents of the memory of each of an engine's GPUs, part by part. Imports `catalogue` and the KV cache's paging only."""
