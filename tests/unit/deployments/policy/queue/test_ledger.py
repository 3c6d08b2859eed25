"""What a gateway counts of a model's load, and what it tells of it."""

import time

import pytest

from deployments.policy.queue.ledger import MOST_BUCKETS, PACES, REMEMBERED, Answered, Ledger
from deployments.policy.queue.load_record import BUCKET_S, Counted, EngineLoads, LoadRecord, Usual, beginning, key, read, written
from deployments.policy.queue.returns import LATE_S, MOST_KEPT, Returns

T = 1_000_000.0
"""A multiple of a bucket."""


def record(ledger: Ledger, now_s: float, waiting: int = 0, running: int = 0) -> LoadRecord:
    return ledger.record("gw", "1.0", (waiting, running), EngineLoads(ready=1), now_s)


def test_arrivals_are_counted_by_bucket_and_empty_buckets_are_left_out() -> None:
    ledger = Ledger(T)
    for at, tokens in ((0, 10), (4, 20), (11, 5)):
        ledger.arrived(tokens, b"%d" % at, T + at)
    told = record(ledger, T + 30)
    number = int(T / BUCKET_S)
    assert told.buckets == (Counted(number, 2, 30, squared_tokens=500), Counted(number + 2, 1, 5, squared_tokens=25))
    assert (told.gateway, told.release, told.at_s, told.since_s) == ("gw", "1.0", T + 30, T)


def test_clock_that_was_put_back_counts_in_the_newest_bucket() -> None:
    ledger = Ledger(T)
    ledger.arrived(1, b"a", T + 10)
    ledger.arrived(1, b"b", T)
    assert [one.requests for one in record(ledger, T + 10).buckets] == [2]


def test_ledger_keeps_five_minutes() -> None:
    ledger = Ledger(T)
    for number in range(3 * MOST_BUCKETS):
        ledger.arrived(1, b"%d" % number, T + number * BUCKET_S)
    assert len(record(ledger, T + 3 * MOST_BUCKETS * BUCKET_S).buckets) < MOST_BUCKETS
    assert record(ledger, T + 9e6).buckets == ()


def test_usual_request_is_the_mean_of_ended_ones_and_a_prompts_estimate_is_corrected() -> None:
    ledger = Ledger(T)
    ledger.answered(Answered(100, 150, 10, 2.0), T)
    ledger.answered(Answered(100, 150, 30, 4.0), T + 1)
    usual = record(ledger, T + 2).usual
    assert (usual.requests, usual.answer_tokens, usual.dwell_s) == (2, 20, 3.0)
    assert usual.token_ratio == pytest.approx(1.5)
    ledger.answered(Answered(100, None, 20, 3.0), T + 3)
    assert record(ledger, T + 4).buckets[-1].answered_prompt_tokens == pytest.approx(450), "without usage: 100 as corrected"
    for _ in range(2 * REMEMBERED):
        ledger.answered(Answered(0, 0, 100, 1.0), T + 5)
    assert record(ledger, T + 6).usual.requests == REMEMBERED
    assert record(ledger, T + 6).usual.answer_tokens == pytest.approx(100, rel=0.2), "old requests are forgotten"


def test_before_the_first_answer_nothing_is_usual() -> None:
    assert record(Ledger(T), T).usual == Usual()


def test_pace_between_tokens_is_that_of_nine_of_ten_answers() -> None:
    ledger = Ledger(T)
    for itl_s in (*(0.01 * step for step in range(1, 11)), 0.0):
        ledger.answered(Answered(1, 1, 5, 1.0, itl_s), T)
    assert record(ledger, T).buckets[-1].itl_s == pytest.approx(0.1)
    for _ in range(2 * PACES):
        ledger.answered(Answered(1, 1, 5, 1.0, 0.5), T)
    assert record(ledger, T).buckets[-1].itl_s == pytest.approx(0.5)


def test_what_waits_is_told_with_its_prompts() -> None:
    ledger = Ledger(T)
    ledger.arrived(80, b"a", T)
    ledger.waits(80, T)
    ledger.waits(20, T)
    told = record(ledger, T + 1, waiting=2, running=3)
    assert (told.waiting, told.waiting_tokens, told.running) == (2, 100, 3)
    ledger.waited(80, T + 2)
    assert record(ledger, T + 2, waiting=1).waiting_tokens == 20
    ledger.waited(20, T + 3)
    assert record(ledger, T + 3, waiting=0).waiting_tokens == 0


