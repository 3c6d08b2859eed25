"""Commands that change which herd is up."""
