"""Commands that are about a config, and need no herd."""
