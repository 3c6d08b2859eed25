"""One file per pure file: a table for examples, a law for what always holds."""
