"""HTTP/1.1 for the gateway's clients on asyncio: bytes to requests, answers to bytes, and the server that owns the connections."""
