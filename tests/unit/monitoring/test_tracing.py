"""Which requests are traced, and the thread that sends their spans: bounded, and never in a request's way."""

import threading
import time
from collections.abc import Callable

import pytest
import structlog
from structlog.testing import capture_logs

from configs.observing import Tracing
from monitoring.ended import Ended
from monitoring.export import Meter
from monitoring.journal import Entry, Journal
from monitoring.labels import Outcome
from monitoring.observing.spans import Tree
from monitoring.observing.tracing import BATCH_REQUESTS, Sender, Traces
from monitoring.trace_context import Trace

WITHIN_S = 60.0
CLIENTS = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TREE = Tree(1, False, ())


def wanted(**more: object) -> Tracing:
    return Tracing.model_validate({"endpoint": "http://127.0.0.1:9/v1/traces", "sample_ratio": 1, **more})


class Collector:
    """Takes what is sent, as the test says."""

    def __init__(self) -> None:
        self.batches: list[list[Tree]] = []
        self.answer: Callable[[], bool] = lambda: True
        self.closed = threading.Event()
        self.opened: list[Tracing] = []

    def open(self, tracing: Tracing) -> "Collector":
        self.opened.append(tracing)
        return self

    def send(self, trees: list[Tree]) -> bool:
        self.batches.append(trees)
        return self.answer()

    def close(self) -> None:
        self.closed.set()

    @property
    def taken(self) -> int:
        return sum(map(len, self.batches))


def ended(outcome: Outcome = Outcome.OK, trace: Trace | None = None, by: Traces | None = None) -> list[Ended]:
    return [Ended(Entry(Journal(Meter(), tracer=by), "chat", 0.0, "req-1", trace), outcome, None, 1.0)]


def traces(collector: Collector, tracing: Tracing | None) -> Traces:
    made = Traces(collector.open, time.perf_counter, batch_s=0.01)
    made.apply(tracing)
    return made


def test_without_the_configs_section_nothing_is_traced() -> None:
    collector = Collector()
    one = traces(collector, None)
    assert one.begins(CLIENTS) is None
    assert one.unsent() is None
    one.ended(ended())
    one.ended(ended(trace=Trace(1, 2, 0, True)))
    one.stop(WITHIN_S)
    assert not collector.opened


@pytest.mark.parametrize(("header", "taken"), [(CLIENTS, True), (b"nonsense", False), (None, False)])
def test_trusted_clients_trace_is_taken_over(header: bytes | None, taken: bool) -> None:
    one = traces(Collector(), wanted(trust_clients=True))
    trace = one.begins(header)
    one.stop(WITHIN_S)
    assert trace is not None
    assert (trace.name == "0af7651916cd43dd8448eb211c80319c") is taken


def test_ids_are_drawn_for_a_request_that_was_not_chosen_once_somebody_asks() -> None:
    one = traces(Collector(), wanted(sample_ratio=0))
    (begun,) = ended(trace=one.begins(None), by=one)
    assert begun.entry.trace is None
    place = begun.entry.place()
    assert place is not None
    assert begun.entry.place() is place
    assert not place.sampled
    one.stop(WITHIN_S)
    assert Entry(Journal(Meter(), tracer=one), "chat", 0.0, "req-2", None).place() is None


def test_failure_whose_tracing_has_ended_has_no_spans() -> None:
    collector = Collector()
    one = traces(collector, wanted())
    one.ended(ended(Outcome.TIMEOUT))
    one.stop(WITHIN_S)
    assert collector.taken == 0


def test_stop_sends_what_waits() -> None:
    collector = Collector()
    one = Traces(collector.open, time.perf_counter, batch_s=60)
    one.apply(wanted())
    for _ in range(BATCH_REQUESTS + 1):
        one.ended(ended(trace=one.begins(None)))
    one.stop(WITHIN_S)
    assert [len(batch) for batch in collector.batches] == [BATCH_REQUESTS, 1]
    assert collector.closed.is_set()


