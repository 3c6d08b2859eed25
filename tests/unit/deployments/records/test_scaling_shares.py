"""Several models on the GPUs of one cluster: at no time do their replicas, draining ones included, want more than there are.

Fixed claims and drains are as Ray Serve has them; how much load there is, is left to a number that each model asks for.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.decision import Decision
from cluster.scaling.state import State
from deployments.policy.scaling.replica_counts import followed
from deployments.policy.scaling.sharing import NOT_KNOWN, VIEW_S, Place
from deployments.policy.scaling.turn import Memory
from deployments.ray_calls.nodes import Gpus
from deployments.records.scaling_shares import GONE_S, LOOK_S, LOST_S, SETTLED_S, STALE_S, Member, Shares, shared
from tests.unit.deployments.policy.scaling.samples import T, wanted


@dataclass
class Engine:
    """One model's replicas as Ray Serve has them, and what its follower knows."""

    member: Member
    place: Place
    least: int
    target: int
    running: int
    wants: int
    draining: int = 0
    decided: int = 0
    memory: Memory = field(default_factory=Memory)
    binds: str | None = None
    reason: str = ""

    @property
    def held(self) -> float:
        """GPUs that it holds, or that Ray Serve may take for it at any moment."""
        return self.place.gpus * (max(self.target, self.decided) + self.draining)

    @property
    def used(self) -> float:
        """GPUs of its processes."""
        return self.place.gpus * (self.running + self.draining)


class Cluster:
    """A cluster whose clock stands until it is moved."""

    def __init__(self, gpus: float) -> None:
        self.there, self.foreign, self.now, self.away = gpus, 0.0, T, False
        self.shares = Shares(self._look)
        self.engines: dict[str, Engine] = {}

    def _look(self) -> Gpus:
        if self.away:
            raise OSError("the head is away")
        return Gpus(self.there, self.there - sum(one.used for one in self.engines.values()) - self.foreign)

    def model(self, name: str, present: int = 0, wants: int | None = None, least: int = 0, **place: Any) -> Engine:
        """A model of the herd, all of whose replicas run."""
        own = Place(**{"gpus": 1, **place})
        made = Engine(Member(name, own, self.shares), own, least, present, present, present if wants is None else wants, decided=present)
        self.engines[name] = made
        return made

    def settled(self) -> "Cluster":
        """Every model has been asked for a while."""
        for wait_s in (0.0, SETTLED_S):
            self.now += wait_s
            for one in self.engines.values():
                self.asked(one)
        return self

    def asked(self, one: Engine) -> None:
        one.member.asked(one.target, one.running, self.now, is_fixed=False)

    def turn(self, one: Engine) -> int:
        """The model's follower decides."""
        counts = followed(one.memory.counts, one.target, one.running, self.now)
        one.memory = Memory(counts=counts)
        limits = replace(wanted().limits, least=one.least, most=64)
        own = Decision(one.wants, "It asks for so many.", State())
        found = one.member.granted(own, one.memory, limits, one.decided, self.now)
        one.decided, one.binds, one.reason = found.target, found.binds, found.reason
        return found.target

    def follow(self, one: Engine) -> None:
        """Ray Serve asks for the number, and moves there: it gives up replicas that do not run first."""
        self.asked(one)
        one.target = one.decided
        if one.running > one.target:
            one.draining += one.running - one.target
            one.running = one.target

    def start(self, one: Engine) -> None:
        """A replica is placed, where there are GPUs for it."""
        if one.running < one.target and one.place.gpus <= self._look().free:
            one.running += 1

    def end(self, one: Engine) -> None:
        """A replica has drained."""
        one.draining = max(0, one.draining - 1)

    def pass_(self, seconds: float, ends: bool = True) -> None:
        """Time in which all goes its way."""
        for _ in range(int(seconds / 2)):
            self.now += 2
            for one in self.engines.values():
                self.turn(one)
                self.follow(one)
                self.start(one)
                if ends:
                    self.end(one)

    @property
    def held(self) -> float:
        return sum(one.held for one in self.engines.values())


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["turn", "turn", "follow", "start", "end", "wants"]), st.integers(0, 2), st.integers(0, 9), st.floats(0.0, 2.0)
    ),
    max_size=80,
)
MODELS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([1, 2, 4]), st.integers(0, 2), st.integers(0, 2)), min_size=3, max_size=3)


