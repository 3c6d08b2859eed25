"""The policy in Ray Serve's controller: it never waits, never raises, and returns its own number while nothing is decided.

Traps of autoscaling that cannot occur here: *scale factors and delays of Ray's own* are unset in the config
(`tests/unit/deployments/lifecycle/test_applications.py`), *`initial_replicas`* is not given there (trap 2, `tests/alone/test_scaling.py`),
and *Ray's metrics of replicas* (trap 7) are read by nobody. Ray chooses which replica goes (trap 17,
`tests/unit/deployments/gateway/test_roster.py`), gateways keep nodes alive (trap 24, `tests/unit/cluster/provision/test_cloud_files.py`),
and several models share what there is (trap 20, `test_scaling_shares.py`).
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ray import cloudpickle

from deployments.policy.fleet.events import Kind
from deployments.policy.queue import load_record
from deployments.policy.queue.load_record import LoadRecord
from deployments.policy.records import starts
from deployments.policy.records import verdict as verdicts
from deployments.policy.scaling import policy_arguments
from deployments.policy.scaling import turn as turns
from deployments.policy.scaling.load_report import FORGOTTEN_S
from deployments.policy.scaling.sharing import Place
from deployments.policy.scaling.wanted import Wanted, as_plain
from deployments.ray_calls import cluster_store
from deployments.ray_calls.nodes import Gpus
from deployments.ray_calls.scaling_policy import RELEASE
from deployments.records import scaling as by_value
from deployments.records.event_log import Teller
from deployments.records.policy_arguments import Arguments
from deployments.records.scaling import Scaling
from deployments.records.scaling_follower import KEPT_S, LEFT_S, OLD_S, UNASKED_S, Follower
from deployments.records.scaling_shares import Member, Shares, shared
from tests.unit.deployments.policy.scaling.samples import T, bucket, record, wanted


@dataclass
class Context:
    """What Ray Serve tells a policy."""

    target_num_replicas: int
    current_num_replicas: int = 1
    app_name: str = "model.org~scout"


class Told(Teller):
    """Keeps events in a list."""

    def __init__(self, process: str) -> None:
        super().__init__(process)
        self.process = process
        self.events: list[tuple[str, str, str]] = []

    def tell(self, kind: str, words: str, model: str = "", subject: str = "") -> None:
        assert not subject
        self.events.append((kind, words, model))


@dataclass
class Memory:
    """A store in memory, which may be away."""

    texts: dict[str, str] = field(default_factory=dict)
    away: bool = False
    reads: int = 0

    def keep(self, name: str, text: str) -> None:
        self._ask()
        self.texts[name] = text

    def forget(self, name: str) -> None:
        self._ask()
        self.texts.pop(name, None)

    def names(self, beginning: str) -> Sequence[str]:
        self._ask()
        return [name for name in self.texts if name.startswith(beginning)]

    def several(self, names: Sequence[str]) -> Mapping[str, str]:
        self._ask()
        return {name: self.texts[name] for name in names if name in self.texts}

    def _ask(self) -> None:
        self.reads += 1
        if self.away:
            raise OSError("the head is away")

    def has(self, *records: LoadRecord) -> None:
        """Gateways have told this."""
        for one in records:
            self.keep(load_record.key("org/scout", one.gateway), load_record.written(one))


class World:
    """A policy's follower, its store, its events, and a clock that stands."""

    def __init__(
        self,
        limits: Wanted | None,
        ranks: int = 1,
        store: Memory | None = None,
        place: Place | None = None,
        shares: Shares | None = None,
    ) -> None:
        self.store, self.tellers, self.now = store or Memory(), list[Told](), T
        member = Member("org/scout", place or Place(), shares or Shares(lambda: Gpus(0.0, 0.0)))
        self.follower = Follower(member, limits, ranks, self._teller, self.store, lambda: self.now)

    def _teller(self, process: str) -> Told:
        self.tellers.append(Told(process))
        return self.tellers[-1]

    @property
    def events(self) -> list[str]:
        return [words for kind, words, model in self.tellers[0].events if (kind, model) == (Kind.SCALE, "org/scout")]

    def number(self, target: int, running: int = 1) -> int:
        return self.follower.number(Context(target, running))

    def turn(self, target: int, at_s: float, *records: LoadRecord, running: int = 1) -> int:
        """What is decided at a time after `T`, where gateways have told this."""
        self.now = T + at_s
        self.store.has(*records)
        self.number(target, running)
        self.follower.look()
        return self.number(target, running)


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are taken by the tests themselves; the thread has a test of its own."""
    monkeypatch.setattr("deployments.records.scaling_follower.Follower._follow", lambda _self: None)


def busy(at_s: float) -> LoadRecord:
    """Twenty requests in each bucket since `T`."""
    return record(at_s, *(bucket(step, 20) for step in range(int(at_s // 5))))


def test_number_is_the_target_until_something_is_decided() -> None:
    assert World(wanted()).number(2) == 2


def test_trap_14_and_9_load_brings_replicas_once_and_the_starting_ones_count() -> None:
    world, target = World(wanted(most=40)), 1
    targets = [target := world.turn(target, at_s, busy(at_s)) for at_s in (5.5, 10.5, 15.5, 20.5, 25.5, 30.5, 35.5, 40.5)]
    assert targets == sorted(targets)
    assert 8 <= targets[-1] <= 20, "16 requests in flight, of which a replica carries two, and spare, though none is ready yet"


def test_each_move_is_an_event_with_its_reason() -> None:
    world = World(wanted())
    target = world.turn(1, 5.5, busy(5.5))
    world.turn(target, 7.5, busy(7.5))
    (said,) = world.events
    assert f"{target} instead of 1" in said
    assert [one.process for one in world.tellers] == ["autoscaling"]


def test_move_that_ray_serve_does_not_follow_is_told_once() -> None:
    world = World(wanted())
    for at_s in (45.5, 47.5, 49.5):
        world.turn(1, at_s, busy(at_s))
    assert len(world.events) == 1


def test_number_that_another_has_set_is_an_event_too() -> None:
    world = World(None, ranks=4)
    for target in (4, 4, 8, 8, 4):
        assert world.number(target) == target
    assert world.events == ["Ray Serve now wants 2 replicas instead of 1", "Ray Serve now wants 1 replicas instead of 2"]


def test_trap_15_objective_that_no_number_meets_is_told_once() -> None:
    world = World(wanted(unmeetable="No number of replicas answers in 0.001 s."))
    for at_s in (5.5, 7.5, 20.5):
        world.turn(1, at_s, record(at_s))
    assert world.events == ["No number of replicas answers in 0.001 s"]
    verdict = verdicts.read(world.store.texts[verdicts.key("org/scout")])
    assert verdict is not None
    assert verdict.notice


def test_ranks_move_as_whole_replicas() -> None:
    number = World(wanted(ranks=4), ranks=4).turn(4, 5.5, busy(5.5), running=4)
    assert number > 4
    assert number % 4 == 0


def test_last_decision_and_memory_are_kept_at_each_move_and_every_ten_seconds() -> None:
    world = World(wanted())
    target = world.turn(1, 5.5, busy(5.5))
    first = verdicts.read(world.store.texts[verdicts.key("org/scout")])
    assert first is not None
    assert (first.before, first.target) == (1, target)
    world.turn(target, 7.5, record(7.5), running=target)
    assert verdicts.read(world.store.texts[verdicts.key("org/scout")]) == first
    world.turn(target, 5.6 + KEPT_S, record(15.5), running=target)
    assert verdicts.read(world.store.texts[verdicts.key("org/scout")]) != first


def test_log_of_a_controllers_turns_replayed_gives_the_same_decisions() -> None:
    """Its log is the memory before each turn, as the store has it, the moment that it saw, and the number that it decided on."""
    world, target = World(wanted(most=40)), 1
    log: list[tuple[str, turns.Seen, float, int]] = []
    for at_s in (5.5, 7.5, 12.5, 22.5, 32.5, 42.5, 47.5, 70.5, 100.5, 130.5):
        world.now = T + at_s
        world.store.has(busy(at_s) if at_s < 45 else record(at_s, bucket(int(at_s // 5) - 1, 1)))
        world.number(target, running=target)
        before = turns.written(world.follower._memory or turns.Memory())
        seen = world.follower._seen(target, target, world.now)
        world.follower.look()
        target = world.number(target, running=target)
        log.append((before, seen, world.now, target))
    again = [turns.turn(turns.read(before), seen, wanted(most=40), now)[0].target for before, seen, now, _ in log]
    assert again == [decided for *_, decided in log]
    assert max(again) > again[-1], "it went up and down"


def test_controller_that_starts_anew_goes_on_where_the_last_one_was() -> None:
    first = World(wanted())
    first.turn(1, 5.5, busy(5.5))
    second = World(wanted(), store=first.store)
    kept = turns.read(first.store.texts[turns.memory_key("org/scout")])
    assert kept.history.arrivals
    assert second.number(4) == 4, "the target that Ray's checkpoint has"
    second.turn(4, 7.5, record(7.5))
    after = turns.read(second.store.texts[turns.memory_key("org/scout")])
    assert after.history.arrivals[: len(kept.history.arrivals)] == kept.history.arrivals


def test_start_times_come_from_recorded_starts() -> None:
    world = World(wanted(most=40))
    took = starts.Start("org/scout", "r", "node", RELEASE, T - 500, ended=T - 423, outcome=starts.READY)
    world.store.keep(starts.key(took), starts.written(took))
    world.turn(1, 5.5, busy(5.5))
    assert "in 77 s" in world.events[0]


def test_trap_8_target_is_held_while_the_store_is_away() -> None:
    world = World(wanted())
    target = world.turn(1, 5.5, busy(5.5))
    world.store.away = True
    world.now += 4
    world.number(target)
    world.follower.look()
    world.now += KEPT_S
    with pytest.raises(OSError, match="the head is away"):  # keeping the memory; the thread logs it and goes on
        world.follower.look()
    assert world.number(target) == target


def test_old_decision_does_not_hold() -> None:
    world = World(wanted())
    assert world.turn(1, 5.5, busy(5.5)) > 1
    world.now += OLD_S + 1
    assert world.number(1) == 1, "the thread hangs: the target is held"


def test_record_of_a_gateway_that_is_long_gone_is_removed() -> None:
    world = World(wanted())
    world.turn(1, 0, record(0, gateway="gone"))
    world.turn(1, FORGOTTEN_S + 1, record(FORGOTTEN_S + 1))
    assert world.store.names(load_record.beginning("org/scout")) == [load_record.key("org/scout", "gw")]


def test_record_that_cannot_be_read_is_a_missing_gateway_until_it_stays_as_it_is() -> None:
    world, name = World(wanted()), load_record.key("org/scout", "newer")
    for at_s in (0.0, FORGOTTEN_S - 1):
        world.store.keep(name, "{}")
        world.turn(1, at_s, record(at_s))
        assert name in world.store.texts
    world.store.keep(name, "[]")
    world.turn(1, FORGOTTEN_S + 2, record(FORGOTTEN_S + 2))
    assert name in world.store.texts, "it writes"
    world.turn(1, 2 * FORGOTTEN_S + 4, record(2 * FORGOTTEN_S + 4))
    assert name not in world.store.texts


def test_nothing_is_looked_at_where_the_number_is_the_operators() -> None:
    world = World(None)
    world.number(2)
    world.follower.look()
    fixed = World(wanted(most=1))
    assert fixed.number(1) == 1
    assert world.store.reads == fixed.store.reads == 0


def test_thread_decides_and_ends_when_nobody_asks_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("deployments.records.scaling_follower.PERIOD_S", 0.01)
    world = World(wanted())
    world.now = T + 5.5
    world.store.has(busy(5.5))
    world.number(1)
    eventually(lambda: world.number(1) > 1)
    world.store.away = True
    world.now += KEPT_S
    time.sleep(0.05)
    world.number(1)
    time.sleep(0.05)
    world.store.away = False
    world.now += UNASKED_S + 1

    def is_quiet() -> bool:
        reads = world.store.reads
        time.sleep(0.1)
        return world.store.reads == reads

    eventually(is_quiet)  # another policy may have taken its place
    assert is_quiet()
    world.now += LEFT_S
    assert world.follower._thread is not None
    world.follower._thread.join(60)
    assert not world.follower._thread.is_alive()


def eventually(happened: Callable[[], bool]) -> None:
    """Waits for another thread."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Raising:
    """A follower that is broken."""

    def number(self, _context: Any) -> int:
        raise ValueError("broken")


