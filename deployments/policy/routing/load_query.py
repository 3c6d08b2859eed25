"""The query with which a gateway asks a replica for its load, and in which it tells the replica what other gateways should know.

Decides how it is written and read. A gateway or replica of another release may leave fields out, or add some: what is missing is empty.
"""

from dataclasses import dataclass

#: Of a number that is believed.
_DIGITS = 19


@dataclass(frozen=True, slots=True)
class LoadQuery:
    """One question."""

    after: int = 0
    """The gateway has heard of the prompts up to this number; 0 asks for all that are kept."""
    waiting: str = ""
    """Requests that wait at the gateway for the model, as `queue.demand` writes them."""
    poison: str = ""
    """The requests that the gateway refuses, as `routing.poison` writes them."""


def written(query: LoadQuery) -> bytes:
    """The query of a request for `/-/load`. `after` is first and `poison` last: replicas of earlier releases read them by their place."""
    waiting = f"&waiting={query.waiting}" if query.waiting else ""
    poison = f"&poison={query.poison}" if query.poison else ""
    return f"after={query.after}{waiting}{poison}".encode("ascii")


def read(query: bytes) -> LoadQuery:
    """Reads a query. Nonsense is read as if it were not there."""
    fields = dict(field.partition("=")[::2] for field in query.decode("ascii", "replace").split("&"))
    after = fields.get("after", "")
    return LoadQuery(int(after) if after.isdecimal() and len(after) < _DIGITS else 0, fields.get("waiting", ""), fields.get("poison", ""))
