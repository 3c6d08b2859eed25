"""The figures of a started engine, beside those planned for it. Imports the rest of the planner."""
