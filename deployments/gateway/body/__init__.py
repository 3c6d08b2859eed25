"""A request's body inside a gateway: its share of memory, decoded, its images fetched, and written again."""
