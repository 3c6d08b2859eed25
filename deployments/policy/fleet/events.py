"""Events of a herd: starts, deaths, scalings, rollouts, drains, each with the person or process that caused it.

Decides what an event is, how it is written down, and in which order events stand. Where they are kept is `deployments.records.event_log`'s.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

#: The name of an event's key begins so; the rest is its time and a part of its own, so that several writers never meet.
BEGINNING = "event/"
#: Events that are kept. The oldest go first.
MOST_KEPT = 1000
#: So many more may stand before the oldest are removed, so that not every event has to remove one.
SLACK = 100
MOST_CHARACTERS = 600
#: A node that several gateways of it have drained within so many seconds has been drained once.
TOGETHER_S = 600.0


class Kind(StrEnum):
    """One word for what happened."""

    CHANGE = "change"
    """An operator began a change of the herd, or ended one."""
    STEP = "step"
    """A step of a change began."""
    UP = "up"
    """Every model has answered."""
    ROLLBACK = "rollback"
    """The herd that last was up was declared again."""
    DOWN = "down"
    SCALE = "scale"
    """The number of replicas that a model should have changed."""
    START = "start"
    """A replica began to start."""
    READY = "ready"
    """A replica takes requests."""
    STOP = "stop"
    """A replica stopped as it was told to."""
    DEATH = "death"
    """A replica ended by itself, or was killed."""
    SICK = "sick"
    """A canary has put a replica out."""
    DRAIN = "drain"
    """A node gets no new work and is left."""
    FAILED = "failed"
    """A replica could not start, or a change did not come up."""


#: What happens to a replica once.
_ONCE = frozenset({Kind.START, Kind.READY, Kind.STOP, Kind.DEATH, Kind.SICK, Kind.FAILED})
#: Ends of a replica that it tells itself. What a gateway sees then, that it is gone, is no death.
_NO_DEATH = (Kind.STOP, Kind.FAILED)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    when: float
    """Seconds since 1970."""
    kind: str
    """A `Kind`, or the word of another release."""
    words: str
    """A sentence without a full stop."""
    model: str = ""
    """The id of a model; empty where it is about the whole herd or a node."""
    subject: str = ""
    """The replica, node or release that it is about."""
    who: str = ""
    """`user@host` of an operator, or `gateway`, `engine`."""


def is_by_an_operator(event: Event) -> bool:
    """Tells whether a person did it, by a command."""
    return "@" in event.who


def key(when: float, own: str) -> str:
    """Returns the name under which an event is kept: names sort by time.

    Args:
        when: seconds since 1970.
        own: a part that no other event has.
    """
    return f"{BEGINNING}{max(0, int(when * 1e6)):018d}-{own}"


def own_part(event: Event) -> str | None:
    """Returns the end of an event's key where it happens to its subject once, so that of several writers the first is kept; else None."""
    return f"{event.kind}-{event.subject}" if event.kind in _ONCE and event.subject else None


def is_known(event: Event, keys: Sequence[str]) -> bool:
    """Tells whether an event is kept already, told by another process; a replica that has said that it stops does not die afterwards."""
    if own_part(event) is None:
        return False
    kinds = (event.kind, *_NO_DEATH) if event.kind == Kind.DEATH else (event.kind,)
    ends = tuple(f"-{kind}-{event.subject}" for kind in kinds)
    return any(name.startswith(BEGINNING) and name.endswith(ends) for name in keys)


def settled(found: Sequence[Event]) -> list[Event]:
    """Returns events without those that several processes have told at the same moment, in their order."""
    ended = {event.subject for event in found if event.kind in _NO_DEATH}
    last: dict[tuple[str, str], float] = {}
    kept = []
    for event in found:
        if event.subject and event.kind in {*_ONCE, Kind.DRAIN}:
            before = last.get((event.kind, event.subject))
            last[event.kind, event.subject] = event.when
            if before is not None and (event.kind != Kind.DRAIN or event.when - before < TOGETHER_S):
                continue
            if event.kind == Kind.DEATH and event.subject in ended:
                continue
        kept.append(event)
    return kept


def wanted(keys: Sequence[str], since: float) -> list[str]:
    """Returns the names of the events since a time, oldest first."""
    first = key(since, "")
    return sorted(name for name in keys if name.startswith(BEGINNING) and name >= first)


def too_many(keys: Sequence[str]) -> list[str]:
    """Returns the names of the events to remove: the oldest, once there are clearly more than are kept."""
    known = sorted(name for name in keys if name.startswith(BEGINNING))
    return known[: len(known) - MOST_KEPT] if len(known) > MOST_KEPT + SLACK else []


def written(event: Event) -> str:
    """Writes an event as a line of JSON; its texts are cut to `MOST_CHARACTERS`, and on one line."""
    plain = asdict(event)
    return json.dumps({name: _tidy(value) if isinstance(value, str) else value for name, value in plain.items()})


def read(text: str) -> Event | None:
    """Reads an event; None where it is none. Fields of another release are left out."""
    try:
        plain: Mapping[str, Any] = json.loads(text)
        known = {one.name for one in fields(Event)}
        texts = {name: str(value) for name, value in plain.items() if name in known and name != "when"}
        return Event(when=float(plain["when"]), **texts)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _tidy(text: str) -> str:
    """Takes out what a terminal would act on, line breaks too, and cuts the text."""
    flat = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).strip()
    return flat if len(flat) <= MOST_CHARACTERS else f"{flat[: MOST_CHARACTERS - 1]}…"
