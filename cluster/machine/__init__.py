"""This machine: its environment, its Ray node, its facts. The only room of `cluster` that touches the world."""
