"""`deployments.policy.queue.admission`: who gets a slot, who waits, who is refused; no clock, no event loop."""

import heapq
from collections.abc import Sequence
from itertools import count
from math import inf

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, precondition, rule
from msgspec.structs import replace

from configs.routing import Routing
from configs.schema import Limits
from deployments.policy.errors.client_errors import Overloaded, Unavailable
from deployments.policy.queue.admission import Queue
from deployments.policy.queue.demand import REFUSED_S
from deployments.policy.queue.slots import LOST_S, Refused, Slot, Waiting
from deployments.policy.request.calls import Priority
from deployments.policy.request.prompt_blocks import NO_PROMPT, Prompt
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.router import NobodyTakes, Router
from deployments.policy.routing.types import Ask, Pick, ReplicaState, ReplicaView
from tests.unit.samples import replica

LLAMA = "llama"
HURRY, BATCH = Priority.INTERACTIVE, Priority.BATCH
LIMITS = Limits(queue_s=30, queue_requests=4, resume_s=100)


class Pool:
    """One model's replicas, as a roster has them."""

    def __init__(self, *views: ReplicaView) -> None:
        self.models = [LLAMA]
        self.router = Router(Routing())
        self.views: tuple[ReplicaView, ...] = ()
        self.has(*views)

    def has(self, *views: ReplicaView) -> None:
        """From now on these are the replicas."""
        self.views = views
        self.router.update(views)

    def ready(self, model: str) -> int:
        return sum(view.state is ReplicaState.READY for view in self.views)

    def start_s(self, model: str) -> float:
        return 0.0

    def assumed_start_s(self, model: str) -> float:
        return 45.0

    def choose(self, model: str, ask: Ask) -> Pick | None:
        try:
            return self.router.pick(ask)
        except NobodyTakes:
            raise Unavailable("nobody is there", code="engine_gone") from None

    def sending(self, chosen: Pick, prompt: Prompt = NO_PROMPT) -> Sending:
        return self.router.sending(chosen, prompt)


def pool(*slots: int) -> Pool:
    """Replicas a, b, c with so many slots each."""
    return Pool(*(replace(replica(name), slots=many) for name, many in zip("abc", slots, strict=False)))


def granted(outcome: Slot | Waiting | Refused | None) -> Slot:
    assert isinstance(outcome, Slot)
    return outcome


def waits(outcome: Slot | Waiting | Refused) -> Waiting:
    assert isinstance(outcome, Waiting)
    assert outcome.outcome is None
    return outcome


def test_slots_are_granted_until_replicas_are_full_and_then_in_turn() -> None:
    queue = Queue(LLAMA, pool(1, 1))
    first, second = (granted(queue.offered(Ask(), LIMITS, 0)) for _ in range(2))
    assert {first.pick.replica.id, second.pick.replica.id} == {"a", "b"}
    batch = waits(queue.offered(Ask(priority=BATCH), LIMITS, 1))
    hurry = waits(queue.offered(Ask(), LIMITS, 2))
    assert (len(queue), queue.demand(2), queue.running) == (2, 2, 2)
    assert queue.freed(second, 3) == [hurry]
    assert granted(hurry.outcome).pick.replica.id == second.pick.replica.id
    assert queue.freed(second, 3) == [], "it has ended already"
    assert queue.freed(first, 4) == [batch]
    assert (granted(batch.outcome).since_s, len(queue)) == (4, 0)


def test_full_line_refuses_and_refusals_are_demand_for_a_while() -> None:
    queue = Queue(LLAMA, pool(1))
    granted(queue.offered(Ask(), LIMITS, 0))
    refused = queue.offered(Ask(), LIMITS.model_copy(update={"queue_requests": 0}), 0)
    assert isinstance(refused, Overloaded)
    assert [queue.demand(second) for second in (0, REFUSED_S)] == [1, 0]


