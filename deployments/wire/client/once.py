"""A value that is made once, and made anew only when something else that it depends on is replaced."""

from collections.abc import Callable
from typing import Any, TypeVar

Made = TypeVar("Made")
Of = TypeVar("Of")

#: Nothing depends on it. Not the keeper itself: a ring of references waits for the garbage collector.
_NOTHING = object()


class Once:
    """Keeps one such value."""

    __slots__ = ("_by", "_made")

    def __init__(self) -> None:
        self._by: object = _NOTHING
        self._made: Any = None

    def get(self, by: object, make: Callable[[Of], Made], of: Of) -> Made:
        """Returns the value.

        Args:
            by: what it depends on; another object has it made anew.
            make: makes it.
            of: what it is made of; the value would be the same for each that is given here.
        """
        if self._by is not by:
            self._by, self._made = by, make(of)
        made: Made = self._made
        return made
