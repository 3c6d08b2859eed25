"""The config of a herd: one schema, one reader, and the YAML files themselves."""