def test_request_that_waited_long_enough_is_refused() -> None:
    queue = Queue(LLAMA, pool(1))
    granted(queue.offered(Ask(), LIMITS, 0))
    waiting = waits(queue.offered(Ask(), LIMITS, 5))
    assert (waiting.until_s, queue.expired(34.9)) == (35, [])
    assert queue.expired(35) == [waiting]
    assert isinstance(waiting.outcome, Overloaded)
    assert (len(queue), queue.demand(35)) == (0, 1)


@pytest.mark.parametrize(("ask", "patience_s"), [(Ask(), 30), (Ask(begun=True), 100), (Ask(begun=True, priority=BATCH), inf)])
def test_patience_follows_from_what_the_client_has_already(ask: Ask, patience_s: float) -> None:
    queue = Queue(LLAMA, pool(1))
    granted(queue.offered(Ask(), LIMITS, 0))
    assert waits(queue.offered(ask, LIMITS, 7)).until_s == 7 + patience_s


def test_request_that_has_failed_on_the_free_replica_holds_up_nobody() -> None:
    both = pool(1, 1)
    queue = Queue(LLAMA, both)
    held = {slot.pick.replica.id: slot for slot in (granted(queue.offered(Ask(), LIMITS, 0)) for _ in range(2))}
    head = waits(queue.offered(Ask(tried=frozenset("a"), begun=True), LIMITS, 1))
    behind = waits(queue.offered(Ask(), LIMITS, 2))
    assert queue.freed(held["a"], 3) == [behind]
    assert granted(behind.outcome).pick.replica.id == "a"
    assert queue.freed(granted(behind.outcome), 4) == []
    assert granted(queue.offered(Ask(), LIMITS, 5)).pick.replica.id == "a"
    assert queue.freed(held["b"], 6) == [head]


def test_batch_request_does_not_leave_for_one_that_could_not_use_its_slot() -> None:
    """One replica has failed it, and the other is not there yet."""
    one = pool(2)
    queue = Queue(LLAMA, one)
    batch = granted(queue.offered(Ask(priority=Priority.BATCH), LIMITS, 0))
    batch.yields_by(lambda: True)
    waits(queue.offered(Ask(tried=frozenset("a"), begun=True), LIMITS, 1))
    assert not batch.gave_way


def test_begun_request_waits_for_a_replica_that_is_not_there_and_holds_up_nobody() -> None:
    one = pool(1)
    queue = Queue(LLAMA, one)
    begun = waits(queue.offered(Ask(tried=frozenset("a"), begun=True), LIMITS, 0))
    slot = granted(queue.offered(Ask(), LIMITS, 1))
    behind = waits(queue.offered(Ask(), LIMITS, 2))
    assert queue.freed(slot, 3) == [behind]
    one.has(*one.views, replica("b"))
    assert queue.news(4) == [begun]
    assert granted(begun.outcome).pick.replica.id == "b"


def test_begun_request_that_lost_its_connection_goes_back_to_the_replica_where_no_other_one_comes() -> None:
    """But not at once, and not where the replica is full."""
    only = pool(1)
    queue = Queue(LLAMA, only)
    lost = Ask(tried=frozenset("a"), lost=frozenset("a"), begun=True)
    begun = waits(queue.offered(lost, LIMITS, 5))
    assert queue.news(5 + LOST_S - 0.1) == [], "another one may come yet"
    slot = granted(queue.offered(Ask(), LIMITS, 5 + LOST_S))
    assert queue.news(5 + LOST_S) == []
    behind = waits(queue.offered(Ask(), LIMITS, 6 + LOST_S))
    assert queue.freed(slot, 7 + LOST_S) == [begun], "it waits for room now, as others do"
    assert queue.freed(granted(begun.outcome), 8 + LOST_S) == [behind]


