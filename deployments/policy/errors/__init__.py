"""Errors that a client can see, and how an engine's own errors become such. Imports no other room of `policy`."""
