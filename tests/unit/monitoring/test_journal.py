"""One record of a request, and what it moves."""

import pytest

from monitoring.export import Meter
from monitoring.journal import Journal, Served
from monitoring.labels import Outcome, PrefillBy, Retry


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
    assert count(meter, "herd_requests_total", model="llama", endpoint="chat", outcome="ok") == 1
    assert count(meter, "herd_request_seconds_sum", model="llama", endpoint="chat") == 4
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
    assert count(meter, "herd_requests_total", model="llama", endpoint="chat", outcome="ok") == 1
    assert count(meter, "herd_picks_total", model="scout", reason="only") == 1


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.CLIENT_ERROR])
def test_request_that_is_not_answered_is_counted_as_it_ended(outcome: Outcome) -> None:
    meter = Meter()
    journal = Journal(meter)
    journal.ended(journal.begins("chat", arrived_s=0.0), outcome, None, now_s=1.0)
    assert count(meter, "herd_requests_total", model="unknown", endpoint="chat", outcome=outcome.value) == 1
