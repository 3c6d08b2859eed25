"""What scales the simulated replicas: what a rule sees, how late, and the rules. Imports `cluster.scaling`."""
