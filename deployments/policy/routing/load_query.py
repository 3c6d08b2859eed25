"""The query with which a gateway asks a replica for its load, and in which it tells the replica what other gateways should know.

Decides how it is written and read. A gateway or replica of another release may leave fields out, or add some: what is missing is empty.
"""

import re
from dataclasses import dataclass

#: Of a number that is believed.
_DIGITS = 19
#: Times between two reports that are believed, in seconds.
SHORTEST_S, LONGEST_S = 0.01, 60.0
_SECONDS = re.compile(r"\d{1,6}(\.\d{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class LoadQuery:
    """One question."""

    after: int = 0
    """The gateway has heard of the prompts up to this number; 0 asks for all that are kept."""
    poison: str = ""
    """The requests that the gateway refuses, as `routing.poison` writes them."""
    every_s: float = 0.0
    """The gateway follows the replica: it wants a stream of reports, one so often while the replica has requests. 0: one report, now."""
    quiet_s: float = 0.0
    """Of such a stream, seconds between two words of an idle replica."""


def written(query: LoadQuery) -> bytes:
    """The query of a request for `/-/load`. `after` is first and `poison` last: replicas of earlier releases read them by their place."""
    poison = f"&poison={query.poison}" if query.poison else ""
    follows = f"&every={query.every_s:g}&quiet={query.quiet_s:g}" if query.every_s else ""
    return f"after={query.after}{follows}{poison}".encode("ascii")


def read(query: bytes) -> LoadQuery:
    """Reads a query. Nonsense is read as if it were not there."""
    fields = dict(field.partition("=")[::2] for field in query.decode("ascii", "replace").split("&"))
    after = fields.get("after", "")
    every_s = _seconds(fields.get("every", ""))
    return LoadQuery(
        int(after) if after.isdecimal() and len(after) < _DIGITS else 0,
        fields.get("poison", ""),
        every_s,
        max(every_s, _seconds(fields.get("quiet", ""))) if every_s else 0.0,
    )


def _seconds(text: str) -> float:
    """Reads a time within what is sensible, rounded to it; 0 where there is none."""
    found = _SECONDS.fullmatch(text)
    seconds = float(found[0]) if found else 0.0
    return min(max(SHORTEST_S, seconds), LONGEST_S) if seconds else 0.0
