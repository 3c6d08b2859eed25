"""What the decision looks at, made of what gateways tell."""

import pytest

from cluster.scaling.observation import Bucket, Report
from cluster.scaling.work import NO_WORK, Work
from deployments.policy.queue.load_record import BUCKET_S, EngineLoads, LoadRecord, Usual
from deployments.policy.scaling.load_history import APART, LATE_S, MOST_KEPT, MOST_SERVED, History
from deployments.policy.scaling.load_report import ANSWER_TOKENS, DWELL_S, FORGOTTEN_S, SILENT_S, Unit, report, weights
from tests.unit.deployments.policy.scaling.samples import FIRST, RELEASE, T, bucket, record

NO_HISTORY = History()


def reported(*records: LoadRecord, now_s: float, unit: Unit = "requests", history: History = NO_HISTORY) -> tuple[History, Report]:
    """The history and the report of these records, so many seconds after `T`."""
    history, found = report(history, records, unit, 2.0, (30.0,), T + now_s)
    assert found is not None
    return history, found


def arrivals(found: Report) -> list[tuple[float, float, float]]:
    """When each bucket begins after `T`, its seconds, and its requests; without those before `T`."""
    return [(one.begun_s - T, one.seconds, one.requests) for one in found.arrivals if one.begun_s >= T]


def test_nobody_has_told_anything_is_no_report() -> None:
    assert report(History(), (), "requests", 2.0, (), T) == (History(), None)


def test_buckets_of_all_gateways_are_added_up() -> None:
    one = record(11, bucket(0, 2, 20), bucket(1, 1, 10), gateway="a", running=3)
    other = record(10.5, bucket(0, 5, 50), gateway="b", running=4)
    _, found = reported(one, other, now_s=11)
    assert arrivals(found) == [(0, 5, 7), (5, 5, 1)]
    assert (found.running_requests, found.taken_s, found.release, found.missing) == (7, T + 11, RELEASE, 0)
    assert found.start_times_s == (30.0,)


def test_requests_in_flight_are_told_where_they_are_the_unit_and_some_have_waited_for_a_bucket() -> None:
    waited = bucket(0, 2, 20, waited=True)
    full = record(6, waited, waiting=38, running=12)
    assert reported(full, record(6, gateway="b", running=1), now_s=6)[1].in_flight == Work(kv_token_s=51)
    assert reported(record(6, waited, running=2, engines=EngineLoads(ready=1, room=1)), now_s=6)[1].in_flight == Work(kv_token_s=4)
    assert reported(record(6, bucket(0, 2, 20), waiting=1, running=12), now_s=6)[1].in_flight == NO_WORK, "it waits for a moment"
    assert reported(full, now_s=6, unit="tokens")[1].in_flight == NO_WORK


def test_requests_in_flight_are_told_until_those_have_ended_that_ran_while_others_waited() -> None:
    def told(after_s: float) -> Work:
        return reported(record(after_s, bucket(0, 2, 20, waited=True), running=12, usual=Usual(10, 100, 30.0)), now_s=after_s)[1].in_flight

    assert told(40) == Work(kv_token_s=12)
    assert told(41) == NO_WORK


def test_squares_of_prompts_are_in_tokens_as_engines_count_them() -> None:
    told = record(6, bucket(0, 2, 30, squared_tokens=500), usual=Usual(10, 100, 4.0, token_ratio=2.0))
    _, found = reported(told, now_s=6, unit="tokens")
    assert found.arrivals[-1].squared_tokens == 2000
    assert found.arrivals[-1].work.prefill_tokens == 60


def test_bucket_waits_until_every_gateway_has_told_of_it_or_one_is_late() -> None:
    one, other = record(10.1, bucket(0, 2), bucket(1, 1), gateway="a"), record(9.9, bucket(0, 5), gateway="b")
    _, found = reported(one, other, now_s=10.2)
    assert arrivals(found) == [(0, 5, 7)], "one gateway has not told of the second bucket's end"
    _, found = reported(one, other, now_s=10 + LATE_S)
    assert arrivals(found) == [(0, 5, 7), (5, 5, 1)]


def test_bucket_is_added_once() -> None:
    history, _ = reported(record(5.5, bucket(0, 2)), now_s=6)
    again, found = reported(record(5.9, bucket(0, 2)), now_s=6, history=history)
    assert again == history
    history, found = reported(record(10.5, bucket(0, 2), bucket(1, 1)), now_s=11, history=history)
    assert arrivals(found) == [(0, 5, 2), (5, 5, 1)]


def test_trap_8_time_that_no_gateway_observed_is_left_out_and_is_not_taken_for_idle() -> None:
    _, found = reported(record(31, bucket(5, 1), since_s=T + 22), now_s=31)
    assert arrivals(found) == [(25, 5, 1)], "the bucket in which the gateway began is not observed as a whole"
    _, found = reported(record(31, bucket(4, 1), since_s=T + 22), now_s=31)
    assert arrivals(found) == [(20, 5, 1), (25, 5, 0)], "but requests in it are"


def test_trap_7_gateway_that_tells_no_more_is_missing_then_forgotten_by_who_asks() -> None:
    silent, alive = record(5.5, bucket(0, 5), gateway="a", waiting=9), record(5.5 + SILENT_S + 1, gateway="b")
    _, found = reported(silent, alive, now_s=5.5 + SILENT_S + 1)
    assert found.missing == 1
    assert found.waiting_requests == 0, "its line has gone with it"
    assert arrivals(found)[0] == (0, 5, 5), "what it has counted stays"
    assert FORGOTTEN_S > SILENT_S