@pytest.mark.parametrize("resume_s", [LOST_S, 2.0])
def test_begun_request_that_may_not_wait_for_long_goes_back_after_half_of_its_wait(resume_s: float) -> None:
    queue = Queue(LLAMA, pool(1))
    lost = Ask(tried=frozenset("a"), lost=frozenset("a"), begun=True)
    begun = waits(queue.offered(lost, LIMITS.model_copy(update={"resume_s": resume_s}), 5))
    assert queue.news(5 + resume_s / 2 - 0.1) == []
    assert queue.news(5 + resume_s / 2) == [begun]
    assert granted(begun.outcome).pick.replica.id == "a"


@pytest.mark.parametrize("priority", Priority)
def test_batch_makes_way_for_a_begun_request_in_a_hurry_that_goes_back(priority: Priority) -> None:
    """It has taken the place that the other one lost."""
    queue = Queue(LLAMA, pool(1))
    begun = waits(queue.offered(Ask(tried=frozenset("a"), lost=frozenset("a"), begun=True, priority=priority), LIMITS, 0))
    batch = granted(queue.offered(Ask(priority=BATCH), LIMITS, 1))
    batch.yields_by(lambda: True)
    assert (queue.news(LOST_S - 0.1), batch.gave_way) == ([], False)
    assert (queue.news(LOST_S), batch.gave_way) == ([], priority is HURRY)
    assert queue.freed(batch, 1 + LOST_S) == [begun]


def test_begun_request_does_not_go_back_to_a_replica_that_refused_it() -> None:
    queue = Queue(LLAMA, pool(1, 1))
    begun = waits(queue.offered(Ask(tried=frozenset("ab"), lost=frozenset("b"), begun=True), LIMITS, 0))
    assert queue.news(LOST_S) == [begun]
    assert granted(begun.outcome).pick.replica.id == "b"


def test_requests_are_told_when_no_replica_is_left_and_begun_ones_when_the_model_is_gone() -> None:
    one = pool(1)
    queue = Queue(LLAMA, one)
    assert queue.news(0) == [], "nobody waits"
    granted(queue.offered(Ask(), LIMITS, 0))
    fresh, begun = waits(queue.offered(Ask(), LIMITS, 1)), waits(queue.offered(Ask(begun=True), LIMITS, 1))
    one.has()
    assert queue.news(2) == [fresh]
    assert isinstance(fresh.outcome, Unavailable)
    assert isinstance(queue.offered(Ask(), LIMITS, 2), Unavailable)
    one.models = []
    assert queue.news(3) == [begun]
    assert isinstance(begun.outcome, Unavailable)
    assert isinstance(queue.offered(Ask(begun=True), LIMITS, 3), Unavailable)


def test_slot_granted_in_the_moment_of_a_hang_up_goes_to_the_next() -> None:
    queue = Queue(LLAMA, pool(1))
    slot = granted(queue.offered(Ask(), LIMITS, 0))
    first, second = (waits(queue.offered(Ask(), LIMITS, 1)) for _ in range(2))
    assert queue.freed(slot, 2) == [first]
    assert queue.abandoned(first, 2) == [second]


def test_batch_that_began_last_and_can_go_on_later_makes_way_once() -> None:
    queue = Queue(LLAMA, pool(4))
    asked: list[str] = []

    def answers(name: str, can: bool) -> bool:
        asked.append(name)
        return can

    first, second, third = (granted(queue.offered(Ask(priority=BATCH), LIMITS, now)) for now in range(3))
    first.yields_by(lambda: answers("first", True))
    second.yields_by(lambda: answers("second", True))
    third.yields_by(lambda: answers("third", False))
    granted(queue.offered(Ask(), LIMITS, 3))
    hurry = waits(queue.offered(Ask(), LIMITS, 4))
    assert (asked, second.gave_way, first.gave_way) == (["third", "second"], True, False)
    third.yields_by(None)
    waits(queue.offered(Ask(), LIMITS, 5))
    assert (asked[2:], first.gave_way) == (["first"], True)
    assert queue.freed(second, 6) == [hurry]


