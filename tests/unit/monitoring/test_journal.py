"""One record of a request, and what it moves."""

from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from configs.scaling import Slo
from monitoring.ended import Ended
from monitoring.export import Meter
from monitoring.journal import GATHERED, GATHERED_S, LONG, Journal, Served
from monitoring.labels import Outcome, PrefillBy, Retry
from monitoring.metrics import REQUESTS


def count(meter: Meter, name: str, **labels: str) -> float:
    return meter.registry.get_sample_value(name, labels) or 0.0


def test_request_that_is_answered_moves_every_metric_once() -> None:
    meter = Meter()
    journal = Journal(meter)
    entry = journal.begins("chat", arrived_s=10.0)
    entry.names("llama")
    with entry.asks("llama") as trial:
        assert count(meter, "herd_requests_open", model="llama") == 1
        trial.prefilled(PrefillBy.DECODE)
        trial.picked("only")
        trial.retried(Retry.AGAIN)
        trial.picked("home")
        for _ in range(2):
            trial.streams()
        assert count(meter, "herd_streams_open", model="llama") == 1
        trial.times.extend([11.0, 12.0])
        trial.used(3, 5)
        served = trial.served()
        assert served == Served(Outcome.OK, "llama", (3, 5), attempts=2)
        assert count(meter, "herd_picks_total", model="llama", reason="only") == 0, "counted when it has ended"
    journal.ended(entry, served.outcome, served, now_s=14.0)
    assert count(meter, "herd_requests_open", model="llama") == count(meter, "herd_streams_open", model="llama") == 0
    assert count(meter, "herd_requests_total", model="llama", outcome="ok") == 1
    assert count(meter, "herd_request_seconds_sum", model="llama") == 4
    assert (
        count(meter, "herd_picks_total", model="llama", reason="only")
        == count(meter, "herd_picks_total", model="llama", reason="home")
        == 1
    )
    assert count(meter, "herd_retries_total", model="llama", kind="again") == 1
    assert count(meter, "herd_prefills_total", model="llama", by="decode") == 1
    assert count(meter, "herd_time_to_first_token_seconds_sum", model="llama") == 1
    assert count(meter, "herd_inter_token_latency_seconds_count", model="llama") == 1
    assert count(meter, "herd_tokens_total", model="llama", kind="completion") == 5


def test_request_that_another_model_answers_is_a_fallback_of_the_one_that_it_names() -> None:
    meter = Meter()
    journal = Journal(meter)
    entry = journal.begins("chat", arrived_s=0.0)
    entry.names("llama")
    with entry.asks("llama"):
        pass
    with entry.asks("scout") as trial:
        trial.picked("only")
    journal.ended(entry, Outcome.OK, trial.served(), now_s=1.0)
    assert count(meter, "herd_fallbacks_total", model="llama", answered_by="scout") == 1
    assert count(meter, "herd_requests_total", model="llama", outcome="ok") == 1
    assert count(meter, "herd_picks_total", model="scout", reason="only") == 1


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.CLIENT_ERROR])
def test_request_that_is_not_answered_is_counted_as_it_ended(outcome: Outcome) -> None:
    meter = Meter()
    journal = Journal(meter)
    journal.ended(journal.begins("chat", arrived_s=0.0), outcome, None, now_s=1.0)
    assert count(meter, "herd_requests_total", model="unknown", outcome=outcome.value) == 1


def test_error_that_a_client_is_told_is_counted_by_its_code() -> None:
    meter = Meter()
    journal = Journal(meter)
    for outcome, code in [(Outcome.OVERLOADED, "overloaded"), (Outcome.CLIENT_ERROR, None)]:
        entry = journal.begins("chat", 0.0)
        entry.names("llama")
        entry.refused(code)
        journal.ended(entry, outcome, None, 1.0)
    assert count(meter, "herd_refusals_total", code="overloaded") == 1
    assert count(meter, "herd_refusals_total", code="invalid_request") == 1


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(Outcome.INTERNAL_ERROR, "internal_error"), (Outcome.UNAVAILABLE, "engine_unavailable"), (Outcome.CANCELLED, None)],
)
def test_error_that_is_told_behind_the_pipeline_is_counted_and_a_hang_up_is_none(outcome: Outcome, code: str | None) -> None:
    meter = Meter()
    journal = Journal(meter)
    entry = journal.begins("chat", 0.0)
    entry.names("llama")
    journal.ended(entry, outcome, None, 1.0)
    found = {sample.labels["code"] for family in meter.registry.collect() if family.name == "herd_refusals" for sample in family.samples}
    assert found == ({code} if code else set())


