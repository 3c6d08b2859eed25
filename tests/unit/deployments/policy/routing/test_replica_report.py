"""What a replica says of itself, and what its silence means."""

import pytest
from msgspec.structs import asdict, replace

from deployments.policy.routing.replica_report import (
    AVOIDED_AFTER,
    GIVEN_UP_AFTER,
    SUSPECTED_AFTER,
    after_silence,
    is_older,
    still_silent,
    view_of,
)
from deployments.policy.routing.types import ReplicaState, ReplicaView, Trust

VIEW = ReplicaView("a", "llama", "10.0.0.1", 9000, ReplicaState.READY, 3, running=2, waiting=1, kv_usage=0.5, kv_tokens=1000)


def test_a_report_is_a_view() -> None:
    said = {name: value for name, value in asdict(VIEW).items() if name != "trust"} | {"state": "ready"}
    assert view_of(said) == VIEW
    assert view_of(said | {"trust": "avoided", "of_a_later_release": 1}) == VIEW
    assert view_of(said | {"state": "asleep"}).state is ReplicaState.LEAVING, "a later release's word for taking no requests, or another"
    assert view_of(said | {"state": "sick", "canary": "wrong"}) == replace(VIEW, state=ReplicaState.SICK, canary="wrong")
    assert view_of(said | {"slow": True}) == replace(VIEW, slow=True)
    assert view_of(said | {"figures": {"device": "cpu"}}) == replace(VIEW, figures={"device": "cpu"})
    least = {name: said[name] for name in ("id", "model", "host", "port", "state", "ongoing")}
    assert view_of(least) == ReplicaView("a", "llama", "10.0.0.1", 9000, ReplicaState.READY, 3)


@pytest.mark.parametrize("said", [{}, {"state": "ready"}])
def test_what_is_no_report(said: dict[str, str]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        view_of(said)


@pytest.mark.parametrize(
    ("periods", "trust", "state"),
    [
        (0, Trust.TRUSTED, ReplicaState.READY),
        (SUSPECTED_AFTER, Trust.SUSPECTED, ReplicaState.READY),
        (AVOIDED_AFTER, Trust.AVOIDED, ReplicaState.READY),
        (GIVEN_UP_AFTER, Trust.AVOIDED, ReplicaState.DEAD),
    ],
)
def test_silence_is_first_suspected_then_avoided_then_given_up(periods: int, trust: Trust, state: ReplicaState) -> None:
    silent = after_silence(VIEW, periods, reached=False)
    assert (silent.trust, silent.state) == (trust, state)
    assert after_silence(silent, periods, reached=False) is silent
    told = still_silent(silent, VIEW)
    assert (told.trust, told.state) == (trust, state), "what Ray says ends no silence"


def test_a_silent_replica_whose_machine_takes_connections_is_avoided_and_not_given_up() -> None:
    silent = after_silence(VIEW, 100 * GIVEN_UP_AFTER, reached=True)
    assert (silent.trust, silent.state) == (Trust.AVOIDED, ReplicaState.READY)
    given_up = after_silence(VIEW, GIVEN_UP_AFTER, reached=False)
    assert after_silence(given_up, GIVEN_UP_AFTER + 1, reached=True) is given_up, "until it is heard of again"


def test_what_ray_tells_of_others_is_believed() -> None:
    leaving = replace(VIEW, state=ReplicaState.LEAVING)
    assert still_silent(None, VIEW) is VIEW
    assert still_silent(VIEW, leaving) is leaving
    assert still_silent(replace(VIEW, state=ReplicaState.DEAD), VIEW) is VIEW, "a broken connection is forgiven"


@pytest.mark.parametrize(("number", "other", "older"), [(1, 2, True), (2, 2, False), (3, 2, False), (0, 2, False), (2, 0, False)])
def test_report_is_older_where_the_replica_says_so(number: int, other: int, older: bool) -> None:
    assert is_older(replace(VIEW, number=number), replace(VIEW, number=other)) is older
