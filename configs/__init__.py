"""What operators want: one schema, one reader, and the YAML files themselves."""
