"""A support bundle: what is gathered, what is taken out of it, and the archive that it becomes."""
