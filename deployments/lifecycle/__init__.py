"""Declares a herd to Ray Serve: brings it up, changes it, and takes it down.

Imports `gateway`, `engine` and the rooms below them.
"""
