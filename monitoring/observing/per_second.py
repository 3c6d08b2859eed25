"""A bound on how often something is done in a second.

Decides over numbers; the clock is an argument.
"""


class PerSecond:
    """Counts what is done, by whole seconds of a clock."""

    __slots__ = ("_done", "_second", "left_out")

    def __init__(self) -> None:
        self._second = -1
        self._done = 0
        self.left_out = 0
        """How often there was no room, since `told` was called last."""

    def takes(self, now_s: float, most: int) -> bool:
        """Takes one, and returns True, if there were fewer than so many in this second."""
        if (second := int(now_s)) != self._second:
            self._second, self._done = second, 0
        if self._done >= most:
            self.left_out += 1
            return False
        self._done += 1
        return True

    def told(self) -> int:
        """Returns how often there was no room, and counts from 0 again."""
        count, self.left_out = self.left_out, 0
        return count