def test_report_of_silent_gateways_alone_is_as_old_as_they_are() -> None:
    _, found = reported(record(0, bucket(-1, 5)), now_s=100)
    assert (found.taken_s, found.missing) == (T, 1)


def test_trap_4_gateways_of_two_releases_say_the_other_one() -> None:
    old, new = record(5, gateway="a", release="0.9"), record(6, gateway="b")
    assert reported(old, new, now_s=6)[1].release == "0.9"
    assert reported(new, now_s=6)[1].release == RELEASE


def test_time_in_which_the_store_did_not_take_records_is_told_afterwards() -> None:
    history, _ = reported(record(5.5, bucket(0, 2)), now_s=6)
    history, found = reported(record(5.5, bucket(0, 2)), now_s=40, history=history)
    assert (len(arrivals(found)), found.missing) == (1, 1)
    _, found = reported(record(41, bucket(0, 2), bucket(3, 7)), now_s=41, history=history)
    assert [requests for *_, requests in arrivals(found)] == [2, 0, 0, 7, 0, 0, 0, 0]


def test_hours_without_a_request_are_one_bucket() -> None:
    history = History()
    for step in range(0, 4 * MOST_KEPT):
        history, found = reported(record(step * BUCKET_S + 0.5), now_s=step * BUCKET_S + 1, history=history)
    assert len(found.arrivals) == APART + 1
    whole = found.arrivals[0]
    assert whole.requests == 0
    assert whole.begun_s + whole.seconds == found.arrivals[1].begun_s


def test_history_is_bounded() -> None:
    history = History()
    for step in range(2 * MOST_KEPT):
        told = record(step * BUCKET_S + 0.5, bucket(step - 1, 1, waited=True))
        history, _ = reported(told, now_s=step * BUCKET_S + 1, history=history, unit="tokens")
    assert (len(history.arrivals), len(history.served)) == (MOST_KEPT, MOST_SERVED)


def test_request_weighs_the_time_that_it_stays_where_no_plan_is_known() -> None:
    told = record(6, bucket(0, 3, 300), waiting=2, waiting_tokens=10.0, engines=EngineLoads(ready=1, waiting=1, room=4))
    _, found = reported(told, now_s=6)
    assert found.arrivals[-1] == Bucket(T, BUCKET_S, 3, Work(kv_token_s=12.0))
    assert found.backlog == Work(kv_token_s=12.0), "two wait at the gateway and one inside an engine, for 4 s each"
    assert found.waiting_requests == 3


def test_request_weighs_more_where_a_replica_runs_fewer_than_the_target() -> None:
    told = record(6, bucket(0, 3), engines=EngineLoads(ready=1, room=1))
    assert reported(told, now_s=6)[1].arrivals[-1].work.kv_token_s == 24.0


def test_request_weighs_its_tokens_where_a_plan_is_known() -> None:
    engines = EngineLoads(ready=2, waiting=1, prefill_tokens=300, hit_share=0.25)
    told = record(6, bucket(0, 2, 100), usual=Usual(5, 50, 2.0, 2.0), engines=engines)
    _, found = reported(told, now_s=6, unit="tokens")
    last = found.arrivals[-1]
    assert (last.work, last.cached_tokens) == (Work(150, 100, 500), 50), "200 tokens of prompts, of which caches have a quarter"
    assert found.backlog.prefill_tokens == pytest.approx(225)


def test_engines_that_still_read_prompts_are_no_backlog_where_nobody_waits() -> None:
    told = record(6, engines=EngineLoads(ready=1, prefill_tokens=5000))
    assert reported(told, now_s=6, unit="tokens")[1].backlog == Work()


def test_trap_12_usual_requests_are_averaged_over_gateways_by_how_many_each_has_seen() -> None:
    few, many = record(1, gateway="a", usual=Usual(1, 10, 1.0, 1.0)), record(1, gateway="b", usual=Usual(3, 50, 5.0, 2.0))
    assert weights((few, many), "tokens", 2.0).usual == Usual(4, 40, 4.0, 1.75)


def test_before_the_first_answer_a_guess_stands_for_it() -> None:
    assert weights((record(1, usual=Usual()),), "tokens", 2.0).usual == Usual(0, ANSWER_TOKENS, DWELL_S)


def test_trap_10_what_replicas_served_under_backlog_says_how_young_they_were() -> None:
    engines = EngineLoads(ready=2, youngest_s=100, hit_share=0.5)
    busy = bucket(0, waited=True, answered_prompt_tokens=80, answer_tokens=30, itl_s=0.05)
    idle = bucket(1, answered_prompt_tokens=99)
    _, found = reported(record(11, busy, idle, engines=engines), now_s=11, unit="tokens")
    (served,) = found.served
    assert (served.ended_s, served.replica_s, served.work, served.youngest_s, served.itl_s) == (T + 5, 10, Work(40, 30), 94, 0.05)
    assert reported(record(11, busy, engines=engines), now_s=11)[1].served == (), "requests in flight teach no pace"


def test_first_history_does_not_reach_back_beyond_what_gateways_keep() -> None:
    history, found = reported(record(1), now_s=1)
    assert history.until == FIRST - 1
    assert len(found.arrivals) <= MOST_KEPT
