"""A flow that waits while anybody asks it to, for several reasons at once: a slow client, a reader that holds back.

Decides nothing.
"""

from deployments.wire.types import Flow


class Brake:
    """Slows one flow after the other: each engine that an answer comes from."""

    __slots__ = ("_flow", "_held_by")

    def __init__(self) -> None:
        self._flow: Flow | None = None
        self._held_by: set[object] | None = None  # made when somebody holds it, which happens to few flows

    def follow(self, flow: Flow | None) -> None:
        """Slows this flow from now on, at once where somebody asks for it."""
        self._flow = flow
        if flow is not None and self._held_by:
            flow.pause()

    def hold(self, by: object) -> None:
        """Makes the flow wait until all that held it have released it."""
        if not self._held_by and self._flow is not None:
            self._flow.pause()
        if self._held_by is None:
            self._held_by = set()
        self._held_by.add(by)

    def release(self, *by: object) -> None:
        """Lets the flow go on, unless somebody else still holds it."""
        if not self._held_by:
            return
        self._held_by.difference_update(by)
        if not self._held_by and self._flow is not None:
            self._flow.resume()
