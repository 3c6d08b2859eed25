"""Requests under which engines died: which of them is asked once more, and which is refused.

Decides from deaths. When an engine dies, every request that it had is a suspect, and nearly all of them are innocent. A suspect is asked of
one more replica. It is condemned if that one dies as well before it has answered anything, and no other suspect was there. If others were,
it cannot be known which of them did it: then it is refused for now, and condemned at the next death. One that is answered is innocent.

The memory is short and small, and holds digests, not requests. What is condemned is told to other gateways through the replicas.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

#: How long a death is remembered, and how many requests are.
KEPT_S, MOST_KEPT = 600.0, 1024
#: Condemned requests that are told to others at once: 64 are about 3 KB of a query.
MOST_TOLD = 64
#: Deaths under one request: with the second it is not asked again, with the third it is condemned whoever else was there.
DEATHS, DEATHS_IN_COMPANY = 2, 3


@dataclass(frozen=True, slots=True)
class _Known:
    until_s: float
    deaths: frozenset[str] = frozenset()
    """The replicas that died under it."""
    condemned: bool = False
    innocent: bool = False


_UNKNOWN = _Known(0.0)


class Trial:
    """A suspect at a replica."""

    __slots__ = ("alone", "replica")

    def __init__(self, replica: str) -> None:
        self.replica = replica
        self.alone = True
        """No other suspect has been at the replica meanwhile."""


class Poison:
    """A gateway's memory of deaths. Times are seconds of any one clock."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._trials: dict[str, list[Trial]] = {}

    def __bool__(self) -> bool:
        """Anything is remembered; else no request need be looked up."""
        return bool(self._known)

    def is_condemned(self, digest: str, now_s: float) -> bool:
        """Whether a request is to be refused at once."""
        return self._of(digest, now_s).condemned

    def deaths(self, digest: str, now_s: float) -> int:
        """How many engines died under a request; 0 for one that is known to be innocent."""
        known = self._of(digest, now_s)
        return 0 if known.innocent else len(known.deaths)

    def trial(self, replica: str) -> Trial:
        """A suspect goes to a replica; to be given to `tried` when it has left."""
        trial, others = Trial(replica), self._trials.setdefault(replica, [])
        trial.alone = not others
        for other in others:
            other.alone = False
        others.append(trial)
        return trial

    def tried(self, trial: Trial) -> None:
        """A suspect has left its replica."""
        others = self._trials[trial.replica]
        others.remove(trial)
        if not others:
            del self._trials[trial.replica]

    def died(self, digest: str, replica: str, alone: bool, now_s: float) -> None:
        """A replica has died under a request that it had answered nothing of."""
        known = self._of(digest, now_s)
        deaths = known.deaths | {replica}
        enough = len(deaths) >= (DEATHS if alone else DEATHS_IN_COMPANY)
        condemned = known.condemned or (enough and not known.innocent)
        self._keep(digest, _Known(now_s + KEPT_S, deaths, condemned, known.innocent))

    def answered(self, digest: str, now_s: float) -> None:
        """A request under which an engine died has been answered elsewhere: it was not the cause."""
        known = self._of(digest, now_s)
        if known is not _UNKNOWN:
            self._keep(digest, replace(known, innocent=True, condemned=False))

    def told(self, now_s: float) -> dict[str, int]:
        """The condemned requests, with whole seconds for which they are refused yet."""
        condemned = [(digest, int(known.until_s - now_s)) for digest, known in self._known.items() if known.condemned]
        return dict([(digest, left_s) for digest, left_s in condemned if left_s > 0][-MOST_TOLD:])

    def learn(self, told: Mapping[str, int], now_s: float) -> None:
        """Another gateway has condemned these. A time is never prolonged by hearing of it again."""
        for digest, left_s in told.items():
            if self._of(digest, now_s) is _UNKNOWN and left_s > 0:
                self._keep(digest, _Known(now_s + min(left_s, KEPT_S), condemned=True))

    def _of(self, digest: str, now_s: float) -> _Known:
        known = self._known.get(digest, _UNKNOWN)
        if known is not _UNKNOWN and known.until_s <= now_s:
            del self._known[digest]
            return _UNKNOWN
        return known

    def _keep(self, digest: str, known: _Known) -> None:
        self._known.pop(digest, None)
        self._known[digest] = known
        while len(self._known) > MOST_KEPT:
            del self._known[next(iter(self._known))]


def digest_of(path: str, body: bytes) -> str:
    """What a request is known by, as its client sent it: 32 hexadecimal digits."""
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
