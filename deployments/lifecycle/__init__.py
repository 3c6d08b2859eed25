"""What is declared to Ray Serve, and when: a herd is brought up, changed and taken down.

Imports `gateway`, `engine` and the rooms below them.
"""
