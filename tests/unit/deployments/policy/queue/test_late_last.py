"""`deployments.policy.queue`: requests that can keep their objective go before those that cannot any more."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from configs.schema import Limits
from deployments.policy.errors.client_errors import Overloaded
from deployments.policy.queue.admission import Queue
from deployments.policy.queue.slots import LEFT_LEAST, LEFT_MOST, Refused, Slot, Waiting, in_time_s
from deployments.policy.queue.waiting_line import Line
from deployments.policy.routing.types import Ask
from tests.unit.deployments.policy.queue.test_admission import BATCH, HURRY, LIMITS, LLAMA, Pool, granted, pool, waits
from tests.unit.samples import replica

SOON = Ask(ttft_s=10)
#: Seconds that a request may wait where nothing is known of how soon requests are answered.
IN_TIME_S = 10 * (1 - LEFT_LEAST)


def full(limits: Limits = LIMITS) -> tuple[Queue, Slot]:
    """A model whose only slot is taken."""
    queue = Queue(LLAMA, pool(1))
    return queue, granted(queue.offered(SOON, limits, 0))


def test_request_that_is_in_time_goes_before_those_that_are_too_late() -> None:
    queue, slot = full()
    late, later = waits(queue.offered(SOON, LIMITS, 0)), waits(queue.offered(SOON, LIMITS, 1))
    soon = waits(queue.offered(SOON, LIMITS, 7.5))
    assert queue.freed(slot, 8.5) == [soon]
    assert queue.freed(granted(soon.outcome), 9) == [late], "among those that are too late the first one goes first"
    assert queue.freed(granted(late.outcome), 9) == [later]


def test_requests_go_in_turn_as_long_as_all_are_in_time() -> None:
    queue, slot = full()
    first, second = waits(queue.offered(SOON, LIMITS, 0)), waits(queue.offered(SOON, LIMITS, 1))
    assert queue.freed(slot, IN_TIME_S - 0.1) == [first]
    assert queue.freed(granted(first.outcome), IN_TIME_S - 0.1) == [second]


@pytest.mark.parametrize("ask", [Ask(), SOON._replace(begun=True), SOON._replace(priority=BATCH)])
def test_nothing_is_too_late_without_an_objective_or_inside_a_stream(ask: Ask) -> None:
    queue, slot = full()
    first, second = waits(queue.offered(ask, LIMITS, 0)), waits(queue.offered(ask, LIMITS, 20))
    assert first.late_s == inf
    assert queue.freed(slot, 25) == [first]
    assert queue.freed(granted(first.outcome), 25) == [second]


def test_too_late_requests_in_a_hurry_still_go_before_batch_ones() -> None:
    queue, slot = full()
    batch, late = waits(queue.offered(SOON._replace(priority=BATCH), LIMITS, 0)), waits(queue.offered(SOON, LIMITS, 0))
    assert queue.freed(slot, 20) == [late]
    assert queue.freed(granted(late.outcome), 20) == [batch]


def test_requests_that_start_a_model_keep_their_order() -> None:
    queue = Queue(LLAMA, some := Pool())
    first, second = (waits(queue.offered(SOON._replace(on_demand=True), LIMITS, second)) for second in (0.0, 8.0))
    some.has(replace(replica("a"), slots=1))
    assert queue.expects(1, 12) == [first]
    assert queue.freed(granted(first.outcome), 13) == [second]


def test_time_that_requests_take_to_their_first_token_is_not_waited_away() -> None:
    assert in_time_s(SOON, 0.0) == IN_TIME_S
    assert in_time_s(SOON, 5.0) == 5.0
    assert in_time_s(SOON, 60.0) == pytest.approx(10 * (1 - LEFT_MOST)), "else none would ever be in time"
    queue, slot = full()
    queue.answered(slot, 4.0)
    queue.answered(slot, 9.0)  # told again, it is the same first token
    assert waits(queue.offered(SOON, LIMITS, 20)).late_s == 20 + 6


def test_newcomer_that_will_be_in_time_takes_the_place_of_the_last_one_that_is_too_late() -> None:
    queue, slot = full()
    line = [waits(queue.offered(SOON._replace(ttft_s=1), LIMITS, 0)) for _ in range(4)]
    assert queue.freed(slot, 1) == line[:1]
    waits(queue.offered(SOON, LIMITS, 1))
    assert queue.displaced() == [], "the line was not full"
    assert isinstance(queue.offered(SOON, LIMITS, 1), Waiting)
    assert queue.displaced() == [line[3]]
    assert isinstance(line[3].outcome, Overloaded)
    assert queue.displaced() == [], "it is told once"
    assert queue.demand(1) == 5, "who was refused is demand"


def test_full_line_of_requests_that_are_in_time_takes_no_more() -> None:
    queue, slot = full()
    line = [waits(queue.offered(SOON, LIMITS, 0)) for _ in range(4)]
    queue.freed(slot, 0.5)
    waits(queue.offered(SOON, LIMITS, 1.0))
    assert isinstance(queue.offered(SOON, LIMITS, 1.0), Overloaded)
    assert line[1].outcome is None


def test_requests_that_will_be_too_late_are_refused_at_once_while_none_of_those_is_served() -> None:
    """Else each would wait for `queue_s` in vain, as long as more come than can be served."""
    limits = Limits(queue_s=30, queue_requests=100)
    queue, slot = full(limits)
    late = waits(queue.offered(SOON, limits, 0))
    outcomes: list[Waiting | Slot | Refused] = []
    for second in range(1, 26):  # two come every second, and one is served, which is in time
        outcomes += [queue.offered(SOON, limits, second) for _ in range(2)]
        over = queue.freed(slot, second)
        assert len(over) == 1
        slot = granted(over[0].outcome)
        assert (over[0] is late) == (second == 1)
    first_refused = next(place for place, one in enumerate(outcomes) if isinstance(one, Overloaded))
    assert isinstance(outcomes[first_refused], Overloaded)
    assert first_refused >= 2 * 20, "the first ones became too late after seven seconds, and none of them was served for fifteen"


def test_request_that_is_too_late_goes_first_once_it_has_waited_for_half_as_long_as_it_may() -> None:
    queue, slot = full()
    late = waits(queue.offered(SOON, LIMITS, 0))
    soon = waits(queue.offered(SOON, LIMITS, 14))
    assert queue.freed(slot, 15) == [late]
    assert queue.freed(granted(late.outcome), 15.5) == [soon]


def test_newcomer_does_not_pass_one_that_has_waited_for_half_as_long_as_it_may() -> None:
    some = pool(1)
    queue = Queue(LLAMA, some)
    granted(queue.offered(SOON, LIMITS, 0))
    late = waits(queue.offered(SOON, LIMITS, 0))
    some.has(replace(some.views[0], slots=2))  # nobody has looked again since
    soon = waits(queue.offered(SOON, LIMITS, 16))
    assert queue.news(16) == [late]
    assert soon.outcome is None


def test_while_newcomers_are_refused_for_long_those_go_first_that_are_in_time() -> None:
    limits = Limits(queue_s=30, queue_requests=3)
    queue, slot = full(limits)
    for second in range(100):
        queue.expired(second)
        for _ in range(3):
            queue.offered(SOON, limits, second)
            queue.displaced()
        if second % 2:
            (over,) = queue.freed(slot, second)
            slot = granted(over.outcome)
            if second > 62:
                assert over.since_s > second - IN_TIME_S, "more come than can be served, so those that are too late wait"


def test_newcomer_waits_where_no_slot_has_become_free() -> None:
    """Nobody was served past the one that is too late, so that it does not tell that more come than can be served."""
    limits = Limits(queue_s=100, queue_requests=100)
    queue, slot = full(limits)
    queue.freed(slot, 20)
    slot = granted(queue.offered(SOON, limits, 20))
    waits(queue.offered(SOON, limits, 21))
    waits(queue.offered(SOON, limits, 95))


@given(
    st.lists(st.tuples(st.integers(), st.sampled_from([HURRY, BATCH]), st.integers(0, 20)), unique_by=lambda one: one[0]),
    st.integers(0, 20),
)
def test_line_goes_by_class_then_by_being_in_time_then_by_arrival(waiting: list[tuple[int, int, int]], now_s: int) -> None:
    line: Line[int] = Line()
    for name, priority, late_s in waiting:
        line.join(name, priority, 0.0, late_s)  # type: ignore[arg-type]
    line.look(now_s)
    order = {
        name: (priority, late_s <= now_s, late_s if late_s <= now_s else 0, place) for place, (name, priority, late_s) in enumerate(waiting)
    }
    assert list(line) == sorted(order, key=order.__getitem__)
    for name, priority, _ in waiting:
        line.leave(name, priority)  # type: ignore[arg-type]
    assert line.is_empty
