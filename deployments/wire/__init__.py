"""HTTP/1.1 on asyncio: `client` for the gateway's clients, `engine` for its connections to engines. Imports `policy` only."""
