"""Readers of answers, between what an engine says and what its client gets. Imports `gateway.request` and the rooms below `gateway`."""
