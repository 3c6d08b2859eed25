"""The bodies that a gateway holds, in bytes: of all requests together no more than the config says.

Decides that a request which would be too much is refused while it arrives. A body counts as it arrives, so that a client which announces
much and sends nothing takes no room from others, and until its request has ended.
"""

from types import TracebackType

from deployments.policy.absence import RETRY_AFTER_S
from deployments.policy.bounds import MIB
from deployments.policy.errors import Unavailable


class Bodies:
    """All bodies of one gateway."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes now."""

    def grow(self, size: int) -> None:
        """Counts bytes that came, or that went where it is below nought."""
        self.held += size

    def one(self, limit_mib: float) -> "Body":
        """The next request's body, to be used in a `with`."""
        return Body(self, int(limit_mib * MIB))


class Body:
    """One request's part of it."""

    __slots__ = ("_all", "_limit", "_size")

    def __init__(self, bodies: Bodies, limit: int) -> None:
        self._all = bodies
        self._limit = limit
        self._size = 0

    def add(self, size: int) -> None:
        """Counts bytes that have arrived.

        Raises:
            Unavailable: they are more than this gateway may hold.
        """
        if self._all.held + size > self._limit:
            raise Unavailable(
                "This server holds as many request bodies as it may. Try again later.", code="bodies_full", retry_after_s=RETRY_AFTER_S
            )
        self._all.grow(size)
        self._size += size

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._all.grow(-self._size)
