"""Plans: which shapes fit, how fast each is, and which one to choose. Imports `catalogue`."""
