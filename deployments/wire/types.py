"""The types that both sides of the wire share."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[bytes, bytes]]


class Flow(Protocol):
    """A flow of bytes that is slowed down when its reader does not keep up."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


class Address(NamedTuple):
    """Where an engine replica listens. A tuple, because one is made per request."""

    host: str
    port: int
