"""Which plan an operator would run, what else differs in kind, what limits a plan, and all of it as rows. Imports the rest of `planner`."""
