"""`deployments.gateway.replicas.known_replicas`: counts and absence follow one replica's news as they follow a new list of all."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from deployments.gateway.replicas.known_replicas import KnownReplicas
from deployments.policy.routing.types import ReplicaState, ReplicaView
from tests.unit.samples import replica

NEWS = st.fixed_dictionaries({"state": st.sampled_from(ReplicaState), "slow": st.booleans(), "start_s": st.sampled_from([0.0, 20.0, 90.0])})


def seen(known: KnownReplicas) -> tuple[Any, ...]:
    return known.all, known.count, known.ready, known.slow, known.absence


@given(st.lists(NEWS, min_size=1, max_size=4), st.lists(st.tuples(st.integers(0, 3), NEWS, st.floats(0, 50)), max_size=12))
def test_news_of_one_replica_are_as_good_as_a_list_of_all(
    herd: list[dict[str, Any]], news: list[tuple[int, dict[str, Any], float]]
) -> None:
    views = [replace(replica(f"{number}"), **facts) for number, facts in enumerate(herd)]
    one, whole, now_s = KnownReplicas(), KnownReplicas(), 0.0
    one.update(views, now_s)
    whole.update(views, now_s)
    for number, facts, passed_s in news:
        place, now_s = number % len(views), now_s + passed_s
        views[place] = replace(views[place], **facts)
        one.put(views[place], now_s)
        whole.update(views, now_s)
        assert seen(one) == seen(whole)
        assert one.get(f"{place}") is views[place]


def test_all_replicas_are_listed_anew_only_after_news() -> None:
    known = KnownReplicas()
    assert (known.all, known.count, known.get("a")) == ((), 0, None)
    view: ReplicaView = replica("a")
    known.update([view], 0.0)
    assert known.all is known.all
    known.put(replace(view, ongoing=1), 1.0)
    assert known.all[0].ongoing == 1


def test_model_is_down_where_a_replica_should_take_requests_and_none_does() -> None:
    known = KnownReplicas(on_demand=True)
    assert not known.is_down
    known.update([replica("a", state=ReplicaState.LEAVING)], 0.0)
    assert not known.is_down
    known.update([replica("a", state=ReplicaState.DEAD), replica("b", state=ReplicaState.SICK)], 0.0)
    assert known.is_down
    known.update([replica("a", state=ReplicaState.DEAD), replica("b")], 0.0)
    assert not known.is_down


def test_time_without_requests_is_no_outage_of_a_model_on_demand() -> None:
    known = KnownReplicas()
    known.change(on_demand=True)
    started = replace(replica("a"), start_s=20.0)
    known.update([started], 0.0)
    known.update([], 100.0)
    known.update([started], 5000.0)
    assert known.absence.takes_s == 20.0
