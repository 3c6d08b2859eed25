"""The gateway in virtual time is production's admission over production's router."""

import pytest

from configs.routing import Routing
from configs.schema import Limits
from deployments.policy.errors.client_errors import Overloaded, Unavailable
from deployments.policy.queue.slots import Slot, Waiting
from deployments.policy.routing.types import Ask, ReplicaState, ReplicaView
from deployments.simulation.gateway import MODEL, Gateway

ASK = Ask()


def view(name: str, ongoing: int = 0) -> ReplicaView:
    return ReplicaView(name, MODEL, "h", 0, ReplicaState.READY, ongoing, running=ongoing, slots=1)


def gateway(queue_requests: int = 1) -> Gateway:
    return Gateway(Routing(), Limits(queue_s=30, queue_requests=queue_requests), 512)


def test_request_without_a_replica_is_refused() -> None:
    assert isinstance(gateway().offered(ASK, 0.0), Unavailable)
    with pytest.raises(Unavailable):
        gateway().choose(MODEL, ASK)


def test_requests_beyond_the_room_wait_and_get_the_place_that_is_freed() -> None:
    one = gateway()
    assert one.roster([view("a")], 0.0) == []
    slot, waiting, refused = (one.offered(ASK, 0.0) for _ in range(3))
    assert isinstance(slot, Slot)
    assert isinstance(waiting, Waiting)
    assert isinstance(refused, Overloaded)
    assert one.waiting == 1
    assert one.freed(slot, 1.0) == [waiting]
    assert isinstance(waiting.outcome, Slot)


def test_waiting_request_is_refused_after_its_time_or_goes_to_a_new_replica() -> None:
    one = gateway(2)
    one.roster([view("a")], 0.0)
    slot, late, next_one = (one.offered(ASK, at_s) for at_s in (0.0, 0.0, 20.0))
    assert one.expired(30.0) == [late]
    assert one.roster([view("a", 1), view("b")], 31.0) == [next_one]
    one.heard(view("a", 1))
    assert one.news(32.0) == []
    assert (one.ready(MODEL), list(one.models), isinstance(slot, Slot)) == (2, [MODEL], True)
    assert one.start_s(MODEL) == one.assumed_start_s(MODEL) == 0
