"""`policy.monitoring.cluster_facts`: nodes, GPUs and starts as metrics count them."""

from deployments.policy.monitoring.cluster_facts import DEAD_S, ClusterFacts, Deaths, Node, Placing, gpus, health
from deployments.policy.records.starts import CALLED, Start
from monitoring.labels import PLACING


def node(name: str, alive: bool = True, address: str | None = None, told_to_end: bool = False) -> Node:
    return Node(name, address or f"10.0.0.{name}", f"dgx-{name}", alive, told_to_end=told_to_end)


def test_node_that_dies_is_dead_for_an_hour() -> None:
    deaths = Deaths()
    assert deaths.seen([node("1"), node("2", alive=False)], 0.0) == 0, "a death before the first look is an old one"
    table = [node("1", alive=False), node("2", alive=False)]
    assert deaths.seen(table, 10.0) == 1
    assert deaths.seen(table, 10.0 + DEAD_S - 1) == 1
    assert deaths.seen(table, 10.0 + DEAD_S) == 0


def test_node_that_comes_back_or_was_told_to_end_is_not_dead() -> None:
    deaths = Deaths()
    deaths.seen([node("1"), node("2")], 0.0)
    dead = [node("1", alive=False), node("2", alive=False, told_to_end=True)]
    assert deaths.seen(dead, 1.0) == 1
    assert deaths.seen([*dead, node("3", address="10.0.0.1")], 2.0) == 0


def test_nodes_by_health_and_their_gpus() -> None:
    nodes = [
        Node("1", "a", "a", gpus=8, free_gpus=3),
        Node("2", "b", "b", draining=True, gpus=8, free_gpus=8),
        Node("3", "c", "c", alive=False, gpus=8, free_gpus=8),
        Node("4", "d", "d"),
    ]
    assert health(nodes, 1) == {("alive",): 2, ("draining",): 1, ("dead",): 1}
    assert gpus(nodes) == {("used",): 5, ("free",): 11}
    assert gpus([]) == {("used",): 0, ("free",): 0}


def start(replica: str, began: float, *phases: tuple[str, float]) -> Start:
    return Start("scout", replica, "node", "1", began, phases)


def test_longest_running_start_tells_its_phase() -> None:
    placing = Placing()
    killed, first, second = start("0", 1.0, ("weights", 1.0)), start("a", 50.0, ("weights", 51.0), ("load", 60.0)), start("b", 70.0)
    facts = ClusterFacts(starting={"scout": 2, "llama": 0}, starts=(killed, second, first))
    placing.seen(facts, 80.0)
    assert placing.phases(facts, 80.0) == {("scout", "load"): 20.0}, "as many starts as replicas that start, the newest ones"
    early = ClusterFacts(starting={"scout": 1}, starts=(start("b", 70.0, ("weights", 99.0)),))
    assert placing.phases(early, 90.0) == {("scout", "weights"): 0.0}, "another machine's clock"


def test_replica_that_has_not_begun_waits_for_room_since_it_was_first_seen() -> None:
    placing = Placing()
    waiting = ClusterFacts(starting={"scout": 1})
    placing.seen(waiting, 100.0)
    placing.seen(waiting, 110.0)
    assert placing.phases(waiting, 115.0) == {("scout", "placing"): 15.0}
    begun = ClusterFacts(starting={"scout": 1}, starts=(start("a", 112.0),))
    placing.seen(begun, 120.0)
    assert placing.phases(begun, 121.0) == {}
    placing.seen(waiting, 130.0)
    assert placing.phases(waiting, 131.0) == {("scout", "placing"): 1.0}


def test_model_with_many_starts_is_in_one_phase_and_waits_for_room_at_most() -> None:
    starts = tuple(Start("scout", f"scout#{n}", "n", "1", 100.0 + n, ((phase, 101.0 + n),)) for n, phase in enumerate(CALLED))
    facts = ClusterFacts(starting={"scout": len(starts) + 1}, starts=starts)
    placing = Placing()
    placing.seen(facts, 110.0)
    assert {phase for _, phase in placing.phases(facts, 120.0)} == {PLACING, next(iter(CALLED))}
