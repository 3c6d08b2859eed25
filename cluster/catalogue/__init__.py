"""Models and hardware as numbers, each with its source. Imports `configs` only."""
