"""What a started engine tells of itself, beside what was planned for it. Imports the rest of the planner."""
