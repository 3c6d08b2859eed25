"""Every replica of a model as an operator sees it: what a gateway's page, Ray Serve and the starts that are kept say of it, in one row.

Decides whose word counts: a gateway's where it knows the replica, because Ray Serve goes on calling one healthy whose engine is dead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.policy.records import starts
from deployments.policy.records.starts import Start

PLACING, STARTING, STOPPING = "placing", "starting", "stopping"
#: Ray Serve's words for the states of replicas that no gateway knows.
_WORDS = {"STARTING": STARTING, "UPDATING": STARTING, "RECOVERING": STARTING, "RUNNING": STARTING, "STOPPING": STOPPING}


@dataclass(frozen=True, slots=True)
class Placed:
    """Ray Serve's words about a replica."""

    id: str
    state: str
    node: str
    began: float | None


@dataclass(frozen=True, slots=True)
class Seat:
    """A replica, and what is known of it; None and empty: not known."""

    replica: str
    state: str
    """`placing`, `starting`, `ready`, `leaving`, `sick`, `dead`, `stopping`."""
    node: str = ""
    gpus: int | None = None
    release: str = ""
    since: float | None = None
    """When it became ready, or its start began, in seconds since 1970."""
    ongoing: int = 0
    waiting: int = 0
    """Of the requests in it, those that its scheduler has not begun."""
    canary: str = ""
    slow: bool = False
    start: Start | None = None
    """Its start, while that goes on."""


def seats(page: Sequence[Mapping[str, Any]], placed: Sequence[Placed], known: Sequence[Start], now: float) -> tuple[Seat, ...]:
    """Returns a row for each replica.

    Args:
        page: what a gateway's page says of the replicas that it knows.
        placed: what Ray Serve says; empty where it was not asked.
        known: starts of the model that are kept.
        now: seconds since 1970.
    """
    begun = {start.replica: start for start in known}
    rows = {one["id"]: _of_page(one, begun.get(one["id"]), now) for one in page}
    for one in placed:
        if one.id not in rows:
            rows[one.id] = _of_serve(one, begun.get(one.id))
    return tuple(rows.values())


def _of_page(one: Mapping[str, Any], start: Start | None, now: float) -> Seat:
    about, ready_s = one.get("about") or {}, one.get("ready_s")
    return Seat(
        replica=one["id"],
        state=one["state"],
        node=str(one.get("address", "")).rpartition(":")[0],
        gpus=about.get("gpus"),
        release=about.get("release", start.release if start else ""),
        since=None if ready_s is None else now - ready_s,
        ongoing=one["ongoing"],
        waiting=one.get("waiting", 0),
        canary=one.get("canary", ""),
        slow=one.get("slow", False),
    )


def _of_serve(one: Placed, start: Start | None) -> Seat:
    state = _WORDS.get(one.state, one.state.lower())
    if state == STARTING and not one.node:
        state = PLACING
    going = start if start is not None and not start.outcome else None
    began = start.began if start is not None else one.began
    return Seat(one.id, state, one.node or (start.node if start else ""), release=start.release if start else "", since=began, start=going)


def lost(known: Sequence[Start], rows: Sequence[Seat]) -> list[Start]:
    """Returns the starts that have ended without a word: their replicas are gone, and neither came up nor said why."""
    there = {row.replica for row in rows}
    return [start for start in known if not start.outcome and start.replica not in there]


def failures(known: Sequence[Start], rows: Sequence[Seat], since: float) -> list[Start]:
    """Returns the starts that failed or were lost since a time, oldest first."""
    gone = set(lost(known, rows))
    return [start for start in known if start.began >= since and (start.outcome == starts.FAILED or start in gone)]
