"""Facts of nodes in, findings out. Imports the rooms of `cluster` below it."""