@dataclass
class Said:
    """The arguments of a policy, as its thread has read them."""

    said: str | None

    def text(self) -> str | None:
        return self.said


def told_of(ranks: int = 1, release: str = RELEASE, wanted: Any = None, place: Any = None) -> Said:
    return Said(json.dumps({"ranks": ranks, "release": release, "wanted": wanted, "place": place}))


def test_trap_3_policy_never_raises_and_holds_the_target(caplog: pytest.LogCaptureFixture) -> None:
    policy = Scaling(told_of(wanted={"not": "readable"}))
    with caplog.at_level("WARNING", "ray.serve"):
        assert [policy(Context(3, 1)) for _ in range(3)] == [(3, {})] * 3
    assert len(caplog.records) == 1, "it is said once"
    policy = Scaling(told_of())
    assert policy(Context(3)) == (3, {})
    policy._follower = Raising()
    assert policy(Context(2)) == (2, {})


def test_trap_4_modules_of_another_release_decide_nothing(caplog: pytest.LogCaptureFixture) -> None:
    policy = Scaling(told_of(release="0.0.1", wanted=as_plain(wanted())))
    with caplog.at_level("WARNING", "ray.serve"):
        assert policy(Context(3)) == (3, {})
    assert "0.0.1" in caplog.text


def test_policy_follows_the_model_that_it_is_asked_about() -> None:
    policy = Scaling(told_of(wanted=as_plain(wanted())))
    assert policy(Context(2)) == (2, {})
    assert Scaling(told_of(2))(Context(4)) == (4, {})


