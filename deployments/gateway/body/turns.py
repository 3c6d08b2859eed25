"""Turns of the event loop, given to all other requests while one large body is worked at."""

import asyncio

#: Bytes between two turns: at most a few milliseconds of work.
BYTES = 1 << 20
#: What a value costs beside its bytes.
VALUE = 1 << 10


class Turns:
    """Counts work, and lets the others have their turn when enough of it is done."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = BYTES

    async def worked(self, size: int) -> None:
        """Counts one value of so many bytes."""
        self._left -= size + VALUE
        if self._left < 0:
            self._left = BYTES
            await asyncio.sleep(0)
