"""How many replicas there should be. Imports `planner` and `catalogue`."""
