"""The types that both sides of the wire share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]


class Flow(Protocol):
    """What is slowed down when who takes it does not keep up."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine replica listens."""

    host: str
    port: int
