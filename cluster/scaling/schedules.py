"""Floors by the clock: "weekdays 08:00-18:00, at least 6", in a time zone.

A schedule leads: its floor holds from one start time before it begins, so that its replicas are ready when it does. Where clocks are put
forward or back, it begins at the first of two equal times and ends at the last, and at a time that does not exist it begins as late as the
clock is put forward.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import combinations
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
GROUPS = {"daily": range(7), "weekdays": range(5), "weekends": range(5, 7)}
#: Days that are looked at for overlaps: a year, with each change of the clocks.
YEAR_DAYS = 366


@dataclass(frozen=True, slots=True)
class Schedule:
    """A floor of a model's replicas during some hours of some days."""

    text: str
    """As the operator wrote it."""
    days: frozenset[int]
    """On which it begins; Monday is 0."""
    begins: time
    ends: time
    """On the next day where it is not after `begins`."""
    zone: ZoneInfo
    least: int

    def hours(self, day: date) -> tuple[float, float]:
        """Returns seconds since 1970 at which the hours that begin on a day begin and end."""
        last = day if self.ends > self.begins else day + timedelta(days=1)
        begins = datetime.combine(day, self.begins, self.zone)
        ends = datetime.combine(last, self.ends, self.zone).replace(fold=1)
        return begins.timestamp(), ends.timestamp()


def schedule(text: str, zone: str, least: int) -> Schedule:
    """Reads "weekdays 08:00-18:00"; also daily, weekends, mon, mon-fri, sat,sun. Hours over midnight are written 22:00-06:00.

    Raises:
        ValueError: the text is no schedule, or the zone is none of IANA's (https://www.iana.org/time-zones).
    """
    match = re.fullmatch(r"\s*(\S+)\s+(\d\d?:\d\d)\s*-\s*(\d\d?:\d\d)\s*", text.lower())
    if match is None:
        raise ValueError(f"{text!r} is no schedule; write days and hours, such as 'weekdays 08:00-18:00' or 'sat,sun 22:00-06:00'")
    try:
        place = ZoneInfo(zone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{zone!r} is no time zone; write one of IANA's, such as 'Europe/Berlin' or 'UTC'") from error
    begins, ends = _hour(match[2], text), _hour(match[3], text)
    return Schedule(text.strip(), frozenset(_days(match[1], text)), begins, ends, place, least)


def _hour(text: str, whole: str) -> time:
    hours, minutes = (int(part) for part in text.split(":"))
    if hours == 24 and minutes == 0:
        return time(0)
    if hours > 23 or minutes > 59:
        raise ValueError(f"{text} in {whole!r} is no time of day; write 00:00 to 24:00")
    return time(hours, minutes)


def _days(text: str, whole: str) -> Iterator[int]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if part in GROUPS:
            yield from GROUPS[part]
        elif first in DAYS and (last in DAYS if dash else not last):
            begin = DAYS.index(first)
            length = (DAYS.index(last) - begin) % 7 + 1 if dash else 1
            yield from ((begin + day) % 7 for day in range(length))
        else:
            raise ValueError(f"{part!r} in {whole!r} names no day; write daily, weekdays, weekends, mon, mon-fri or sat,sun")


def floor(schedules: Sequence[Schedule], now_s: float, lead_s: float) -> Schedule | None:
    """Returns the schedule with the highest floor among those that hold now or begin within `lead_s` seconds; None where none does.

    `now_s` is in seconds since 1970.
    """
    holding = (one for one in schedules if any(begin - lead_s <= now_s < end for begin, end in _near(one, now_s, lead_s)))
    return max(holding, key=lambda one: one.least, default=None)


def _near(one: Schedule, now_s: float, lead_s: float) -> Iterator[tuple[float, float]]:
    """Yields the hours that may hold now: those of yesterday, of today, and of as many days as the lead reaches into."""
    today = datetime.fromtimestamp(now_s, one.zone).date()
    last = datetime.fromtimestamp(now_s + lead_s, one.zone).date()
    for ahead in range(-1, (last - today).days + 1):
        day = today + timedelta(days=ahead)
        if day.weekday() in one.days:
            yield one.hours(day)


def overlap(schedules: Sequence[Schedule], first_day: date) -> str:
    """Returns a sentence on two schedules that hold at the same time within a year of a day, or an empty string."""
    days = [first_day + timedelta(days=ahead) for ahead in range(YEAR_DAYS)]
    hours = [[one.hours(day) for day in days if day.weekday() in one.days] for one in schedules]
    for (one, own), (other, others) in combinations(zip(schedules, hours, strict=True), 2):
        when = _meet(own, others)
        if when is not None:
            at = datetime.fromtimestamp(when, one.zone)
            return (
                f"the schedules {one.text!r} ({one.zone.key}, at least {one.least}) and {other.text!r} ({other.zone.key}, at least"
                f" {other.least}) overlap, for the first time at {at:%Y-%m-%d %H:%M}; end one before the other begins"
            )
    return ""


def _meet(own: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]) -> float | None:
    """The first second that is in hours of both; each list is in order of time."""
    mine, yours = iter(own), iter(others)
    a, b = next(mine, None), next(yours, None)
    while a is not None and b is not None:
        begin = max(a[0], b[0])
        if begin < min(a[1], b[1]):
            return begin
        if a[1] <= b[1]:
            a = next(mine, None)
        else:
            b = next(yours, None)
    return None