def test_policy_that_has_been_told_nothing_yet_holds_the_target() -> None:
    policy = Scaling(Said(None))
    assert policy(Context(2)) == (2, {})
    assert policy._follower is None


def test_policy_that_is_told_something_else_follows_that_and_what_it_is_told_again_changes_nothing() -> None:
    arguments = told_of()
    policy = Scaling(arguments)
    policy(Context(2))
    first = policy._follower
    policy(Context(2))
    assert policy._follower is first
    arguments.said = told_of(wanted=as_plain(wanted())).said
    policy(Context(2))
    assert policy._follower is not first


def test_policy_reads_what_it_is_told_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Memory({policy_arguments.key("model.org~scout"): str(told_of().said)})
    monkeypatch.setattr(cluster_store, "several", store.several)
    policy = Scaling()
    deadline = time.monotonic() + 60
    while policy._follower is None and time.monotonic() < deadline:
        assert policy(Context(2)) == (2, {})
        time.sleep(0.01)
    assert policy._follower is not None


def test_what_was_read_last_holds_while_the_head_is_away_and_when_it_is_gone() -> None:
    store = Memory({policy_arguments.key("model.a"): "1"})
    arguments = Arguments("model.a", store)
    arguments.look()
    store.away = True
    with pytest.raises(OSError, match="away"):
        arguments.look()
    store.away = False
    store.texts.clear()
    arguments.look()
    assert arguments.text() == "1"


