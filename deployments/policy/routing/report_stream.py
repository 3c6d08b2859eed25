"""The stream of reports with which a replica answers a gateway that follows it: how often it speaks, what it says, and when it is late.

A report is a line of JSON. The first line of a stream has everything, each later one has the fields that differ from the line before, and
a line with nothing in it says that nothing has changed. A replica with requests speaks at every tick, an idle one seldom. Both sides
agree on the ticks, because the gateway names them when it begins to follow.

A gateway hears so many lines a second at most, however many replicas it follows: with more replicas the ticks are further apart. A line
that says nothing takes it about 50 µs, most of which is to wake up, and a report about 90: `MOST_PER_S` of them are below 2 % of a core.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployments.policy.routing.load_query import LONGEST_S, SHORTEST_S
from deployments.policy.routing.policies import WARM_S
from deployments.policy.routing.replica_report import SUSPECTED_AFTER

#: Says that nothing has changed.
NOTHING_NEW = b"\n"
#: An idle replica speaks this often, in seconds.
HEARTBEAT_S = 1.0
#: Lines that one gateway hears in a second, at most.
MOST_PER_S = 200
#: Seconds since the replica became ready. It grows all the time, and is news only while routing looks at it.
AGE = "ready_s"
#: Which of the replica's readings it is; each has another one.
NUMBER = "number"
#: A tick comes early by less than this part of it where a clock rounds.
_EARLY = 0.1


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a replica speaks to a gateway, in seconds."""

    period_s: float
    """`gateway.load_period_s`; a word that is late by this has been missed."""
    every_s: float
    """Between two words of a replica that has requests."""
    quiet_s: float
    """Between two words of an idle one."""


def pace(period_s: float, replicas: int) -> Pace:
    """Decides how often each of so many replicas speaks.

    The number is rounded up to a power of two, so that a replica that comes or goes seldom changes it for all the others.
    """
    many = 1 << max(0, replicas - 1).bit_length()
    every_s = min(LONGEST_S, max(SHORTEST_S, period_s, many / MOST_PER_S))
    return Pace(period_s, every_s, max(HEARTBEAT_S, every_s))


def patience_s(expected_s: float, period_s: float) -> float:
    """Returns the seconds of silence after which a replica is suspected whose next word is expected within `expected_s`.

    The first word is missed when it is late by a period: one that speaks every period is suspected after `SUSPECTED_AFTER` of them.
    """
    return expected_s + (SUSPECTED_AFTER - 1) * period_s


def changes(told: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a reading that differ from what was told."""
    return {name: value for name, value in now.items() if name not in told or told[name] != value}


def is_news(told: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Tells whether a reading differs from what was told by more than its number and age; while a replica is young, its age is news too."""
    return bool(changes(told, now).keys() - {AGE, NUMBER}) or told.get(AGE, math.inf) < WARM_S


def until_tick(now_s: float, every_s: float) -> float:
    """Returns the seconds until the next tick. All who speak equally often tick together, so that they share one reading."""
    left = every_s - now_s % every_s
    return left if left > every_s * _EARLY else left + every_s


def is_due(silent_s: float, pace: Pace) -> bool:
    """Tells at a tick whether an idle replica must speak now, because at the next tick it would be late."""
    return silent_s + pace.every_s > pace.quiet_s * (1 + _EARLY / 2)