def judged(outcome: Outcome, times: list[float], now_s: float, streams: bool = True, tokens: int | None = None) -> dict[str, str]:
    """Whether one request of a model with the objectives 1 s and 0.1 s met each; an objective that does not count it is left out."""
    meter = Meter()
    meter.promises({"llama": Slo(ttft_s=1, itl_s=0.1)})
    journal = Journal(meter)
    entry = journal.begins("chat", 10.0)
    entry.names("llama", streams)
    with entry.asks("llama"):
        pass
    with entry.asks("scout") as trial:
        trial.times.extend(times)
        if tokens is not None:
            trial.used(5, tokens)
    journal.ended(entry, outcome, None, now_s)
    return {
        objective: met
        for objective in ("availability", "ttft", "itl")
        for met in ("yes", "no")
        if count(meter, "herd_slo_requests_total", model="llama", objective=objective, met=met)
    }


@pytest.mark.parametrize("outcome", Outcome)
def test_availability_is_met_unless_the_herd_is_at_fault(outcome: Outcome) -> None:
    ours = {Outcome.TIMEOUT, Outcome.OVERLOADED, Outcome.UNAVAILABLE, Outcome.ENGINE_FAILED, Outcome.INTERNAL_ERROR}
    assert judged(outcome, [], 10.5)["availability"] == ("no" if outcome in ours else "yes")


@pytest.mark.parametrize(
    ("times", "tokens", "met"),
    [
        ([11.0, 11.1, 11.2], None, {"ttft": "yes", "itl": "yes"}),
        ([11.01, 11.1], None, {"ttft": "no", "itl": "yes"}),
        ([10.5, 10.6, 10.9], None, {"ttft": "yes", "itl": "no"}),
        ([10.5, 11.5], 12, {"ttft": "yes", "itl": "yes"}),
        ([10.5], None, {"ttft": "yes"}),
        ([10.5], 1, {"ttft": "yes"}),
        ([], 5, {}),
    ],
)
def test_stream_is_judged_by_its_first_piece_and_by_its_mean_time_between_tokens(
    times: list[float], tokens: int | None, met: dict[str, str]
) -> None:
    assert judged(Outcome.OK, times, 20.0, tokens=tokens) == {"availability": "yes", **met}


@pytest.mark.parametrize(
    ("now_s", "streams", "met"), [(11.5, True, {"ttft": "no"}), (10.5, True, {}), (11.5, False, {})], ids=["late", "in time", "whole"]
)
def test_client_that_leaves_before_its_stream_begins_was_failed_once_that_is_late(now_s: float, streams: bool, met: dict[str, str]) -> None:
    assert judged(Outcome.CANCELLED, [], now_s, streams) == {"availability": "yes", **met}


def test_prompt_that_was_looked_for_is_counted_by_what_was_expected() -> None:
    meter = Meter()
    journal = Journal(meter)
    entry = journal.begins("chat", 0.0)
    with entry.asks("llama") as trial:
        trial.picked("prefix", 96, 128)
        trial.picked("room_left", 0, 0)
        trial.picked("kv", 16, 10)
        trial.used(120, 7, 90)
    journal.ended(entry, Outcome.OK, trial.served(), 1.0)
    assert count(meter, "herd_prefix_tokens_total", model="llama", found="hit") == 112
    assert count(meter, "herd_prefix_tokens_total", model="llama", found="miss") == 32
    assert count(meter, "herd_tokens_total", model="llama", kind="cached") == 90


def test_request_whose_body_could_not_be_read_is_counted_and_told_and_its_error_is_counted_elsewhere() -> None:
    told: list[Ended] = []

    class Observer:
        def ended(self, batch: Sequence[Ended]) -> None:
            told.extend(batch)

    meter = Meter()
    journal = Journal(meter, (Observer(),))
    entry = journal.begins("chat", arrived_s=10.0, request_id="req-1")
    entry.refused("request_too_large", 413)
    journal.never_read(entry, Outcome.CLIENT_ERROR, now_s=11.0)
    assert count(meter, "herd_requests_total", model="unknown", outcome="client_error") == 1
    assert count(meter, "herd_refusals_total", code="request_too_large") == 0
    assert [(one.entry.request_id, one.entry.status, one.outcome) for one in told] == [("req-1", 413, Outcome.CLIENT_ERROR)]