def herd(models: list[tuple[int, int, int, int]]) -> tuple[Cluster, list[Engine]]:
    """A cluster of 8 GPUs, and three models: their priority, GPUs, floor and replicas, as far as there is room for them."""
    cluster, left = Cluster(8), 8
    for name, (priority, gpus, least, present) in zip("abc", models, strict=True):
        there = min(present, left // gpus)
        left -= there * gpus
        cluster.model(name, there, least=least, priority=priority, gpus=gpus)
    return cluster.settled(), list(cluster.engines.values())


@given(MODELS, STEPS)
def test_trap_20_followers_that_run_at_any_time_never_want_more_gpus_than_exist(
    models: list[tuple[int, int, int, int]], steps: list[tuple[str, int, int, float]]
) -> None:
    cluster, engines = herd(models)
    do: dict[str, Callable[[Engine], object]] = {
        "turn": cluster.turn,
        "follow": cluster.follow,
        "start": cluster.start,
        "end": cluster.end,
    }
    for what, index, wants, seconds in steps:
        cluster.now += seconds
        if what == "wants":
            engines[index].wants = wants
        else:
            do[what](engines[index])
        assert cluster.held <= cluster.there, what
    for one in engines:
        one.draining = 0
    cluster.pass_(120)
    due = {one.member.model: one.target for one in engines}
    assert sum(one.place.gpus * one.target for one in engines) <= cluster.there
    cluster.pass_(60)
    assert {one.member.model: one.target for one in engines} == due, "what is asked for does not change, so nothing moves"
    for one in engines:
        room = cluster.there - cluster.held
        assert one.target >= one.wants or room < one.place.gpus, "no GPU idles that a model asks for"


def scout_and_maverick() -> tuple[Cluster, Engine, Engine]:
    cluster = Cluster(8)
    scout = cluster.model("scout", 8, least=1)
    maverick = cluster.model("maverick", 0, gpus=4, priority=1)
    return cluster.settled(), scout, maverick


def test_scout_gives_way_to_a_maverick_that_must_start_and_the_drain_ends_before_the_start_begins() -> None:
    cluster, scout, maverick = scout_and_maverick()
    maverick.wants = 1
    cluster.pass_(8, ends=False)
    assert (scout.target, scout.draining, maverick.target) == (4, 4, 0)
    assert (scout.binds, maverick.binds) == ("other models", "other models")
    assert "the GPUs go to maverick first" in scout.reason
    assert "maverick: 0 now, 1 once GPUs of scout are free." in maverick.reason
    cluster.pass_(60, ends=False)
    assert maverick.target == 0, "Ray sees that they are used, however long a drain was thought to last"
    cluster.pass_(40)
    assert (scout.target, maverick.target, maverick.running, maverick.binds) == (4, 1, 1, None)
    maverick.wants = 0
    cluster.pass_(60)
    assert (scout.target, maverick.target, scout.binds) == (8, 0, None)


def test_model_of_a_fixed_number_has_a_claim_too() -> None:
    cluster = Cluster(8)
    scout = cluster.model("scout", 2, wants=8)
    fixed = Member("maverick", Place(gpus=2), cluster.shares)
    cluster.settled()
    for target, gets in ((1, 6), (2, 4), (0, 4)):
        cluster.now += 1
        fixed.asked(target, target, cluster.now, is_fixed=True)
        assert cluster.turn(scout) == gets
        cluster.follow(scout)


def test_model_without_a_gpu_takes_part_in_nothing() -> None:
    cluster = Cluster(2)
    small = cluster.model("small", 1, wants=9, gpus=0)
    assert cluster.settled().turn(small) == 9


def test_cluster_without_gpus_has_nothing_to_share() -> None:
    cluster = Cluster(0)
    one = cluster.model("a", 1, wants=9)
    assert cluster.settled().turn(one) == 9


def test_cluster_that_grows_counts_with_what_may_come() -> None:
    cluster = Cluster(2)
    one = cluster.model("a", 2, wants=9, coming=6.0)
    assert cluster.settled().turn(one) == 6
    assert one.binds == "cluster"


def test_nothing_is_added_before_every_model_has_been_seen() -> None:
    cluster = Cluster(8)
    one = cluster.model("a", 2, wants=9)
    cluster.asked(one)
    assert cluster.turn(one) == 2
    assert NOT_KNOWN in one.reason
    cluster.now += SETTLED_S
    assert cluster.turn(one) == 8


def test_nothing_is_added_while_ray_does_not_tell_its_gpus(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(8)
    one = cluster.model("a", 2, wants=9)
    cluster.away = True
    with caplog.at_level("WARNING", "ray.serve"):
        assert cluster.settled().turn(one) == 2
    assert "the head is away" in caplog.text
    one.wants = 1
    assert cluster.turn(one) == 1, "it may give up what it does not need"
    cluster.away = False
    cluster.now += LOOK_S
    one.wants = 9
    assert cluster.turn(one) == 8
    cluster.away = True
    cluster.now += VIEW_S + 1
    one.wants = 12
    assert cluster.turn(one) == 8


def test_trap_8_nodes_that_are_gone_for_a_moment_take_no_replica() -> None:
    cluster = Cluster(8)
    one = cluster.model("a", 8)
    assert cluster.settled().turn(one) == 8
    cluster.there = 0
    cluster.now += LOOK_S
    assert cluster.turn(one) == 8
    cluster.there = 4
    cluster.pass_(LOST_S + 10)
    assert one.target == 4, "but for good they are not there"


def test_gpus_of_another_program_are_not_promised() -> None:
    cluster = Cluster(8)
    cluster.foreign = 3
    one = cluster.model("a", 2, wants=8)
    assert cluster.settled().turn(one) == 5


def test_model_whose_claim_is_old_keeps_what_it_has_and_one_that_is_gone_is_forgotten() -> None:
    cluster, scout, maverick = scout_and_maverick()
    maverick.wants = 1
    for _ in range(int(STALE_S) + 1):
        cluster.now += 1
        cluster.asked(scout)  # its thread hangs
    cluster.turn(maverick)
    assert maverick.binds == "other models"
    assert "maverick: 0 of the 1 that it asks for" in maverick.reason
    del cluster.engines["scout"]
    cluster.now += GONE_S + 1
    assert cluster.turn(maverick) == 1


def test_one_that_speaks_for_a_model_no_more_moves_nothing() -> None:
    cluster = Cluster(8)
    old = cluster.model("a", 4, wants=8)
    new = cluster.model("a", 4, wants=2)
    cluster.settled()
    cluster.turn(new)
    assert cluster.turn(old) == 8, "nobody asks it"
    other = cluster.model("b", 0, wants=8)
    assert cluster.turn(other) == 4, "what the new one has said counts"


def test_one_table_is_for_all_models_of_a_process() -> None:
    assert shared() is shared()
