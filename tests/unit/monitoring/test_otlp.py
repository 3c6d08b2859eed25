"""Spans on their way to a collector, over a real socket."""

import pytest

from configs.observing import Tracing
from monitoring.observing.otlp import Exporter
from monitoring.observing.spans import Span, Tree
from tests.otlp_receiver import otlp_receiver

WHOLE = Span("chat llama", "server", 5, 3, 1_000, 9_000, {"herd.attempts": 1}, failed=True)
PART = Span("attempt llama", "client", 6, 5, 2_000, 8_000, {"error.type": "engine_gone"}, failed=False)


def test_collector_gets_ids_times_and_attributes_as_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-key=abc")
    with otlp_receiver() as receiver:
        exporter = Exporter(Tracing(endpoint=receiver.url), "own")
        assert exporter.send([Tree(1, True, (WHOLE, PART)), Tree(2, False, (Span("tokenize llama", "internal", 5, 0, 1, 2, {}, False),))])
        exporter.close()
    whole, part, other = receiver.spans
    assert receiver.headers[0]["x-collector-key"] == "abc"
    assert (whole.trace, whole.id, whole.parent) == (f"{1:032x}", f"{5:016x}", f"{3:016x}")
    assert (part.trace, part.id, part.parent) == (f"{1:032x}", f"{6:016x}", f"{5:016x}")
    assert (other.trace, other.parent) == (f"{2:032x}", "")
    assert (whole.began_ns, whole.ended_ns, whole.failed, part.failed) == (1_000, 9_000, True, False)
    assert (whole.attributes, part.attributes) == ({"herd.attempts": 1}, {"error.type": "engine_gone"})
    assert whole.resource["service.instance.id"] == "own"


def test_collector_that_refuses_has_not_taken_them() -> None:
    with otlp_receiver() as receiver:
        receiver.status = 400
        exporter = Exporter(Tracing(endpoint=receiver.url), "own")
        assert not exporter.send([Tree(1, False, (WHOLE,))])
        receiver.status = 200
        assert exporter.send([Tree(1, False, (PART,))])
    assert [span.name for span in receiver.spans] == ["attempt llama"], "spans that were lost are not sent twice"
