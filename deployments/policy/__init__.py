"""Decisions about a request: frozen values in, frozen values out; no Ray, no vLLM, no HTTP, no clock."""
