"""`herd top`: a live view of a herd, from its gateways alone."""
