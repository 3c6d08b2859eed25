"""Changes to vLLM's own code, as vLLM plugins, each for one reason that its file tells. The only room with vLLM's non-public names."""
