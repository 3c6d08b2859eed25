"""Commands that use a herd as a client does."""