def test_trap_25_refused_requests_are_demand_and_wait_with_prompts_of_the_usual_size() -> None:
    ledger = Ledger(T)
    ledger.arrived(64, b"a", T)
    ledger.refused(b"a", T, 5)
    told = record(ledger, T + 1, waiting=2)
    assert told.buckets[0].requests == 1, "it came, and was refused"
    assert told.waiting_tokens == 128
    ledger.arrived(128, b"other", T)
    assert record(ledger, T + 1, waiting=1).waiting_tokens == 65, "the mean moves slowly"


def test_trap_26_retry_of_a_refused_request_is_not_another_one() -> None:
    ledger = Ledger(T)
    for at in (0, 2, 4):
        ledger.arrived(10, b"the same body", T + at)
        ledger.refused(b"the same body", T + at, 1)
    ledger.arrived(10, b"the same body", T + 4.5)
    ledger.arrived(10, b"the same body", T + 4.6)
    assert record(ledger, T + 5).buckets[0].requests == 2, "it came once, was sent again three times, and then somebody sent the same"


def test_bucket_in_which_somebody_waited_all_the_while_says_so() -> None:
    ledger = Ledger(T)
    ledger.waits(1, T + 1)
    ledger.waits(1, T + 2)
    ledger.waited(1, T + 14)
    assert [one.waited for one in record(ledger, T + 14).buckets] == [True], "not the first, in which nobody waited at first"
    ledger.waited(1, T + 16)
    number = int(T / BUCKET_S)
    assert [one.number - number for one in record(ledger, T + 40).buckets] == [1, 2], "and not the one in which the line ended"


def test_bucket_of_a_wait_without_events_says_so_too() -> None:
    ledger = Ledger(T)
    ledger.waits(1, T)
    number = int(T / BUCKET_S)
    assert [one.number - number for one in record(ledger, T + 22).buckets] == [0, 1, 2, 3]


def test_record_survives_its_writing() -> None:
    ledger = Ledger(T)
    ledger.arrived(10, b"a", T)
    ledger.waits(10, T)
    told = record(ledger, T + 12, waiting=1)
    assert read(written(told)) == told


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"gateway": 1}', "\ud800"])
def test_text_that_is_no_record_is_none(text: str) -> None:
    assert read(text) is None


def test_names_of_one_models_records_begin_alike_and_no_others_do() -> None:
    assert key("org/scout", "gw1").startswith(beginning("org/scout"))
    assert not key("org/scout-2", "gw1").startswith(beginning("org/scout"))


def test_refusal_is_forgotten_when_its_client_is_too_late() -> None:
    returns = Returns()
    returns.refused(b"a", T, 5)
    assert not returns.is_one(b"a", T + 5 + LATE_S)
    assert not returns.is_one(b"a", T)


def test_each_refusal_makes_up_for_one_return() -> None:
    returns = Returns()
    returns.refused(b"a", T, 5)
    returns.refused(b"a", T, 5)
    assert [returns.is_one(body, T + 1) for body in (b"b", b"a", b"a", b"a")] == [False, True, True, False]


def test_body_is_known_by_its_ends_and_its_length() -> None:
    returns = Returns()
    long = b"a" * 100_000
    returns.refused(long, T, 5)
    assert not returns.is_one(long + b"a", T)
    assert returns.is_one(long[:50_000] + b"b" + long[50_001:], T), "the middle of a long body is not looked at"


def test_refusals_are_bounded() -> None:
    returns = Returns()
    for number in range(MOST_KEPT + 10):
        returns.refused(b"%d" % number, T, 5)
    assert not returns.is_one(b"%d" % (MOST_KEPT + 5), T)
    returns.refused(b"later", T + 5 + LATE_S, 5)
    assert returns.is_one(b"later", T + 6 + LATE_S), "old ones made room"
    assert not returns.is_one(b"1", T)


def test_flood_of_refusals_is_not_looked_through_for_each_of_them() -> None:
    """Each look takes milliseconds, in which the gateway does nothing else."""
    returns = Returns()
    for number in range(MOST_KEPT):
        returns.refused(b"%d" % number, T, 5)
    began_s = time.thread_time()
    for number in range(2000):
        returns.refused(b"flood %d" % number, T + number / 4000, 5)
    assert time.thread_time() - began_s < 1
    returns.refused(b"later", T + 6 + LATE_S, 5)
    for number in range(MOST_KEPT):
        returns.refused(b"again %d" % number, T + 6 + LATE_S, 5)
    returns.refused(b"put back", T - 3600, 5)
    assert not returns.is_one(b"put back", T - 3600), "all that are kept are yet to come, by that clock"
