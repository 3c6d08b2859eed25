"""`policy.fleet.canary` and `known_answer`: what a known answer proves, and what it does not because of who else was in the batch."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Canary
from deployments.policy.fleet.canary import (
    Heard,
    History,
    Verdict,
    heard,
    is_slow,
    judged,
    late,
    outvoted,
    request,
    slow_after,
    stuck_after,
    unfit,
    whole_after,
)
from deployments.policy.fleet.known_answer import BEST, Token, Vote, as_plain, disagreement, of_plain, vote
from deployments.policy.fleet.slowness import Circumstances, Pace

SETTINGS = Canary()
INFINITE = float("inf")


def token(name: str, logprob: float = -0.1, **best: float) -> Token:
    """A token, and the others that were likely; what is not said is far behind."""
    return Token(name, logprob, {name: logprob, "rest": -9.0} | best)


#: A replica that has no other beside it.
ALONE = Circumstances(Pace("a", "10.0.0.1"), (), complete=True, idle=True, crowd=0.5, now_s=100.0)
KNOWN = (token("a"), token("b", -0.7, c=-0.8), token("d"))
#: As far as batches move log-probabilities, and rather more.
NOISE = st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3)


def moved(tokens: tuple[Token, ...], by: list[float]) -> tuple[Token, ...]:
    """The same answer from a batch that moved each place's log-probabilities."""
    return tuple(
        Token(one.id, one.logprob + noise, {name: value + noise for name, value in one.best.items()})
        for one, noise in zip(tokens, by, strict=True)
    )


@given(NOISE)
def test_a_batch_makes_no_answer_wrong(noise: list[float]) -> None:
    assert disagreement(KNOWN, moved(KNOWN, noise)) <= 0.2 + 1e-9
    assert judged(SETTINGS, History(KNOWN), Heard("x", moved(KNOWN, noise)), ALONE).last is Verdict.RIGHT


def test_where_two_tokens_are_close_either_may_come_and_what_follows_proves_nothing() -> None:
    turned = (KNOWN[0], token("c", -0.72, b=-0.75), token("z", -3.0))
    assert disagreement(KNOWN, turned) == pytest.approx(0.1)
    assert disagreement(turned, KNOWN) == pytest.approx(0.1)


def test_another_token_where_one_was_far_ahead_is_wrong() -> None:
    other = (KNOWN[0], KNOWN[1], token("e"))
    assert disagreement(KNOWN, other) == pytest.approx(8.9), "as far as it was ahead of the last of the likeliest, at least"
    assert disagreement(KNOWN, (token("a", -4.0), *KNOWN[1:])) == pytest.approx(3.9), "the same token, and much less sure of it"


def test_an_answer_from_broken_numbers_is_infinitely_wrong() -> None:
    nan = float("nan")
    for broken in ((), KNOWN[:2], (token("a", nan), *KNOWN[1:]), (Token("z", nan, {"z": nan}), *KNOWN[1:])):
        assert disagreement(KNOWN, broken) == disagreement(broken, KNOWN) == INFINITE
    assert disagreement((), ()) == INFINITE
    assert disagreement((Token("a", -1.0, {}),), (token("b"),)) == INFINITE


@given(st.lists(st.floats(-20, 0), min_size=1, max_size=6))
def test_an_answer_agrees_with_itself(logprobs: list[float]) -> None:
    answer = tuple(token(str(number), value) for number, value in enumerate(logprobs))
    assert disagreement(answer, answer) == 0
    assert of_plain(json.loads(json.dumps(as_plain(answer)))) == answer


def event(ids: list[int], **choice: object) -> str:
    logprobs = {
        "tokens": [f"token_id:{one}" for one in ids],
        "token_logprobs": [-0.5 for _ in ids],
        "top_logprobs": [{f"token_id:{one}": -0.5, "token_id:0": -2.0} for one in ids],
    }
    return "data: " + json.dumps({"choices": [{"text": "x" * len(ids), "logprobs": logprobs} | choice]}) + "\n\n"


def test_a_streamed_answer_is_read() -> None:
    stream = ": ping\n\n" + event([7]) + event([8, 9]) + event([], logprobs=None) + "data: [DONE]\n\n"
    assert heard(stream) == Heard(
        "xxx", tuple(Token(f"token_id:{one}", -0.5, {f"token_id:{one}": -0.5, "token_id:0": -2.0}) for one in (7, 8, 9))
    )