def simulated(arrivals: Sequence[float], takes_s: float, slots: int) -> tuple[list[float], int, int]:
    """Requests over one replica in virtual time: how long each that was served waited, how many were refused, the most at once."""
    queue, events, number = Queue(LLAMA, pool(slots)), list[tuple[float, int, Slot | None]](), count()
    waited, refused, most, inside = list[float](), 0, 0, 0
    for at_s in arrivals:
        heapq.heappush(events, (at_s, next(number), None))

    def begins(slot: Slot, since_s: float, now_s: float) -> None:
        nonlocal inside, most
        inside, waited[len(waited) :] = inside + 1, [now_s - since_s]
        most = max(most, inside)
        heapq.heappush(events, (now_s + takes_s, next(number), slot))

    while events:
        now_s, _, slot = heapq.heappop(events)
        if slot is None:
            outcome = queue.offered(Ask(), LIMITS, now_s)
            refused += isinstance(outcome, Overloaded)
            if isinstance(outcome, Slot):
                begins(outcome, now_s, now_s)
            continue
        inside -= 1
        for waiting in queue.freed(slot, now_s):
            begins(granted(waiting.outcome), waiting.since_s, now_s)
    return waited, refused, most


def test_overload_in_virtual_time_ends_in_refusals_and_not_in_longer_waits() -> None:
    waited, refused, most = simulated([second / 2 for second in range(2000)], takes_s=4, slots=4)
    assert most == 4
    assert len(waited) == pytest.approx(1000, abs=10), "four slots end one request a second"
    assert len(waited) + refused == 2000
    assert max(waited) <= 4.0, "four may wait, and one is let in each second"


