"""What fits, how fast it is, and which shape to choose. Imports `catalogue`."""