class Gathering:
    """A journal whose timer and observer the test has."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.later: list[tuple[float, Callable[[], None]]] = []
        self.meter = Meter()
        self.journal = Journal(self.meter, (self,), clock=lambda: 0.0, later=lambda after_s, call: self.later.append((after_s, call)))

    def ended(self, batch: Sequence[Ended]) -> None:
        self.batches.append(len(batch))

    def end(self, times: int = 1) -> None:
        for _ in range(times):
            self.journal.ended(self.journal.begins("chat", 0.0), Outcome.OK, None, 1.0)

    def wait(self) -> None:
        later, self.later = self.later, []
        for _, call in later:
            call()


def test_requests_of_a_moment_are_counted_and_told_together() -> None:
    one = Gathering()
    one.end(times=3)
    assert not one.batches
    assert [after_s for after_s, _ in one.later] == [GATHERED_S], "one timer for all"
    one.wait()
    assert one.batches == [3]
    one.end()
    one.wait()
    assert one.batches == [3, 1], "there is another moment after it"


def test_no_more_than_so_many_requests_wait() -> None:
    one = Gathering()
    one.end(times=2 * GATHERED + 1)
    assert one.batches == [GATHERED, GATHERED]
    assert len(one.later) == 1
    one.wait()
    one.wait()
    assert one.batches == [GATHERED, GATHERED, 1], "nothing is told where nothing waits"


def test_long_stream_is_counted_at_once_with_those_that_wait() -> None:
    one = Gathering()
    one.end()
    entry = one.journal.begins("chat", 0.0)
    with entry.asks("llama") as trial:
        trial.times.extend(number / 100 for number in range(LONG + 1))
    one.journal.ended(entry, Outcome.OK, None, 20.0)
    assert one.batches == [2]


READERS: dict[str, Callable[[Meter], float]] = {
    "registry": lambda meter: count(meter, "herd_requests_total", model="unknown", outcome="ok"),
    "page": lambda meter: float(meter.text().partition(b'herd_requests_total{model="unknown",outcome="ok"} ')[2].split()[0]),
    "family": lambda meter: sum(sample.value for sample in meter.family(REQUESTS).samples),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_no_reader_of_counts_sees_one_that_is_late(read: Callable[[Meter], float]) -> None:
    one = Gathering()
    for number in range(1, 4):
        one.end()
        assert read(one.meter) == number


def test_request_is_judged_by_the_objectives_at_its_end() -> None:
    one = Gathering()
    one.meter.promises({"unknown": Slo()})
    one.end()
    one.meter.promises({})
    one.end()
    assert count(one.meter, "herd_slo_requests_total", model="unknown", objective="availability", met="yes") == 1


def test_defect_in_counting_one_request_is_told_and_leaves_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Gathering()

    def breaks(*_of: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(one.meter, "fell_back", breaks)
    with capture_logs() as logs:
        one.journal.ended(one.journal.begins("chat", 0.0), Outcome.OK, Served(Outcome.OK, "scout", None, 1), 1.0)
        one.end()
        one.journal.settle()
    assert [line["event"] for line in logs] == ["defect"]
    assert count(one.meter, "herd_requests_total", model="unknown", outcome="ok") == 2
    assert one.batches == [2]


def test_requests_that_went_as_nearly_all_do_are_counted_together_with_the_others() -> None:
    one = Gathering()
    for outcome in (Outcome.OK, Outcome.OK, Outcome.TIMEOUT):
        entry = one.journal.begins("chat", 0.0)
        entry.names("llama")
        with entry.asks("llama") as trial:
            trial.picked("only")
        one.journal.ended(entry, outcome, trial.served() if outcome is Outcome.OK else None, 1.0)
    assert count(one.meter, "herd_picks_total", model="llama", reason="only") == 3
    assert count(one.meter, "herd_requests_total", model="llama", outcome="ok") == 2
    assert one.batches == [3]
