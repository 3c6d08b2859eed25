"""The type of a function that tells a person the next step of something that takes long. Importing it needs no terminal."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Tells one step, as a short sentence without a full stop."""
