"""`monitoring.counts`: counters, gauges and histograms show what prometheus_client's own would, only faster."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.counts import Buckets, Values
from monitoring.metrics import E2E, ITL, REQUESTS, REQUESTS_OPEN
from tests.unit.monitoring.test_export import samples

BOUNDARIES = st.sampled_from([0.0, *ITL.buckets, 9.0])
STREAMS = st.lists(st.tuples(st.sampled_from(["scout", "llama"]), st.lists(BOUNDARIES | st.floats(0, 10), max_size=9)), max_size=5)


@given(STREAMS)
def test_intervals_are_those_of_an_ordinary_histogram(streams: list[tuple[str, list[float]]]) -> None:
    fast, ordinary = Buckets(ITL), Histogram(ITL.name, ITL.meaning, ITL.labels, buckets=ITL.buckets, registry=CollectorRegistry())
    for label, gaps in streams:
        times = [sum(gaps[:count]) for count in range(len(gaps) + 1)]
        fast.observe_between((label,), times)
        child = ordinary.labels(label)
        for earlier, later in pairwise(times):
            child.observe(later - earlier)
    assert samples(list(fast.collect())) == pytest.approx(samples(list(ordinary.collect())))


@pytest.mark.parametrize("times", [[], [1.0]])
def test_stream_of_one_piece_has_no_interval(times: list[float]) -> None:
    intervals = Buckets(ITL)
    intervals.observe_between(("scout",), times)
    (family,) = intervals.collect()
    assert {sample.value for sample in family.samples} == {0}


@given(st.lists(st.tuples(st.sampled_from(["scout", "llama"]), st.sampled_from(E2E.buckets) | st.floats(0, 9000))))
def test_values_are_those_of_an_ordinary_histogram(values: list[tuple[str, float]]) -> None:
    fast, ordinary = Buckets(E2E), Histogram(E2E.name, E2E.meaning, E2E.labels, buckets=E2E.buckets, registry=CollectorRegistry())
    for model, value in values:
        fast.observe((model,), value)
        ordinary.labels(model).observe(value)
    assert samples(list(fast.collect())) == pytest.approx(samples(list(ordinary.collect())))


@given(st.lists(st.tuples(st.sampled_from(["ok", "timeout"]), st.integers(0, 5))))
def test_counts_are_those_of_an_ordinary_counter(counts: list[tuple[str, int]]) -> None:
    fast, ordinary = Values(REQUESTS), Counter(REQUESTS.name, REQUESTS.meaning, REQUESTS.labels, registry=CollectorRegistry())
    for outcome, by in counts:
        fast.of["scout", outcome] += by
        ordinary.labels("scout", outcome).inc(by)
    assert samples(list(fast.collect())) == samples(list(ordinary.collect()))


def test_gauge_shows_what_was_set_and_what_was_added_since() -> None:
    fast, ordinary = Values(REQUESTS_OPEN), Gauge(REQUESTS_OPEN.name, REQUESTS_OPEN.meaning, ("model",), registry=CollectorRegistry())
    fast.of[("scout",)] = 7
    fast.of[("scout",)] -= 2
    ordinary.labels("scout").set(5)
    assert samples(list(fast.collect())) == samples(list(ordinary.collect()))
