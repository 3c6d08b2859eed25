"""`deployments.gateway.body.budget`: one client's bodies do not keep out those of others."""

import pytest

from deployments.gateway.body.budget import SMALL, Bodies
from deployments.policy.body.bounds import MIB
from deployments.policy.errors.client_errors import Unavailable


def fill(bodies: Bodies, address: str) -> float:
    """How many MiB of a budget of 16 a client holds when it is refused, with one body after the other."""
    held = 0
    while True:
        body = bodies.one(16, address)
        try:
            body.add(SMALL + MIB)
        except Unavailable:
            return held
        held += 1


def test_small_body_always_has_room() -> None:
    bodies = Bodies()
    for address in "abcdefgh":
        fill(bodies, address)
    assert bodies.held == 16 * MIB
    for address in ("a", "new"):
        with bodies.one(16, address) as small:
            small.add(SMALL)
            with pytest.raises(Unavailable):
                small.add(1)


def test_one_address_leaves_a_quarter_to_others() -> None:
    bodies = Bodies()
    assert fill(bodies, "greedy") == 12
    assert fill(bodies, "other") == 4
    assert fill(bodies, "third") == 0


def test_bytes_count_until_the_request_has_ended() -> None:
    bodies = Bodies()
    with bodies.one(16, "a") as first:
        first.add(SMALL // 2)
        assert bodies.held == 0
        first.add(SMALL)
        first.add(MIB)
        assert bodies.held == SMALL // 2 + MIB
        with bodies.one(16, "a") as second:
            second.add(2 * MIB)
    assert bodies.held == 0
    assert not bodies._of
    assert fill(bodies, "a") == 12
