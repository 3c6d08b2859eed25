"""What an operator types: words, tables, exit codes. Imports every other room; no room imports it."""