class Interleavings(RuleBasedStateMachine):
    """Anything that can happen to two replicas and their queue, in any order."""

    slots = Bundle("slots")
    waits = Bundle("waits")

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.others = {"a": 0, "b": 0}
        self.open: dict[Slot, None] = {}
        self.waiting: list[Waiting] = []
        """In the order in which they came."""
        self.pool = pool(1, 2)
        self.all = {view.id: view for view in self.pool.views}
        self.queue = Queue(LLAMA, self.pool)

    def at(self, name: str) -> int:
        return sum(slot.pick.replica.id == name for slot in self.open)

    def over(self, ended: list[Waiting]) -> list[Slot]:
        """Takes note of waits that ended."""
        for waiting in ended:
            self.waiting.remove(waiting)
            if isinstance(waiting.outcome, Slot):
                assert not self.ahead(waiting.ask.priority, waiting.since_s), "it has overtaken another request"
        slots = [one.outcome for one in ended if isinstance(one.outcome, Slot)]
        self.open |= dict.fromkeys(slots)
        return slots

    def ahead(self, priority: Priority, since_s: float) -> bool:
        """Whether requests of this class that came before, or of a class that goes before, wait for room."""
        first = [one for one in self.waiting if (one.ask.priority, one.since_s) < (priority, since_s)]
        return any(self.blocked(one) for one in first)

    def blocked(self, waiting: Waiting) -> bool:
        try:
            return self.pool.choose(LLAMA, waiting.ask) is None
        except Unavailable:
            assert waiting.ask.begun
            return False

    @initialize(target=slots)
    def replicas_are_full(self) -> object:
        return multiple(*filter(None, (self.offers(Ask()) for _ in range(4))))

    @rule(
        target=slots,
        priority=st.sampled_from(Priority),
        tried=st.sampled_from(["", "a", "b", "ab"]),
        begun=st.booleans(),
        few=st.booleans(),
    )
    def arrives(self, priority: Priority, tried: str, begun: bool, few: bool) -> object:
        self.now_s += 0.001
        ahead = self.ahead(priority, self.now_s)
        slot = self.offers(Ask(priority=priority, tried=frozenset(tried), begun=begun), few)
        if slot is None:
            return multiple()
        assert not ahead, "it has overtaken another request"
        slot.yields_by(lambda: few)
        return slot

    def offers(self, ask: Ask, few: bool = False) -> Slot | None:
        outcome = self.queue.offered(ask, LIMITS.model_copy(update={"queue_requests": 1}) if few else LIMITS, self.now_s)
        if isinstance(outcome, Waiting):
            self.waiting.append(outcome)
        if isinstance(outcome, Slot):
            self.open[outcome] = None
            return outcome
        return None

    @rule(target=slots, slot=consumes(slots))
    def ends(self, slot: Slot) -> object:
        self.open.pop(slot, None)
        return multiple(*self.over(self.queue.freed(slot, self.now_s)))

    @precondition(lambda self: self.waiting)
    @rule(target=slots, which=st.integers(0, 99))
    def hangs_up(self, which: int) -> object:
        waiting = self.waiting.pop(which % len(self.waiting))
        return multiple(*self.over(self.queue.abandoned(waiting, self.now_s)))

    @precondition(lambda self: len(self.waiting) > 1 and self.open)
    @rule(target=slots, which=st.integers(0, 99))
    def hangs_up_when_its_turn_comes(self, which: int) -> object:
        slot = list(self.open)[which % len(self.open)]
        del self.open[slot]
        slots = self.over(self.queue.freed(slot, self.now_s))
        if not slots:
            return multiple()
        gone = Waiting(Ask(), 0, 0)
        gone.outcome = slots[0]
        del self.open[slots[0]]
        return multiple(*slots[1:], *self.over(self.queue.abandoned(gone, self.now_s)))

    @rule(target=slots, after_s=st.sampled_from([0.1, 5.0, 31.0, 101.0]))
    def time_passes(self, after_s: float) -> object:
        self.now_s += after_s
        return multiple(*self.over(self.queue.expired(self.now_s)))

    @rule(target=slots, name=st.sampled_from("ab"), others=st.integers(0, 3), full=st.booleans())
    def reports(self, name: str, others: int, full: bool) -> object:
        waiting, usage = (1, 0.99) if full else (0, 0.5)
        self.all[name] = replace(self.all[name], ongoing=self.at(name) + others, waiting=waiting, kv_usage=usage, state=ReplicaState.READY)
        return self.told()

    @rule(target=slots, name=st.sampled_from("ab"))
    def dies(self, name: str) -> object:
        self.all[name] = replace(self.all[name], state=ReplicaState.DEAD)
        return self.told()

    def told(self) -> object:
        self.pool.has(*self.all.values())
        return multiple(*self.over(self.queue.news(self.now_s)))

    @invariant()
    def slots_are_never_over_booked(self) -> None:
        for view in self.pool.views:
            assert self.at(view.id) <= view.slots
            assert self.pool.router._flights[view.id].requests_now >= self.at(view.id)

    @invariant()
    def nobody_waits_while_there_is_room_and_none_ahead(self) -> None:
        assert len(self.queue) == len(self.waiting)
        for waiting in sorted(self.waiting, key=lambda one: one.ask.priority):
            try:
                assert self.pool.choose(LLAMA, waiting.ask) is None, "there is room"
                break
            except Unavailable:
                assert waiting.ask.begun

    @invariant()
    def nobody_waits_longer_than_it_may(self) -> None:
        assert all(waiting.until_s > self.now_s for waiting in self.waiting)

    def teardown(self) -> None:
        while self.open or self.waiting:
            if self.open:
                slot, _ = self.open.popitem()
                self.over(self.queue.freed(slot, self.now_s))
                assert self.queue.freed(slot, self.now_s) == []
            else:
                self.over(self.queue.abandoned(self.waiting.pop(), self.now_s))
        assert self.queue.demand(self.now_s + REFUSED_S + 1) == 0
        for name, view in self.all.items():
            self.all[name] = replace(view, ongoing=0)
        self.told()
        assert [self.pool.router._flights[view.id].requests_now for view in self.pool.views] == [0, 0]


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
