"""The last hour: what is kept, and how the hours of several gateways become one."""

from deployments.policy.records.history import (
    MOST_MINUTES,
    Minute,
    Now,
    Told,
    Totals,
    counted,
    kept,
    merged,
    read,
    waiting,
    written,
)


def minute(at: int, requests: int = 1, ttft: tuple[int, ...] = (1, 0), ready: int = 1, waits: int = 0) -> Minute:
    return Minute(at, Totals(requests, ttft=ttft), Now(waiting=waits, ongoing=ready, ready=ready))


def test_minute_has_what_was_counted_in_it() -> None:
    before = Totals(10, 1, 100, 50, (4, 6), (1, 1))
    assert counted(before, Totals(13, 2, 160, 70, (5, 8), (1, 4))) == Totals(3, 1, 60, 20, (1, 2), (0, 3))
    assert counted(Totals(), before) == before


def test_last_hour_is_kept_and_no_more() -> None:
    minutes: tuple[Minute, ...] = ()
    for at in range(100):
        minutes = kept(minutes, minute(at))
    assert [one.at for one in minutes] == list(range(100 - MOST_MINUTES, 100))
    assert kept(minutes, minute(500)) == (minute(500),)


def test_minute_that_comes_again_gets_what_was_counted_since() -> None:
    assert kept((minute(7), minute(8, 2)), minute(8, 5, ready=3)) == (minute(7), minute(8, 7, (2, 0), ready=3))


def test_hours_of_gateways_are_added_minute_by_minute() -> None:
    one = {"a": [minute(1, 2, (1, 1), ready=2, waits=1), minute(2)], "b": [minute(1)]}
    other = {"a": [minute(1, 3, (0, 4), ready=3, waits=4), minute(3)]}
    found = merged([one, other])
    assert [row.at for row in found["a"]] == [1, 2, 3]
    assert found["a"][0] == Minute(1, Totals(5, ttft=(1, 5)), Now(waiting=5, ongoing=3, ready=3))
    assert found["b"] == [minute(1)]
    assert merged([]) == {}


def test_latencies_of_a_gateway_with_other_buckets_are_left_out() -> None:
    found = merged([{"a": [minute(1, ttft=(1, 1))]}, {"a": [minute(1, ttft=(1, 1, 1))]}])
    assert found["a"][0].counted == Totals(2, ttft=(1, 1))
    assert merged([{"a": [minute(1, ttft=())]}, {"a": [minute(1, ttft=(2, 1))]}])["a"][0].counted.ttft == (2, 1)


def test_what_a_gateway_tells_is_read_again() -> None:
    told = Told({"a": (minute(1),)}, {"a": 3})
    again = read(written(told))
    assert again is not None
    assert merged([again.minutes]) == {"a": [minute(1)]}
    assert waiting([again, Told({}, {"a": 1, "b": 2})]) == {"a": 4, "b": 2}
    assert read(b'{"minutes": 3}') is None
    assert read(b"\xff") is None
