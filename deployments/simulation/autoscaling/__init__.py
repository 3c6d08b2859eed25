"""Scaling of the simulated replicas: the observation of a rule, its lag, and the rules. Imports `cluster.scaling`."""
