"""The lines of requests: for which there is one, what stands in it, and how many there are in a flood."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from configs.observing import Observing
from monitoring.ended import Ended
from monitoring.export import Meter
from monitoring.journal import Entry, Journal
from monitoring.labels import Outcome
from monitoring.observing.access_log import AccessLog
from monitoring.trace_context import Trace


class Log:
    """An access log whose lines and clock the test has."""

    def __init__(self, **wanted: Any) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.now_s = 12.0
        """By the clock of requests, which was zero at half a second of a time since 1970."""
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.log = AccessLog(
            self._write, lambda after_s, call: self.later.append((after_s, call)), lambda: self.now_s, lambda: self.now_s + 1_794_999_988.5
        )
        self.log.apply(Observing.model_validate(wanted))

    def end(self, outcome: Outcome = Outcome.OK, times: int = 1) -> None:
        self.log.ended([Ended(_entry(), outcome, None, self.now_s) for _ in range(times)])

    def _write(self, lines: Sequence[str]) -> None:
        self.batches.append([json.loads(line) for line in lines])

    def wait(self) -> None:
        """Lets time pass until all that was to be done later is done."""
        later, self.later = self.later, []
        for _, call in later:
            call()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for batch in self.batches for line in batch]

    @property
    def about_requests(self) -> int:
        return sum(line["event"] == "request" for line in self.lines)


def _entry(trace: Trace | None = None) -> Entry:
    times = iter([10.0, 10.25, 10.25, 10.25, 10.25, 11.0])
    journal = Journal(Meter(), clock=lambda: next(times))
    entry = Entry(journal, "chat", 10.0, "req-1", trace)
    entry.names("llama")
    return entry


@pytest.mark.parametrize(
    ("wanted", "outcomes"), [("off", []), ("errors", ["cancelled", "client_error"]), ("all", ["ok", "cancelled", "client_error"])]
)
def test_config_says_which_requests_get_a_line(wanted: str, outcomes: list[str]) -> None:
    log = Log(access_log=wanted)
    for outcome in (Outcome.OK, Outcome.CANCELLED, Outcome.CLIENT_ERROR):
        log.end(outcome)
    assert [line["outcome"] for line in log.lines] == outcomes


def test_yamls_off_is_off() -> None:
    assert Observing.model_validate({"access_log": False}).access_log == "off"


def test_line_has_numbers_and_names_and_leaves_out_what_is_not() -> None:
    log = Log(access_log="all")
    entry = _entry(Trace(255, 1, 0, True))
    with entry.asks("scout") as trial:
        with trial.waits():
            pass
        with trial.prefills():
            pass
        with trial.asks("r1", "only"):
            pass
        trial.picked("only")
        trial.times.append(10.5)
        trial.used(3, 5, 2)
    log.log.ended([Ended(entry, Outcome.OK, trial.served(), 12.0), Ended(_entry(), Outcome.CANCELLED, None, 12.0)])
    assert log.lines == [
        {
            "timestamp": "2026-11-18T11:06:40.500Z",
            "level": "info",
            "event": "request",
            "id": "req-1",
            "model": "llama",
            "endpoint": "chat",
            "outcome": "ok",
            "duration_s": 2.0,
            "answered_by": "scout",
            "prompt_tokens": 3,
            "cached_tokens": 2,
            "completion_tokens": 5,
            "ttft_s": 0.5,
            "queue_s": 0.25,
            "replica": "r1",
            "attempts": 1,
            "trace": "000000000000000000000000000000ff",
        },
        {
            "timestamp": "2026-11-18T11:06:40.500Z",
            "level": "info",
            "event": "request",
            "id": "req-1",
            "model": "llama",
            "endpoint": "chat",
            "outcome": "cancelled",
            "duration_s": 2.0,
        },
    ]


def test_refused_request_has_its_code_and_status() -> None:
    log = Log()
    entry = _entry()
    entry.refused("overloaded", 429)
    log.log.ended([Ended(entry, Outcome.OVERLOADED, None, 12.0)])
    assert (log.lines[0]["status"], log.lines[0]["error"]) == (429, "overloaded")


def test_flood_gets_so_many_lines_a_second_and_the_number_left_out() -> None:
    log = Log(access_log="errors", access_log_lines_per_s=10)
    log.end(Outcome.OVERLOADED, times=1000)
    assert [after_s for after_s, _ in log.later] == [1]
    log.now_s += 1
    log.wait()
    assert log.about_requests == 10
    assert log.lines[-1] == {"timestamp": "2026-11-18T11:06:41.500Z", "level": "warning", "event": "requests_left_out", "count": 990}
    log.end(Outcome.OVERLOADED, times=11)
    assert len(log.later) == 1, "told again"
    log.log.tell()
    log.log.tell()
    assert log.about_requests == 20
    assert [line["count"] for line in log.lines if line["event"] == "requests_left_out"] == [990, 1]


def test_requests_that_did_not_end_well_have_half_of_the_lines_to_themselves() -> None:
    log = Log(access_log="all", access_log_lines_per_s=10)
    log.end(Outcome.OK, times=100)
    log.end(Outcome.TIMEOUT, times=100)
    log.wait()
    assert [line["outcome"] for line in log.lines if line["event"] == "request"] == ["ok"] * 5 + ["timeout"] * 5


def test_lines_of_a_batch_are_written_together() -> None:
    log = Log(access_log="all")
    log.end(times=3)
    log.end()
    assert [len(batch) for batch in log.batches] == [3, 1]


def test_line_tells_when_its_request_ended_and_not_when_it_was_written() -> None:
    log = Log(access_log="all")
    batch = [Ended(_entry(), Outcome.OK, None, 12.0 + after_s) for after_s in (0, 0.4)]
    log.now_s += 0.6
    log.log.ended(batch)
    assert [line["timestamp"] for line in log.lines] == ["2026-11-18T11:06:40.500Z", "2026-11-18T11:06:40.900Z"]


def test_flood_of_a_batch_over_two_seconds_has_the_lines_of_both() -> None:
    log = Log(access_log="errors", access_log_lines_per_s=10)
    log.log.ended([Ended(_entry(), Outcome.TIMEOUT, None, 12.0 + number / 20) for number in range(40)])
    assert log.about_requests == 20


def test_line_of_a_request_that_two_models_were_asked_has_what_was_said_last_and_shown_first() -> None:
    log = Log(access_log="all")
    entry = _entry()
    for times, usage in (([], None), ([10.5], (3, 5)), ([11.0], None)):
        with entry.asks("scout") as trial:
            trial.times.extend(times)
            if usage is not None:
                trial.used(*usage)
    log.log.ended([Ended(entry, Outcome.CANCELLED, None, 12.0)])
    assert (log.lines[0]["ttft_s"], log.lines[0]["prompt_tokens"], log.lines[0]["completion_tokens"]) == (0.5, 3, 5)
