"""An engine replica's process: vLLM, its front door, its canaries. Never imports `gateway`; imports the rooms below both."""