def test_batch_that_is_full_is_sent_before_its_time() -> None:
    collector = Collector()
    one = Traces(collector.open, time.perf_counter, batch_s=600)
    one.apply(wanted())
    for _ in range(BATCH_REQUESTS):
        one.ended(ended(trace=one.begins(None)))
    _until(lambda: collector.taken == BATCH_REQUESTS)
    one.stop(WITHIN_S)


def test_queue_that_is_full_is_sent_before_its_time_where_it_has_no_room_for_a_batch() -> None:
    collector = Collector()
    one = Traces(collector.open, time.perf_counter, batch_s=600)
    one.apply(wanted(queue_requests=2))
    for _ in range(2):
        one.ended(ended(trace=one.begins(None)))
    _until(lambda: collector.taken == 2)
    one.stop(WITHIN_S)


def test_failures_beyond_the_ratio_are_bounded_by_the_second() -> None:
    collector = Collector()
    one = traces(collector, wanted(sample_ratio=0, errors_per_s=2))
    for outcome in (Outcome.OK, Outcome.CANCELLED, *[Outcome.OVERLOADED] * 5):
        one.ended(ended(outcome, one.begins(None), by=one))
    one.stop(WITHIN_S)
    assert collector.taken == 2


def test_changed_config_opens_another_way_and_loses_nothing_of_the_one_before() -> None:
    collector = Collector()
    one = Traces(collector.open, time.perf_counter, batch_s=60)
    for tracing in (wanted(), wanted(), wanted(sample_ratio=0.5)):
        one.apply(tracing)
        one.ended(ended(trace=Trace(1, 2, 0, True)))
    one.stop(WITHIN_S)
    assert sorted(tracing.sample_ratio for tracing in collector.opened) == [0.5, 1]
    assert collector.taken == 3


def test_spans_beyond_the_queue_are_left_out_and_counted() -> None:
    collector, opens = Collector(), threading.Event()
    sender = Sender(wanted(queue_requests=5), lambda tracing: collector.open(tracing) if opens.wait(WITHIN_S) else collector, batch_s=60)
    for _ in range(8):
        sender.put(TREE)
    with capture_logs() as logs:
        opens.set()
        sender.end()
        sender.wait(WITHIN_S)
    assert collector.taken == 5
    assert [(line["event"], line["requests"]) for line in logs] == [("traces_lost", 3)]


def _fails() -> bool:
    raise OSError


@pytest.mark.parametrize("answer", [lambda: False, _fails])
def test_collector_that_fails_is_told_once_a_minute_and_tried_again(answer: Callable[[], bool]) -> None:
    collector = Collector()
    collector.answer = answer
    with capture_logs() as logs:
        sender = Sender(wanted(), collector.open, batch_s=0.01)
        for count in (1, 2):
            sender.put(TREE)
            _until(lambda count=count: len(collector.batches) == count)  # type: ignore[misc]
        sender.end()
        sender.wait(WITHIN_S)
    assert [line["event"] for line in logs] == ["traces_lost"]


def test_wait_for_a_collector_that_hangs_is_bounded() -> None:
    collector, hangs = Collector(), threading.Event()
    collector.answer = lambda: hangs.wait(WITHIN_S)
    sender = Sender(wanted(), collector.open, batch_s=0.01)
    sender.put(TREE)
    _until(lambda: bool(collector.batches))
    sender.end()
    sender.wait(0.05)
    assert collector.closed.is_set()
    hangs.set()
    sender.wait(WITHIN_S)


def test_way_that_cannot_be_opened_is_told_and_costs_nothing_else() -> None:
    def fails(_: Tracing) -> Collector:
        raise ImportError

    with capture_logs() as logs:
        sender = Sender(wanted(queue_requests=1), fails)
        sender.wait(WITHIN_S)
        sender.put(TREE)
        sender.put(TREE)
    assert [(line["event"], line["error"]) for line in logs] == [("traces_off", "ImportError")]


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def _as_before() -> None:
    structlog.reset_defaults()
