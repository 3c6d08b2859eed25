"""The `herd` command that an operator types: its words, tables and exit codes. Imports every other room; no room imports it."""
