"""A request's place in a trace: what a client may say of it, and what an engine is told."""

import random

import pytest

from monitoring.export import Meter
from monitoring.journal import Entry, Journal
from monitoring.trace_context import Trace, sampled_below

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-more", True),
    ],
)
def test_header_of_a_client_is_read(header: str, sampled: bool) -> None:
    trace = Trace.of_client(header.encode(), bits=7)
    assert trace == Trace(int(TRACE, 16), 7, int(SPAN, 16), sampled)
    assert trace.name == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_header_that_tells_no_trace_is_left_out(header: str) -> None:
    assert Trace.of_client(header.encode(), bits=7) is None


def test_engine_is_told_the_span_that_it_works_for() -> None:
    trace = Trace(int(TRACE, 16), int(SPAN, 16), 0, sampled=True)
    assert trace.told(trace.span_id) == f"00-{TRACE}-{SPAN}-01".encode()
    assert Trace.of_client(trace.told(trace.part(1)), bits=1) == Trace(trace.trace_id, 1, trace.span_id + 1, True)


def test_step_of_a_request_tells_its_engine_its_own_span() -> None:
    trace = Trace(int(TRACE, 16), int(SPAN, 16), 0, sampled=True)
    journal = Journal(Meter())
    with Entry(journal, "chat", 0.0, "req-1", trace).asks("llama") as trial:
        told = [trial.asks("r1", "only").traceparent, trial.asks("r2", "only").traceparent]
    assert told == [trace.told(trace.part(1)), trace.told(trace.part(2))]
    unsent = Entry(journal, "chat", 0.0, "req-1", Trace(trace.trace_id, 1, 0, sampled=False))
    for entry in (unsent, journal.begins("chat", 0.0)):
        with entry.asks("llama") as trial:
            assert trial.asks("r1", "only").traceparent is None


def test_ids_are_never_zero() -> None:
    trace = Trace.begun(bits=0, below=0)
    assert (trace.trace_id, trace.span_id) == (1, 1)
    assert Trace(1, (1 << 64) - 1, 0, False).part(1) == 1


@pytest.mark.parametrize(("ratio", "least", "most"), [(0, 0, 0), (0.01, 60, 140), (0.5, 4700, 5300), (1, 10_000, 10_000)])
def test_ratio_is_the_share_of_traces_that_are_sent(ratio: float, least: int, most: int) -> None:
    dice = random.Random(1)
    assert least <= sum(Trace.begun(dice.getrandbits(192), sampled_below(ratio)).sampled for _ in range(10_000)) <= most


@pytest.mark.parametrize("ratio", [0, 0.01, 0.3, 0.999, 1])
def test_trace_that_is_not_sent_is_one_that_would_not_have_been_chosen(ratio: float) -> None:
    dice, below, lower = random.Random(1), sampled_below(ratio), (1 << 64) - 1
    for bits in (0, (1 << 192) - 1, *(dice.getrandbits(192) for _ in range(1000))):
        trace = Trace.begun_unsent(bits, below)
        assert not trace.sampled
        assert 0 < trace.trace_id < 1 << 128
        assert 0 < trace.span_id < 1 << 64
        assert trace.trace_id & lower >= min(below, lower)


def test_choice_is_that_of_opentelemetrys_own_sampler() -> None:
    from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

    theirs, dice = TraceIdRatioBased(0.3), random.Random(2)
    for _ in range(1000):
        trace = Trace.begun(dice.getrandbits(192), sampled_below(0.3))
        assert trace.sampled is (theirs.should_sample(None, trace.trace_id, "").decision is Decision.RECORD_AND_SAMPLE)
