"""How big to be, and on which machines: the herd and its hardware as numbers, and the machine's own environment."""