def test_policy_is_pickled_by_value_as_ray_does_it() -> None:
    cloudpickle.register_pickle_by_value(by_value)
    try:
        made = cloudpickle.loads(cloudpickle.dumps(Scaling))
    finally:
        cloudpickle.unregister_pickle_by_value(by_value)
    assert made(told_of(release="0.0.1"))(Context(2)) == (2, {})


def test_trap_20_scout_gives_way_to_a_maverick_and_says_so_in_its_event_and_its_verdict() -> None:
    gpus = Gpus(4.0, 0.0)
    shares = Shares(lambda: gpus)
    scout = World(wanted(), place=Place(gpus=1), shares=shares)
    maverick = Member("org/maverick", Place(priority=1, gpus=2), shares)
    for at_s in range(0, 40, 2):
        maverick.asked(1 if at_s >= 20 else 0, 0, T + at_s, is_fixed=True)
        target = scout.turn(4, at_s + 0.5, busy(at_s + 0.5), running=4)
    assert target == 2
    assert "Among all models: org/scout: 2 of the 4 that it asks for" in scout.events[-1]
    verdict = verdicts.read(scout.store.texts[verdicts.key("org/scout")])
    assert verdict is not None
    assert (verdict.target, verdict.binds) == (2, "other models")


def test_policy_tells_the_claim_of_a_model_whose_number_is_fixed() -> None:
    shared.cache_clear()
    Scaling(told_of(2, place={"priority": 0, "gpus": 4, "coming": 0.0}))(Context(4, 2))
    (heard,) = shared()._told.values()
    assert (heard.claim.model, heard.claim.present, heard.claim.gpus_per_replica) == ("org/scout", 2, 4)
    shared.cache_clear()
