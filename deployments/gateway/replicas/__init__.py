"""The replicas as a gateway sees them: found, heard of, suspected, and taken away by a cloud."""