def test_numbers_that_are_none_arrive_as_null() -> None:
    (only,) = heard(event([7]).replace("-0.5", "null")).tokens
    assert math.isnan(only.logprob)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        ('data: {"error": {"message": "out of memory"}}', "out of memory"),
        ("data: {", "its answer cannot be read (JSONDecodeError)"),
        ('data: {"choices": [{}]}', "its answer cannot be read (KeyError)"),
    ],
)
def test_a_stream_that_is_no_answer(stream: str, error: str) -> None:
    assert heard(stream).error == error


def test_a_canary_is_greedy_and_goes_on_to_its_last_token() -> None:
    body = request("llama", Canary(prompt="Llamas", tokens=5))
    assert (body["model"], body["prompt"], body["max_tokens"]) == ("llama", "Llamas", 5)
    assert (body["temperature"], body["ignore_eos"], body["logprobs"], body["stream"]) == (0, True, BEST, True)


GOOD, BAD = Heard("x", KNOWN, 0.2), Heard("y", (token("z"), *KNOWN[1:]), 0.2)


def after(*came: Heard, settings: Canary = SETTINGS, seen: Circumstances = ALONE) -> History:
    history = History(KNOWN)
    for one in came:
        history = judged(settings, history, one, replace(seen, own=replace(seen.own, seconds=one.seconds)))
    return history


def test_sick_after_so_many_bad_ones_in_a_row() -> None:
    assert (after(BAD).sick, after(BAD).in_a_row, after(BAD).last) == (False, 1, Verdict.WRONG)
    assert "8.90 nats" in after(BAD).why
    assert not after(BAD, GOOD, BAD).sick
    assert after(BAD, BAD).sick
    assert after(BAD, BAD, GOOD).sick, "who was wrong twice is not believed a third time"
    assert after(BAD, settings=Canary(failures=1)).sick


def test_what_is_busy_is_neither_good_nor_bad() -> None:
    busy = Heard(waiting=True, moved=True)
    found = after(BAD, busy)
    assert (found.last, found.in_a_row, found.sick) == (Verdict.BUSY, 1, False)
    assert after(BAD, busy, BAD).sick


@pytest.mark.parametrize(
    ("came", "verdict"),
    [
        (Heard(error="502: no"), Verdict.FAILED),
        (Heard(waiting=True, moved=False), Verdict.STUCK),
        (Heard(unfinished=True, moved=False), Verdict.STUCK),
        (Heard(error="503: too many", refused=True, moved=False), Verdict.FAILED),
        (Heard(), Verdict.WRONG),
    ],
)
def test_other_ways_to_be_bad(came: Heard, verdict: Verdict) -> None:
    found = after(came)
    assert (found.last, found.in_a_row) == (verdict, 1)
    assert found.why
    assert after(came, came).sick


def test_an_engine_that_refuses_a_canary_because_it_is_full_is_busy() -> None:
    full = Heard(error="503: too many", refused=True)
    assert (after(full, full, full).last, after(full, full, full).sick) == (Verdict.BUSY, False)


LATE = replace(GOOD, seconds=9.0)
#: Another replica, whose last canary was quick and came after this one's.
QUICK = Pace("b", "10.0.0.2", seconds=0.3, age_s=1.0)
AMONG = replace(ALONE, others=(QUICK,))


def test_a_late_canary_of_a_lone_replica_proves_nothing() -> None:
    for came in (LATE, Heard(unfinished=True, seconds=9.0)):
        found = after(*[came] * 100)
        assert (found.last, found.sick, is_slow(SETTINGS, found)) == (Verdict.HELD_UP, False, False)


def test_a_replica_that_is_slower_than_another_is_avoided_and_not_restarted_at_once() -> None:
    assert (after(LATE, seen=AMONG).last, is_slow(SETTINGS, after(LATE, seen=AMONG))) == (Verdict.SLOW, False)
    found = after(LATE, LATE, seen=AMONG)
    assert (is_slow(SETTINGS, found), found.sick, found.in_a_row) == (True, False, 0)
    assert "most other replicas are faster" in found.why
    assert not is_slow(SETTINGS, after(LATE, LATE, GOOD, seen=AMONG)), "one quick canary ends it"


def test_a_replica_that_stays_slow_is_restarted_for_it() -> None:
    found = after(*[LATE] * 10, seen=AMONG)
    assert (found.sick, found.last) == (True, Verdict.SLOW)
    assert not after(*[LATE] * 9, seen=AMONG).sick


def test_a_late_answer_that_is_wrong_is_wrong() -> None:
    found = after(replace(BAD, seconds=9.0), replace(BAD, seconds=9.0))
    assert (found.last, found.sick) == (Verdict.WRONG, True)


def test_a_late_answer_that_is_right_ends_a_row_of_wrong_ones() -> None:
    assert not after(BAD, LATE, BAD).sick
    assert after(BAD, Heard(unfinished=True, seconds=9.0), BAD).sick, "one without an answer does not"


