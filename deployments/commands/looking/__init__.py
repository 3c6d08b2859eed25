"""Commands that look at a herd that is up, and change nothing."""
