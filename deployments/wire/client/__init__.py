"""A client's side: bytes to requests, answers to bytes, and the server that owns the connections."""
