"""`cluster.scaling.schedules`: days, hours, zones, changes of the clock, overlaps."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest

from cluster.scaling.schedules import floor, overlap, schedule

OFFICE = schedule("weekdays 08:00-18:00", "Europe/Berlin", 6)
NEW_YEAR = date(2026, 1, 1)


def at(text: str) -> float:
    """Seconds since 1970 of a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ("2026-03-27 06:59", False),  # Friday, winter: 07:59 in Berlin
        ("2026-03-27 07:00", True),
        ("2026-03-27 16:59", True),
        ("2026-03-27 17:00", False),
        ("2026-03-28 09:00", False),  # Saturday
        ("2026-03-30 05:59", False),  # Monday, summer: 07:59 in Berlin
        ("2026-03-30 06:00", True),
        ("2026-03-30 16:00", False),
    ],
)
def test_hours_are_local_ones_in_winter_and_in_summer(when: str, holds: bool) -> None:
    assert (floor([OFFICE], at(when), 0) is OFFICE) == holds


@pytest.mark.parametrize(("when", "holds"), [("2026-03-27 06:54", False), ("2026-03-27 06:56", True), ("2026-03-29 22:01", False)])
def test_floor_holds_one_start_time_before_it_begins(when: str, holds: bool) -> None:
    assert (floor([OFFICE], at(when), 300) is OFFICE) == holds


def test_lead_may_reach_over_midnight_and_over_days() -> None:
    early = schedule("mon 00:30-02:00", "UTC", 3)
    assert floor([early], at("2026-03-29 23:50"), 3600) is early
    assert floor([early], at("2026-03-27 01:00"), 3 * 86_400) is early
    assert floor([early], at("2026-03-29 23:00"), 3600) is None


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin() -> None:
    night = schedule("fri 22:00-06:00", "UTC", 4)
    assert floor([night], at("2026-03-28 05:59"), 0) is night
    assert floor([night], at("2026-03-27 05:59"), 0) is None
    assert floor([night], at("2026-03-28 22:30"), 0) is None


def test_time_that_does_not_exist_begins_late_and_one_that_is_twice_lasts_longest() -> None:
    gap, twice = schedule("sun 02:30-04:00", "Europe/Berlin", 2), schedule("sun 01:00-02:30", "Europe/Berlin", 2)
    spring, autumn = date(2026, 3, 29), date(2026, 10, 25)
    assert gap.hours(spring) == (at("2026-03-29 01:30"), at("2026-03-29 02:00")), "03:30 to 04:00 of summer"
    assert twice.hours(autumn) == (at("2026-10-24 23:00"), at("2026-10-25 01:30")), "the second 02:30"
    begins_twice = schedule("sun 02:30-04:00", "Europe/Berlin", 2)
    assert begins_twice.hours(autumn)[0] == at("2026-10-25 00:30"), "the first 02:30"


def test_highest_floor_counts() -> None:
    low, high = schedule("daily 00:00-24:00", "UTC", 2), schedule("daily 10:00-11:00", "UTC", 9)
    assert floor([low, high], at("2026-03-27 10:30"), 0) is high
    assert floor([low, high], at("2026-03-27 12:30"), 0) is low
    assert floor([], at("2026-03-27 12:30"), 0) is None


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("daily 08:00-09:00", range(7)),
        ("weekends 8:00 - 9:00", (5, 6)),
        ("Mon 08:00-09:00", (0,)),
        ("mon,wed,fri 08:00-09:00", (0, 2, 4)),
        ("fri-mon 08:00-09:00", (4, 5, 6, 0)),
        ("weekdays,sun 08:00-09:00", (0, 1, 2, 3, 4, 6)),
    ],
)
def test_days_are_read(text: str, days: tuple[int, ...]) -> None:
    assert schedule(text, "UTC", 1).days == frozenset(days)


@pytest.mark.parametrize(
    ("text", "zone", "says"),
    [
        ("weekdays", "UTC", "'weekdays' is no schedule; write days and hours"),
        ("weekdays 8-18", "UTC", "is no schedule"),
        ("weekdays 08:00-25:00", "UTC", "25:00 in 'weekdays 08:00-25:00' is no time of day"),
        ("weekdays 08:61-09:00", "UTC", "08:61 in"),
        ("workdays 08:00-09:00", "UTC", "'workdays' in 'workdays 08:00-09:00' names no day"),
        ("mon- 08:00-09:00", "UTC", "'mon-' in"),
        ("mon-funday 08:00-09:00", "UTC", "'mon-funday' in"),
        ("weekdays 08:00-09:00", "Europe/Atlantis", "'Europe/Atlantis' is no time zone; write one of IANA's"),
        ("weekdays 08:00-09:00", "../etc", "'../etc' is no time zone"),
        ("weekdays 08:00-09:00", "Europe", "'Europe' is no time zone"),
    ],
)
def test_mistake_is_named(text: str, zone: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        schedule(text, zone, 1)
    assert says in str(raised.value)


def test_overlap_names_both_schedules_and_the_first_moment() -> None:
    noon = schedule("mon,tue 12:00-13:00", "Europe/Berlin", 9)
    found = overlap([OFFICE, schedule("weekends 08:00-18:00", "Europe/Berlin", 2), noon], NEW_YEAR)
    assert "'weekdays 08:00-18:00' (Europe/Berlin, at least 6)" in found
    assert "'mon,tue 12:00-13:00' (Europe/Berlin, at least 9)" in found
    assert "2026-01-05 12:00" in found


def test_overlap_of_two_zones_in_the_weeks_between_their_changes_of_the_clock_is_found() -> None:
    """From 18:00 in Berlin on is noon in New York; in three weeks of March it is 13:00 there, and its hour before overlaps."""
    york = schedule("weekdays 12:00-20:00", "America/New_York", 3)
    found = overlap([OFFICE, york], NEW_YEAR)
    assert "2026-03-09 17:00" in found


@pytest.mark.parametrize(
    "others",
    [
        ["weekdays 18:00-08:00"],
        ["weekends 00:00-24:00"],
        ["weekdays 00:00-08:00", "weekdays 18:00-24:00"],
    ],
)
def test_schedules_that_follow_one_another_do_not_overlap(others: list[str]) -> None:
    assert overlap([OFFICE, *(schedule(text, "Europe/Berlin", 1) for text in others)], NEW_YEAR) == ""


def test_hours_over_midnight_overlap_the_next_day() -> None:
    night = schedule("sun 22:00-09:00", "Europe/Berlin", 1)
    assert "2026-01-05 08:00" in overlap([OFFICE, night], NEW_YEAR)


def test_floor_changes_only_where_hours_begin_or_end() -> None:
    """Twelve weeks by quarters of an hour: as many changes as working days have beginnings and ends."""
    begun = datetime(2026, 3, 2, tzinfo=UTC)
    holds = [floor([OFFICE], (begun + timedelta(minutes=15 * step)).timestamp(), 0) is not None for step in range(4 * 24 * 84)]
    assert sum(one != other for one, other in pairwise(holds)) == 2 * 60