def test_late_is_by_what_is_usual_and_by_how_crowded_the_machine_is() -> None:
    history = replace(History(KNOWN), usual_s=1.0)
    assert late(SETTINGS, History(KNOWN), LATE, 0.5)
    assert not late(SETTINGS, history, LATE, 0.5), "it usually takes a second"
    assert not late(SETTINGS, History(KNOWN), LATE, 4.0), "four threads share each CPU"
    assert late(SETTINGS, history, Heard(unfinished=True), 0.5)


SECONDS = st.floats(0, 100)


@given(SECONDS, SECONDS, SECONDS, st.integers(1, 65_536))
def test_no_load_makes_any_bound_shorter(usual_s: float, crowd: float, step_s: float, batch_tokens: int) -> None:
    slow_s = slow_after(SETTINGS, usual_s, crowd)
    assert slow_s >= max(SETTINGS.slow_s, slow_after(SETTINGS, usual_s, 0))
    assert whole_after(SETTINGS, usual_s, crowd, step_s) >= max(slow_s, SETTINGS.tokens * step_s)
    assert stuck_after(SETTINGS, usual_s, batch_tokens, crowd) >= max(SETTINGS.stuck_s, stuck_after(SETTINGS, usual_s, 1, 0))


@pytest.mark.parametrize(
    ("usual_s", "batch_tokens", "crowd", "expected_s"),
    [
        (0.16, 8192, 0.5, 60),  # 70B on H100s, 20 ms a token: a whole step takes half a second
        (0.4, 4096, 1, 60),  # SmolLM2 on two cores, 50 ms a token: a whole step takes 22 s
        (0.4, 4096, 4, 240),  # the same with eight threads that want to run
        (1.6, 8192, 1, 409.6),  # a slow CPU: a whole step takes minutes
    ],
)
def test_an_engine_may_show_nothing_for_as_long_as_its_longest_step(
    usual_s: float, batch_tokens: int, crowd: float, expected_s: float
) -> None:
    assert stuck_after(SETTINGS, usual_s, batch_tokens, crowd) == pytest.approx(expected_s)


def test_what_is_usual_follows_slowly_and_only_an_idle_engine() -> None:
    usual = after(replace(GOOD, seconds=1.0), replace(GOOD, seconds=2.0)).usual_s
    assert 1.0 < usual < 1.5
    assert after(replace(GOOD, seconds=1.0), BAD).usual_s == 1.0
    assert after(replace(GOOD, seconds=1.0), replace(GOOD, seconds=4.0, idle=False)).usual_s == 1.0, "clients' load is not usual"


OTHER = (token("z"), *KNOWN[1:])


@pytest.mark.parametrize(
    ("others", "newcomer", "expected"),
    [
        ([], True, Vote.ALONE),
        ([KNOWN], True, Vote.AGREED),
        ([KNOWN], False, Vote.AGREED),
        ([OTHER], True, Vote.OUTVOTED),
        ([OTHER], False, Vote.DISPUTED),
        ([OTHER, KNOWN], True, Vote.DISPUTED),
        ([OTHER, KNOWN], False, Vote.AGREED),
        ([OTHER, OTHER], False, Vote.OUTVOTED),
    ],
)
def test_votes(others: list[tuple[Token, ...]], newcomer: bool, expected: Vote) -> None:
    assert vote(KNOWN, others, SETTINGS.tolerance, newcomer) is expected


def test_who_is_outvoted_is_sick() -> None:
    found = outvoted(History(KNOWN))
    assert (found.sick, found.last) == (True, Verdict.OUTVOTED)


@pytest.mark.parametrize(
    ("came", "answer", "reason"),
    [
        (GOOD, None, None),
        (Heard(error="400: too long"), None, "had no answer: 400: too long"),
        (Heard(waiting=True), None, "no token within 60 s"),
        (Heard(unfinished=True), None, "too slowly"),
        (Heard("!!!", (token("a", float("nan")),)), None, "no numbers"),
        (Heard(), None, "no numbers"),
        (replace(GOOD, text=" 8, 9, 10"), "8, 9", None),
        (replace(GOOD, text=" 8, "), "8, 9, 10, 11", None),
        (replace(GOOD, text="  "), "8", "canary.answer says '8'"),
        (replace(GOOD, text=" 9"), "8", "answered ' 9', and canary.answer says '8'"),
    ],
)
def test_who_may_begin(came: Heard, answer: str | None, reason: str | None) -> None:
    found = unfit(Canary(answer=answer), came)
    assert found is None if reason is None else reason in str(found)
