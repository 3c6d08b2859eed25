"""The bodies that a gateway holds, in bytes: of all requests together no more than the config says.

Decides that a request which would be too much is refused while it arrives. A body counts as it arrives, so that a client which announces
much and sends nothing takes no room from others, and until its request has ended.

One client must not take the room of all others. So a small body always has room: connections are bounded, and with them what small bodies
take. And the last quarter of the budget is for clients' addresses that hold less than a quarter of it. No address is bounded to its share
alone: behind a proxy all clients are one address, which may hold three quarters.
"""

from collections import Counter
from types import TracebackType

from deployments.policy.body.bounds import MIB
from deployments.policy.errors.client_errors import Unavailable
from deployments.policy.routing.availability import RETRY_AFTER_S

#: Bytes of each body that are not counted, and never refused.
SMALL = 64 << 10
#: The part of the budget that is kept for addresses which hold less than that.
SHARE = 0.25


class Bodies:
    """All bodies of one gateway."""

    def __init__(self) -> None:
        self.held = 0
        """Bytes now, without each body's first `SMALL`."""
        self._of: Counter[str] = Counter()
        """The same by the clients' addresses."""

    def may_grow(self, address: str, size: int, limit: int) -> bool:
        """Whether a client at an address may hold so many bytes more."""
        share = int(limit * SHARE)
        kept_for_others = share if self._of[address] + size > share else 0
        return self.held + size <= limit - kept_for_others

    def grow(self, address: str, size: int) -> None:
        """Counts bytes that came, or that went where it is below nought."""
        self.held += size
        self._of[address] += size
        if not self._of[address]:
            del self._of[address]

    def one(self, limit_mib: float, address: str) -> "Body":
        """The next request's body, of a client at an address, to be used in a `with`."""
        return Body(self, int(limit_mib * MIB), address)


class Body:
    """One request's part of it."""

    __slots__ = ("_address", "_all", "_counted", "_limit", "_size")

    def __init__(self, bodies: Bodies, limit: int, address: str) -> None:
        self._all = bodies
        self._limit = limit
        self._address = address
        self._size = self._counted = 0

    def add(self, size: int) -> None:
        """Counts bytes that have arrived.

        Raises:
            Unavailable: they are more than this gateway may hold.
        """
        self._size += size
        if self._size <= SMALL:
            return
        more = self._size - SMALL - self._counted
        if not self._all.may_grow(self._address, more, self._limit):
            raise Unavailable(
                "This server holds as many request bodies as it may. Try again later.", code="bodies_full", retry_after_s=RETRY_AFTER_S
            )
        self._all.grow(self._address, more)
        self._counted += more

    def __enter__(self) -> "Body":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._counted:
            self._all.grow(self._address, -self._counted)
