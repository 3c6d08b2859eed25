"""Deaths of engines under one request, and how they are counted."""

from types import SimpleNamespace
from typing import Any

import pytest

from deployments.gateway.suspicion import Suspicion
from deployments.policy.errors.client_errors import EngineLost, EnginesLost
from deployments.policy.request.poison import Poison

pytestmark = pytest.mark.asyncio


def suspicion(poison: Poison, clock: list[float]) -> Suspicion:
    call = SimpleNamespace(path="/v1/chat/completions", body=b"{}")
    chosen = SimpleNamespace(instead_of=None, model=SimpleNamespace(id="scout"))
    asked: Any = SimpleNamespace(call=call, request=SimpleNamespace(chosen=chosen))
    return Suspicion(poison, asked, lambda: clock[0])


def place(replica: str, since_s: float) -> Any:
    return SimpleNamespace(pick=SimpleNamespace(replica=SimpleNamespace(id=replica)), since_s=since_s)


LOST = EngineLost("scout", 1)


async def test_replica_that_is_lost_twice_has_died_once() -> None:
    clock = [10.0]
    one = suspicion(Poison(), clock)
    await one.died(place("a", 0), LOST)
    clock[0] = 30.0
    await one.died(place("a", 20), LOST)
    with pytest.raises(EnginesLost):
        await one.died(place("b", 25), LOST)


async def test_answer_forgets_the_replicas_that_were_lost_before() -> None:
    clock = [10.0]
    one = suspicion(Poison(), clock)
    await one.died(place("a", 0), LOST)
    one.answered()
    await one.died(place("b", 20), LOST)
