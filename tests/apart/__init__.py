"""A model whose prefill is apart, with real engines: NIXL hands the KV cache from one to the other in the memory of the CPU."""
