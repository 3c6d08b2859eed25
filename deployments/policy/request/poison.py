"""Requests under which engines died: which of them is asked once more, and which is refused.

Decides from deaths. When an engine dies, every request that it had is a suspect, and nearly all of them are innocent. A suspect is on
trial: it is asked of one more replica. It is condemned if that one dies as well before it has answered anything, and had no other request.
If it had others, from this gateway or by its last report, nobody can tell which of them did it, and the suspect is told to come again. The
third death in company condemns it too: a request that always has company would else end engines for ever.

A death counts only if the request went to the replica after the death that counted before. So identical requests that a whole node takes
with it have seen one death, however many replicas it had. An answer to any of them is the end of the suspicion, also for those that follow.
An innocent body is condemned only if it meets three deaths one after the other, or two of which the last was its own replica's alone, and
no answer between them. What another gateway has sent since a replica's last report (a fifth of a second) cannot be seen.

The memory is short and small, and holds digests, not requests. What is condemned is told to other gateways through the replicas.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

#: How long a death is remembered, and how many requests are.
KEPT_S, MOST_KEPT = 600.0, 1024
#: Condemned requests that are told to others at once: 64 are about 3 KB of a query.
MOST_TOLD = 64
#: Engines that may die under a request each time that it is sent, and deaths that condemn its digest whoever else was there.
DEATHS, DEATHS_IN_COMPANY = 2, 3


@dataclass(frozen=True, slots=True)
class _Known:
    until_s: float
    deaths: frozenset[str] = frozenset()
    """The replicas whose deaths count."""
    last_s: float = float("-inf")
    """The time of the last death that counts."""
    condemned: bool = False
    innocent: bool = False


_UNKNOWN = _Known(0.0)


@dataclass(frozen=True, slots=True)
class Death:
    """The death of a replica that had answered nothing of a request."""

    replica: str
    sent_s: float
    """When the request went there."""
    now_s: float
    alone: bool
    """The replica had no other request, as far as can be told."""


class Poison:
    """A gateway's memory of deaths. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._next_s = float("inf")
        """Nothing expires before."""

    def __bool__(self) -> bool:
        """Anything is remembered; else no request need be looked up."""
        return bool(self._known)

    def is_condemned(self, digest: str, now_s: float) -> bool:
        """Whether a request is to be refused at once."""
        return self._of(digest, now_s).condemned

    def deaths(self, digest: str, now_s: float) -> int:
        """Deaths that count against a request; 0 for one that is known to be innocent."""
        known = self._of(digest, now_s)
        return 0 if known.innocent else len(known.deaths)

    def died(self, digest: str, death: Death) -> None:
        """A replica has died under a request. Does nothing where this death, or one since the request was sent, counts already."""
        known = self._of(digest, death.now_s)
        if death.replica in known.deaths or death.sent_s < known.last_s:
            return
        deaths = known.deaths | {death.replica}
        enough = len(deaths) >= (DEATHS if death.alone else DEATHS_IN_COMPANY)
        condemned = known.condemned or (enough and not known.innocent)
        self._keep(digest, _Known(death.now_s + KEPT_S, deaths, death.now_s, condemned, known.innocent), death.now_s)

    def answered(self, digest: str, now_s: float) -> None:
        """A request under which an engine died has been answered elsewhere: it was not the cause."""
        known = self._of(digest, now_s)
        if known is not _UNKNOWN:
            self._keep(digest, replace(known, innocent=True, condemned=False), now_s)

    def told(self, now_s: float) -> dict[str, int]:
        """The condemned requests, with whole seconds for which they are refused yet."""
        self._forget(now_s)
        condemned = [(digest, int(known.until_s - now_s)) for digest, known in self._known.items() if known.condemned]
        return dict([(digest, left_s) for digest, left_s in condemned if left_s > 0][-MOST_TOLD:])

    def learn(self, told: Mapping[str, int], now_s: float) -> None:
        """Another gateway has condemned these. A time is never prolonged by hearing of it again."""
        for digest, left_s in told.items():
            if self._of(digest, now_s) is _UNKNOWN and left_s > 0:
                self._keep(digest, _Known(now_s + min(left_s, KEPT_S), condemned=True), now_s)

    def _of(self, digest: str, now_s: float) -> _Known:
        self._forget(now_s)
        return self._known.get(digest, _UNKNOWN)

    def _forget(self, now_s: float) -> None:
        """Drops what has expired. Costs a comparison unless something has."""
        if now_s >= self._next_s:
            self._known = {digest: known for digest, known in self._known.items() if known.until_s > now_s}
            self._next_s = min((known.until_s for known in self._known.values()), default=float("inf"))

    def _keep(self, digest: str, known: _Known, now_s: float) -> None:
        self._forget(now_s)
        self._known.pop(digest, None)
        self._known[digest] = known
        self._next_s = min(self._next_s, known.until_s)
        while len(self._known) > MOST_KEPT:
            del self._known[next(iter(self._known))]


def digest_of(path: str, body: bytes) -> str:
    """Returns the mark of a request, as its client sent it: 32 hexadecimal digits."""
    digest = blake2b(path.encode(), digest_size=16)
    digest.update(b"\0")
    digest.update(body)
    return digest.hexdigest()


def written(told: Mapping[str, int]) -> str:
    """Condemned requests as text: `DIGEST.SECONDS`, separated by commas."""
    return ",".join(f"{digest}.{left_s}" for digest, left_s in told.items())


def read(text: str) -> dict[str, int]:
    """Condemned requests from text; what nobody of this release has written is left out."""
    return dict(_pairs(text.split(",")[:MOST_TOLD]))


def _pairs(parts: Iterable[str]) -> Iterable[tuple[str, int]]:
    for part in parts:
        digest, _, left_s = part.partition(".")
        if len(digest) == 32 and digest.isalnum() and digest.isascii() and left_s.isdigit() and len(left_s) < 6:
            yield digest, int(left_s)
