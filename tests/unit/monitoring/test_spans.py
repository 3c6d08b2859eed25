"""The spans of a request that has ended. `tests/path/test_traces.py` has the courses of real requests."""

import pytest

from monitoring.ended import Ended
from monitoring.export import Meter
from monitoring.journal import Entry, Journal
from monitoring.labels import Outcome, Retry
from monitoring.observing.spans import error_type, is_notable, tree
from monitoring.trace_context import Trace

TRACE = Trace(1, 100, 0, True)
ZERO_NS = 1_000_000_000_000_000_000


def begun(endpoint: str = "chat", clock: list[float] | None = None) -> Entry:
    times = iter(clock or [])
    entry = Journal(Meter(), clock=lambda: next(times)).begins(endpoint, 10.0, "req-1")
    entry.names("llama")
    return entry


def test_waits_prompts_and_attempts_are_spans_below_the_requests() -> None:
    entry = begun(clock=[10.0, 11.0, 11.0, 12.0, 12.0, 13.0, 13.5, 14.0])
    with entry.asks("llama") as trial:
        with trial.waits():
            pass
        with trial.prefills() as step:
            step.at("r0")
        with trial.asks("r1", "prefix") as step:
            pass
        step.failed("engine_gone")
        trial.retried(Retry.RESUMED)
        with trial.asks("r2", "only"):
            pass
        trial.times.append(12.5)
        trial.used(3, 5, 2)
    made = tree(Ended(entry, Outcome.OK, trial.served(), 15.0), TRACE, ZERO_NS)
    whole, *parts = made.spans
    assert (whole.name, whole.kind, whole.span_id, whole.parent_id) == ("chat llama", "server", 100, 0)
    assert (whole.began_ns - ZERO_NS, whole.ended_ns - ZERO_NS) == (10_000_000_000, 15_000_000_000)
    assert whole.attributes["herd.time_to_first_token_s"] == 2.5
    assert whole.attributes["gen_ai.usage.cache_read.input_tokens"] == 2
    assert (whole.attributes["gen_ai.usage.input_tokens"], whole.attributes["gen_ai.usage.output_tokens"]) == (3, 5)
    assert [(one.name, one.kind, one.span_id, one.parent_id) for one in parts] == [
        ("queue llama", "internal", 101, 100),
        ("prefill llama", "client", 102, 100),
        ("attempt llama", "client", 103, 100),
        ("attempt llama", "client", 104, 100),
    ]
    assert [(one.began_ns - ZERO_NS, one.ended_ns - ZERO_NS) for one in parts[2:]] == [
        (12_000_000_000, 13_000_000_000),
        (13_500_000_000, 14_000_000_000),
    ]
    assert [one.attributes.get("herd.replica") for one in parts] == [None, "r0", "r1", "r2"]
    assert [one.attributes.get("herd.pick") for one in parts] == [None, None, "prefix", "only"]
    assert [one.attributes.get("herd.retry") for one in parts] == [None, None, None, "resumed"]
    assert [one.attributes.get("error.type") for one in parts] == [None, None, "engine_gone", None]
    assert [one.failed for one in (whole, *parts)] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("outcome", "code", "error", "failed"),
    [
        (Outcome.OK, "", "", False),
        (Outcome.CLIENT_ERROR, "invalid_json", "invalid_json", False),
        (Outcome.CANCELLED, "", "cancelled", False),
        (Outcome.TIMEOUT, "timeout", "timeout", True),
        (Outcome.INTERNAL_ERROR, "", "internal_error", True),
    ],
)
def test_request_fails_where_the_herd_has_failed_it(outcome: Outcome, code: str, error: str, failed: bool) -> None:
    entry = begun()
    if code:
        entry.refused(code, 400)
    ended = Ended(entry, outcome, None, 11.0)
    (whole,) = tree(ended, TRACE, ZERO_NS).spans
    assert (whole.failed, error_type(ended), whole.attributes.get("error.type", "")) == (failed, error, error)
    assert is_notable(ended) is failed


def test_request_that_a_second_replica_answered_is_notable() -> None:
    entry = begun(clock=[10.0, 11.0])
    with entry.asks("llama") as trial, trial.asks("r1", "only") as step:
        assert not is_notable(Ended(entry, Outcome.OK, None, 12.0))
        step.failed("engine_gone")
    assert is_notable(Ended(entry, Outcome.OK, None, 12.0))


def test_batch_request_that_made_way_has_no_error() -> None:
    entry = begun(clock=[10.0, 11.0])
    with entry.asks("llama") as trial:
        with pytest.raises(ZeroDivisionError), trial.asks("r1", "only") as step:
            raise ZeroDivisionError
        step.failed("")
    (_, part) = tree(Ended(entry, Outcome.UNAVAILABLE, None, 12.0), TRACE, ZERO_NS).spans
    assert "error.type" not in part.attributes
    assert not part.failed


@pytest.mark.parametrize(
    ("endpoint", "operation"),
    [("completions", "text_completion"), ("messages", "chat"), ("embeddings", "embeddings"), ("tokenize", "tokenize")],
)
def test_operation_has_the_conventions_name_where_there_is_one(endpoint: str, operation: str) -> None:
    (whole,) = tree(Ended(begun(endpoint), Outcome.OK, None, 11.0), TRACE, ZERO_NS).spans
    assert whole.attributes["gen_ai.operation.name"] == operation


def test_clients_span_is_the_parent() -> None:
    made = tree(Ended(begun(), Outcome.OK, None, 11.0), Trace(1, 100, 7, True), ZERO_NS)
    assert made.remote_parent
    assert made.spans[0].parent_id == 7
