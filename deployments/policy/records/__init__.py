"""Values that are written down of a herd, for operators: log lines, starts of engines, spans of time. Imports nothing of policy."""
