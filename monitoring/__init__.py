"""The sight of operations: metrics by name, the journal of each request, its spans and log lines, and how they leave a process."""
