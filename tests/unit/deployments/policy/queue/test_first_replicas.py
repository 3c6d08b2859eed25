"""`deployments.policy.queue`: requests for a model without replicas wait for a start, and are spread over the replicas that come up."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from configs.schema import Limits
from deployments.policy.errors.client_errors import Overloaded, Starting, Unavailable
from deployments.policy.queue.admission import Queue
from deployments.policy.queue.first_replicas import LATEST_S, SOONEST_S, Start
from deployments.policy.queue.slots import Waiting
from deployments.policy.request.calls import Priority
from deployments.policy.routing.availability import RETRY_AFTER_S
from deployments.policy.routing.types import Ask, ReplicaState, ReplicaView
from tests.unit.deployments.policy.queue.test_admission import LLAMA, Pool, granted, waits
from tests.unit.samples import replica

LIMITS = Limits(queue_s=30, queue_requests=100, start_wait_s=200)
FIRST = Ask(on_demand=True)


class Started(Pool):
    """A model whose start takes 60 s, as a gateway knows."""

    def start_s(self, model: str) -> float:
        return 60.0


def view(name: str, slots: int = 64) -> ReplicaView:
    return replace(replica(name), slots=slots)


def at_zero(requests: int, pool: Pool | None = None) -> tuple[Pool, Queue, list[Waiting]]:
    """A model without replicas, and so many requests that have come at once at 0 s."""
    pool = Started() if pool is None else pool
    queue = Queue(LLAMA, pool)
    return pool, queue, [waits(queue.offered(FIRST, LIMITS, 0.0)) for _ in range(requests)]


def where(over: list[Waiting]) -> Counter[str]:
    """Returns how many of these waits ended at each replica."""
    return Counter(granted(one.outcome).pick.replica.id for one in over)


def test_start_takes_as_long_as_the_config_says_until_one_was_measured() -> None:
    pool, queue, waiting = at_zero(1, Pool())
    hurried = queue.offered(FIRST._replace(hurried=True), LIMITS, 5.0)
    assert isinstance(hurried, Starting)
    assert (hurried.retry_after_s, queue.told_start_s, queue.start_s) == (40, 45.0, 0.0)
    pool.has(view("a"))
    queue.news(20.0)
    assert queue.expects(1, 20.2) == waiting
    assert queue.told_start_s == 20.0, "what was seen counts"


def test_first_requests_wait_and_are_demand_until_a_replica_is_ready() -> None:
    pool, queue, waiting = at_zero(2)
    assert (queue.demand(1), queue.is_starting, queue.start_s) == (2, True, 60.0)
    assert [one.until_s for one in waiting] == [200.0, 200.0]
    assert all(one.for_start for one in waiting)
    assert queue.news(50.0) == [], "nobody is there yet"
    pool.has(view("a"))
    assert queue.news(70.0) == [], "how many replicas come is not known yet"
    assert queue.expects(1, 70.2) == waiting
    assert (queue.start_s, queue.is_starting, len(queue)) == (70.0, False, 0), "the start took as long as the first request waited"
    assert granted(queue.offered(FIRST, LIMITS, 71.0)).pick.replica.id == "a"


def test_waiting_requests_are_spread_over_all_replicas_that_start() -> None:
    pool, queue, _ = at_zero(30)
    pool.has(view("a"))
    queue.news(60.0)
    assert where(queue.expects(3, 60.1)) == {"a": 10}
    newcomer = waits(queue.offered(FIRST, LIMITS, 61.0))
    pool.has(view("a"), view("b"))
    assert where(queue.news(62.0)) == {"a": 1, "b": 11}, "the share has grown with the newcomer"
    assert newcomer.outcome is None, "it is behind those that came before it"
    pool.has(view("a"), view("b"), view("c"))
    assert where(queue.news(64.0)) == {"c": 9}
    assert (len(queue), queue.is_starting) == (0, False)


@given(st.integers(1, 80), st.integers(1, 6), st.lists(st.floats(0, 2), min_size=6, max_size=6))
def test_no_replica_gets_more_than_its_share_however_late_the_others_come(requests: int, replicas: int, later_s: list[float]) -> None:
    pool, queue, _ = at_zero(requests)
    now_s, there, over = 60.0, list[ReplicaView](), Counter[str]()
    for name, after_s in zip("abcdef"[:replicas], later_s, strict=False):
        now_s += after_s
        pool.has(*(there := [*there, view(name, slots=100)]))
        over += where(queue.news(now_s))
        over += where(queue.expects(replicas, now_s))
    assert over.total() == requests, "all are answered"
    assert max(over.values()) <= -(-requests // replicas)


@pytest.mark.parametrize(("usual_s", "later_s"), [(60.0, 15.0), (1.0, SOONEST_S), (0.0, SOONEST_S), (1000.0, LATEST_S)])
def test_first_replica_gets_all_when_the_others_do_not_come_in_time(usual_s: float, later_s: float) -> None:
    start = Start(0.0)
    assert (start.grants, start.is_over(usual_s, 10.0)) == (False, False)
    assert start.ready(10.0) == 10.0
    assert start.ready(11.0) is None
    start.expects(2)
    assert (start.grants, start.is_over(usual_s, 10.0 + later_s - 0.1)) == (True, False)
    assert start.is_over(usual_s, 10.0 + later_s)


def test_replica_that_does_not_come_holds_up_its_share_for_a_while_only() -> None:
    pool, queue, _ = at_zero(4)
    pool.has(view("a"))
    queue.news(60.0)
    assert where(queue.expects(2, 60.0)) == {"a": 2}
    assert where(queue.expects(2, 74.0)) == {}
    assert where(queue.expects(2, 76.0)) == {"a": 2}
    assert not queue.is_starting
    assert queue.expects(2, 77.0) == []


def test_request_that_has_failed_somewhere_waits_for_its_share_of_another_replica() -> None:
    """It came while the other replica was full, and both went away before there was room."""
    pool = Started(view("a", slots=1), view("b", slots=1))
    queue = Queue(LLAMA, pool)
    for _ in range(2):
        granted(queue.offered(FIRST, LIMITS, 0.0))
    failed = waits(queue.offered(FIRST._replace(tried=frozenset({"b"})), LIMITS, 1.0))
    pool.has()
    fresh = waits(queue.offered(FIRST, LIMITS, 2.0))
    pool.has(view("c"))
    queue.news(60.0)
    assert queue.expects(2, 60.0) == [failed]
    pool.has(view("c"), view("d"))
    assert queue.news(61.0) == [fresh]


def test_patience_that_is_over_is_told_with_what_is_left_of_the_start() -> None:
    pool, queue, (waiting,) = at_zero(1)
    later = waits(queue.offered(FIRST, LIMITS.model_copy(update={"start_wait_s": 10.0}), 20.0))
    assert queue.expired(30.0) == [later]
    assert isinstance(later.outcome, Starting)
    assert (later.outcome.status, later.outcome.reason, later.outcome.retry_after_s) == (503, "engine_starting", 30)
    assert "10 s" in later.outcome.message
    assert queue.expired(200.0) == [waiting]
    assert isinstance(waiting.outcome, Starting)
    assert waiting.outcome.retry_after_s == RETRY_AFTER_S, "what was expected has not come true"
    assert queue.demand(200.0) == 1, "its client may come again"
    assert pool.ready(LLAMA) == 0


def test_full_line_refuses_the_next_request_with_what_is_left_of_the_start() -> None:
    _, queue, _ = at_zero(2)
    two = LIMITS.model_copy(update={"queue_requests": 2})
    refused = queue.offered(FIRST, two, 15.0)
    assert isinstance(refused, Overloaded)
    assert (refused.status, refused.retry_after_s) == (429, 45)
    assert "is starting" in refused.message
    assert isinstance(
        queue.offered(FIRST._replace(priority=Priority.BATCH), two.model_copy(update={"queue_requests": 4}), 15.0), Overloaded
    )
    assert queue.demand(15.0) == 4, "those that were refused are demand"


def test_request_that_another_model_can_answer_starts_its_model_and_does_not_wait() -> None:
    _, queue, _ = at_zero(0)
    refused = queue.offered(FIRST._replace(hurried=True), LIMITS, 0.0)
    assert isinstance(refused, Starting)
    assert (queue.demand(0.0), len(queue), queue.is_starting, refused.retry_after_s) == (1, 0, False, 60)
    assert queue.offered(FIRST._replace(hurried=True), LIMITS, 9.0).retry_after_s == 51, "the start has begun with the first one"  # type: ignore[union-attr]


def test_start_that_nobody_waits_for_any_more_is_another_one_later() -> None:
    pool, queue, (waiting,) = at_zero(1)
    assert queue.abandoned(waiting, 10.0) == []
    assert (queue.demand(10.0), queue.is_starting) == (0, False)
    full = LIMITS.model_copy(update={"queue_requests": 0})
    assert queue.offered(FIRST, full, 5000.0).retry_after_s == 60  # type: ignore[union-attr]
    waits(queue.offered(FIRST, LIMITS, 5000.0))
    pool.has(view("a"))
    queue.news(5070.0)
    queue.expects(1, 5070.0)
    assert queue.start_s == 70.0


def test_request_in_a_moment_of_doubt_waits_and_says_nothing_of_a_start() -> None:
    pool, queue, _ = at_zero(0, Started(replace(view("a"), state=ReplicaState.DEAD)))
    waiting = waits(queue.offered(FIRST, LIMITS, 0.0))
    pool.has(view("a"))
    queue.news(0.2)
    assert queue.expects(1, 0.2) == [waiting]
    assert queue.start_s == 60.0


def test_replica_that_is_lost_again_begins_another_start() -> None:
    pool, queue, waiting = at_zero(2)
    pool.has(view("a"))
    queue.news(60.0)
    assert where(queue.expects(2, 60.0)) == {"a": 1}
    pool.has()
    assert queue.news(61.0) == []
    waits(queue.offered(FIRST, LIMITS, 62.0))
    pool.has(view("b"))
    assert queue.news(100.0) == []
    assert where(queue.expects(1, 100.0)) == {"b": 2}
    assert waiting[1].outcome is not None


def test_model_without_replicas_that_does_not_start_by_itself_refuses_as_before() -> None:
    queue = Queue(LLAMA, Started())
    assert isinstance(queue.offered(Ask(), LIMITS, 0.0), Unavailable)
    assert isinstance(queue.offered(FIRST._replace(tried=frozenset({"a"})), LIMITS, 0.0), Unavailable), "an engine has failed it"
    assert queue.demand(0.0) == 0


def test_waiting_requests_of_a_model_that_is_taken_away_are_refused() -> None:
    pool, queue, (waiting,) = at_zero(1)
    pool.models = []
    assert queue.news(1.0) == [waiting]
    assert isinstance(waiting.outcome, Unavailable)


def test_leaving_replica_takes_nothing_new_so_that_requests_wait_for_the_next_one() -> None:
    pool, queue, _ = at_zero(0, Started(replace(view("a"), state=ReplicaState.LEAVING)))
    waiting = waits(queue.offered(FIRST, LIMITS, 0.0))
    pool.has(replace(view("a"), state=ReplicaState.LEAVING), view("b"))
    queue.news(60.0)
    assert queue.expects(1, 60.0) == [waiting]
    assert granted(waiting.outcome).pick.replica.id == "b"
