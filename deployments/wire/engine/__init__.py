"""An engine's side: a pool of connections, one exchange on each at a time, and the answer as it comes."""
