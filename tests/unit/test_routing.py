"""`deployments.policy.routing`: the least loaded of those that take requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.routing import Pick, Reason, ReplicaState, ReplicaView, idleness, pick, unavailable
from tests.unit.samples import replica

READY, LEAVING, DEAD = ReplicaState
NAMES = st.text("abc", min_size=1, max_size=3)
REPLICAS = st.lists(st.builds(replica, NAMES, st.sampled_from(ReplicaState), st.integers(0, 10**6)), max_size=6)
SENT = st.dictionaries(NAMES, st.integers(0, 10**6))


@pytest.mark.parametrize(
    ("replicas", "sent", "picked"),
    [
        ([], {}, None),
        ([replica("a", LEAVING), replica("b", DEAD)], {}, None),
        ([replica("a", ongoing=9), replica("b", DEAD)], {}, Pick(replica("a", ongoing=9), Reason.ONLY)),
        ([replica("a", ongoing=2), replica("b", ongoing=1)], {}, Pick(replica("b", ongoing=1), Reason.LEAST_LOADED)),
        ([replica("a"), replica("b")], {"b": 1}, Pick(replica("a"), Reason.LEAST_LOADED)),
        ([replica("a", ongoing=5), replica("b")], {"a": 1, "b": 4}, Pick(replica("b"), Reason.LEAST_LOADED)),
    ],
)
def test_pick(replicas: list[ReplicaView], sent: dict[str, int], picked: Pick | None) -> None:
    assert pick(replicas, sent) == picked


@given(REPLICAS, SENT)
def test_pick_is_a_ready_candidate_and_none_is_idler(replicas: list[ReplicaView], sent: dict[str, int]) -> None:
    picked, ready = pick(replicas, sent), [one for one in replicas if one.state is READY]
    if picked is None:
        assert not ready
    else:
        assert picked.replica in ready
        assert all(idleness(picked.replica, sent) >= idleness(one, sent) for one in ready)
        assert (picked.reason is Reason.ONLY) == (len(ready) == 1)


@given(st.builds(replica, NAMES, ongoing=st.integers(0, 10**9)), SENT)
def test_idleness_is_a_score_that_one_more_request_lowers(one: ReplicaView, sent: dict[str, int]) -> None:
    load = max(one.ongoing, sent.get(one.id, 0))
    assert 0 < idleness(one, sent) <= 1
    assert idleness(one, sent | {one.id: load + 1}) < idleness(one, sent)
    assert (idleness(one, sent) == 1) == (load == 0)


@pytest.mark.parametrize(
    ("ever_ready", "code", "word"), [(False, "engine_starting", "is starting"), (True, "engine_gone", "a replacement")]
)
def test_error_says_whether_it_was_ever_there(ever_ready: bool, code: str, word: str) -> None:
    error = unavailable("llama", ever_ready, 5)
    assert (error.status, error.reason, error.retry_after_s) == (503, code, 5)
    assert word in error.message
    assert error.message.endswith("Try again in 5 s.")
