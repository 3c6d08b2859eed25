"""`cluster.scaling.several`: priorities, order of drains and starts, never more GPUs than exist."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.several import Claim, Grant, share

CLAIMS = st.lists(
    st.builds(
        Claim,
        model=st.sampled_from(["a", "b", "c", "d"]),
        priority=st.integers(0, 3),
        wanted=st.integers(0, 12),
        least=st.integers(0, 4),
        present=st.integers(0, 6),
        draining=st.integers(0, 3),
        gpus_per_replica=st.sampled_from([1.0, 2.0, 4.0, 8.0, 0.5]),
    ),
    min_size=1,
    max_size=4,
)


def gpus_of(claims: list[Claim], replicas: list[int]) -> float:
    return sum(one.gpus_per_replica * count for one, count in zip(claims, replicas, strict=True))


@given(CLAIMS, st.integers(0, 64))
def test_grants_never_ask_for_more_gpus_than_exist_now_or_later(claims: list[Claim], gpus: int) -> None:
    held = gpus_of(claims, [one.present + one.draining for one in claims])
    grants = share(claims, gpus)
    assert gpus_of(claims, [one.due for one in grants]) <= gpus + 1e-6
    # What a grant takes away goes on holding its GPUs.
    after = gpus_of(claims, [max(one.present, grant.target) + one.draining for one, grant in zip(claims, grants, strict=True)])
    assert after <= max(gpus, held) + 1e-6
    for one, grant in zip(claims, grants, strict=True):
        assert 0 <= grant.target <= max(one.wanted, one.least)
        assert (grant.binds is None) == (grant.target == max(one.wanted, one.least))
        assert grant.target <= grant.due
        assert grant.reason.startswith(f"{one.model}: ")


@given(CLAIMS, st.integers(0, 64))
def test_grants_that_are_followed_end_at_what_is_due(claims: list[Claim], gpus: int) -> None:
    due = [grant.due for grant in share(claims, gpus)]
    for _ in range(8):
        grants = share(claims, gpus)
        assert [grant.due for grant in grants] == due, "the solution does not depend on how far the herd is on its way"
        claims = [
            replace(one, present=grant.target, draining=max(0, one.present - grant.target))
            for one, grant in zip(claims, grants, strict=True)
        ]
    assert [one.present for one in claims] == due


SCOUT = Claim("scout", 0, 8, 1, 8)
MAVERICK = Claim("maverick", 1, 1, 0, 0, gpus_per_replica=4)


def test_lower_priority_gives_way_and_each_grant_says_why() -> None:
    scout, maverick = share([SCOUT, MAVERICK], 8)
    assert scout == Grant("scout", 4, 4, "scout: 4 of the 8 that it asks for; the GPUs go to maverick first.", "other models")
    assert maverick == Grant("maverick", 0, 1, "maverick: 0 now, 1 once GPUs of scout are free.", "other models")


def test_floors_of_all_come_before_the_load_of_any() -> None:
    scout, maverick = share([SCOUT, replace(MAVERICK, gpus_per_replica=8)], 8)
    assert (scout.target, maverick.due) == (8, 0)
    assert maverick.reason == "maverick: 0 of the 1 that it asks for; there are no more GPUs, but for those of min_replicas of scout."
    assert scout.reason == "scout: 8, as it asks for."


def test_floors_that_do_not_all_fit_go_by_priority() -> None:
    grants = share([replace(SCOUT, least=6, present=0), replace(MAVERICK, least=1)], 8)
    assert [one.due for one in grants] == [4, 1]


def test_models_of_one_priority_share_by_what_they_ask_for() -> None:
    grants = share([Claim("a", 0, 4, 0, 0), Claim("b", 0, 12, 0, 0)], 8)
    assert [one.due for one in grants] == [2, 6]
    assert grants[0].reason == "a: 2 of the 4 that it asks for; there are no more GPUs."


def test_gpus_that_a_higher_model_waits_for_are_left_to_it() -> None:
    claims = [Claim("low", 0, 6, 0, 2), Claim("middle", 1, 2, 0, 3), replace(MAVERICK, priority=2)]
    grants = share(claims, 8)
    assert [one.due for one in grants] == [2, 2, 1]
    assert [one.target for one in grants] == [2, 2, 0], "3 are free, 1 drains: low takes none of them"


@pytest.mark.parametrize(("free", "target"), [(12, 1), (11, 0)])
def test_start_needs_all_its_gpus_at_once(free: int, target: int) -> None:
    assert share([replace(SCOUT, wanted=8), MAVERICK], free)[1].target == target


def test_first_replica_of_a_model_comes_before_the_second_of_one_of_the_same_priority() -> None:
    grants = share([SCOUT, replace(MAVERICK, priority=0)], 8)
    assert [one.due for one in grants] == [4, 1]


@pytest.mark.parametrize(("asked", "due"), [(8, 4), (9, 4), (12, 4), (17, 4), (30, 5)])
def test_noise_in_what_a_model_asks_for_takes_no_replica_from_one_of_the_same_priority(asked: int, due: int) -> None:
    grants = share([Claim("a", 0, asked, 1, 4), Claim("b", 0, 9, 1, 4)], 8)
    assert [one.due for one in grants] == [due, 8 - due]


def test_gpus_that_others_hold_without_a_claim_are_not_there() -> None:
    (grant,) = share([Claim("scout", 0, 8, 1, 2)], 8, used=5.0)
    assert (grant.target, grant.due, grant.binds) == (5, 8, "cluster")
    assert grant.reason == "scout: 5 now, 8 once GPUs are free."
    (grant,) = share([Claim("scout", 0, 8, 1, 2, draining=4)], 8, used=3.0)
    assert grant.target == 4, "a replica that is not placed yet holds none that Ray knows of"


def test_model_that_is_alone_is_bound_by_the_cluster() -> None:
    scout, idle = share([replace(SCOUT, wanted=9), replace(MAVERICK, wanted=0)], 8)
    assert (scout.target, scout.binds) == (8, "cluster")
    assert (idle.target, idle.binds) == (0, None)
