"""Requests that were refused lately, so that a client that comes again is not counted as another request.

Decides by the beginning, the end and the length of a request's body: clients' libraries send the same bytes again. Two clients that send
the same are not told apart, but each refusal makes up for one return only. Nothing is looked at while nobody has been refused.
"""

import zlib

#: Refused requests that are remembered.
MOST_KEPT = 10_000
#: So long after it was told to come again a client may still do so, in seconds.
LATE_S = 15.0
#: Between two looks for those whose time is over, in seconds: a look at all of them takes 7 ms, and a flood refuses a thousand a second.
LOOKS_S = 1.0
#: Bytes at the beginning and at the end of a body that are looked at.
LOOKED_AT = 16 << 10


class Returns:
    """The requests of one model that were refused."""

    def __init__(self) -> None:
        self._until_s: dict[int, list[float]] = {}
        self._count = 0
        self._looked_s = float("-inf")

    def refused(self, body: bytes, now_s: float, retry_after_s: float) -> None:
        """Remembers a request whose client was told to come again after so many seconds."""
        if self._count >= MOST_KEPT and not 0 <= now_s - self._looked_s < LOOKS_S:  # a clock may be put back
            self._looked_s = now_s
            self._forget(now_s)
        if self._count < MOST_KEPT:
            self._until_s.setdefault(_print_of(body), []).append(now_s + retry_after_s + LATE_S)
            self._count += 1

    def is_one(self, body: bytes, now_s: float) -> bool:
        """Tells whether a request was refused a while ago; it is forgotten then, as its client has come."""
        if not self._until_s:
            return False
        known = self._until_s.pop(key := _print_of(body), [])
        alive = [until for until in known if until > now_s]
        self._count -= len(known) - len(alive[1:])
        if alive[1:]:
            self._until_s[key] = alive[1:]
        return bool(alive)

    def _forget(self, now_s: float) -> None:
        left = {key: [until for until in times if until > now_s] for key, times in self._until_s.items()}
        self._until_s = {key: times for key, times in left.items() if times}
        self._count = sum(map(len, self._until_s.values()))


def _print_of(body: bytes) -> int:
    return zlib.crc32(body[:LOOKED_AT]) << 64 | zlib.crc32(body[-LOOKED_AT:]) << 32 | len(body) & 0xFFFFFFFF
