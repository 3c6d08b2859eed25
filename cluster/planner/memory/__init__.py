"""What one engine keeps in the memory of each of its GPUs, part by part. Imports `catalogue` and the KV cache's paging only."""
