"""How a request is served: the gateway, the engines, the road between them, and what puts them on Ray."""
