"""`deployments.policy.fleet.slowness`.

Whose fault a late canary is, in simulated herds under load, with a tenant, and with one throttled GPU.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import Canary
from deployments.policy.fleet.canary import Heard, History, Verdict, is_slow, judged, late
from deployments.policy.fleet.known_answer import Token
from deployments.policy.fleet.slowness import (
    NOT_SLOW,
    RESTARTED_AFTER,
    Circumstances,
    Pace,
    Progress,
    Slowness,
    compared,
    work_between,
)

KNOWN = tuple(Token(name, -0.1, {name: -0.1}) for name in "abcdefgh")
SETTINGS = Canary()


@dataclass(frozen=True)
class Load:
    """What makes the steps of one replica long."""

    times: float = 1.0
    """How many times as long as usual a step takes, for whatever reason."""
    work: float = 1.0
    """Tokens of one step."""

    @property
    def idle(self) -> bool:
        return self.work == 1.0


NO_LOAD = Load()


class Replicas:
    """Replicas of one model whose canaries come each 30 s, one replica after the other."""

    def __init__(self, hosts: str, usual_s: float = 0.3, crowd: float = 0.5) -> None:
        """Args:
        hosts: a letter per replica: its machine.
        usual_s: seconds of a canary without load.
        crowd: runnable threads per CPU of each machine.
        """
        self.hosts = dict(enumerate(hosts))
        self.usual_s, self.crowd = usual_s, crowd
        self.now_s = 0.0
        self.histories = {name: History(KNOWN, usual_s=usual_s) for name in self.hosts}
        self.paces = {name: (0.0, Pace(str(name), host, usual_s)) for name, host in self.hosts.items()}
        self.verdicts: list[Verdict] = []
        self.restarted: list[int] = []

    def period(self, load: Callable[[int], Load]) -> None:
        """Lets each replica have one canary. A replica that is sick is away from then on."""
        for name in sorted(self.histories):
            self.now_s += 30 / len(self.hosts)
            self._canary(name, load(name))
            if self.histories[name].sick:
                self.restarted.append(name)
                del self.histories[name]

    def _canary(self, name: int, load: Load) -> None:
        history, seconds = self.histories[name], self.usual_s * load.times
        came = Heard("x", KNOWN, seconds, work=load.work, idle=load.idle)
        own = Pace(str(name), self.hosts[name], seconds, load.work)
        others = [
            replace(pace, age_s=self.now_s - ended_s, slow=is_slow(SETTINGS, self.histories[other]))
            for other, (ended_s, pace) in self.paces.items()
            if other != name and other in self.histories and late(SETTINGS, history, came, self.crowd)
        ]
        self.histories[name] = judged(SETTINGS, history, came, Circumstances(own, others, self.complete, load.idle, self.crowd, self.now_s))
        self.paces[name] = self.now_s, own
        self.verdicts.append(self.histories[name].last)

    @property
    def complete(self) -> bool:
        return self.histories.keys() == self.hosts.keys()

    @property
    def avoided(self) -> list[int]:
        return [name for name, history in self.histories.items() if is_slow(SETTINGS, history)]


def only(loads: Mapping[int, Load]) -> Callable[[int], Load]:
    return lambda name: loads.get(name, NO_LOAD)


#: Half an hour.
LONG = 60

#: Observed: 0.3 s become 20 to 40 s on two cores with a load of eight.
MANY_SAMPLES = Load(times=80, work=33)
MANY_ONE_TOKEN_ANSWERS = Load(times=100, work=64)
LONG_PROMPTS = Load(times=120, work=2048)
HEAVY = pytest.mark.parametrize("load", [MANY_SAMPLES, MANY_ONE_TOKEN_ANSWERS, LONG_PROMPTS])


@HEAVY
def test_load_on_a_lone_replica_neither_restarts_nor_avoids_it(load: Load) -> None:
    herd = Replicas("A")
    for _ in range(LONG):
        herd.period(only({0: load}))
        assert herd.avoided == []
    assert (herd.restarted, set(herd.verdicts)) == ([], {Verdict.HELD_UP})


@HEAVY
@pytest.mark.parametrize("hosts", ["AA", "AB", "AABB"])
def test_load_on_one_of_several_replicas_is_explained_by_its_work(hosts: str, load: Load) -> None:
    herd = Replicas(hosts)
    for _ in range(LONG):
        herd.period(only({0: load}))
        assert herd.avoided == []
    assert herd.restarted == []


def test_load_that_no_count_shows_makes_a_replica_avoided_and_never_restarted() -> None:
    herd = Replicas("AB")
    for _ in range(LONG):
        herd.period(only({0: Load(times=100, work=2.0)}))
    assert (herd.avoided, herd.restarted) == ([0], []), "its engine was never idle"


@pytest.mark.parametrize("hosts", ["A", "AA", "AB", "ABCDEFGH"])
def test_slowness_of_all_replicas_is_nobodys_fault(hosts: str) -> None:
    herd = Replicas(hosts)
    for _ in range(LONG):
        herd.period(lambda name: Load(times=20 + 5 * name))
        assert herd.avoided == []
    assert herd.restarted == []


def test_a_tenant_that_takes_the_cpus_of_one_machine_restarts_nothing() -> None:
    for hosts in ("AABB", "AAABBBBB"):
        herd = Replicas(hosts)
        for _ in range(LONG):
            herd.period(lambda name, hosts=hosts: Load(times=25) if hosts[name] == "A" else NO_LOAD)  # type: ignore[misc]
        assert herd.restarted == []


def test_a_tenant_beside_the_only_replica_of_a_machine_restarts_nothing() -> None:
    herd = Replicas("ABC", crowd=1.2)
    for _ in range(LONG):
        herd.period(only({0: Load(times=60)}))
    assert (herd.avoided, herd.restarted) == ([0], [])


@pytest.mark.parametrize("hosts", ["AAAAAAAA", "ABCDEFGH"])
def test_one_throttled_gpu_of_eight_is_avoided_then_restarted_and_no_other_is(hosts: str) -> None:
    herd = Replicas(hosts)
    for period in range(LONG):
        herd.period(only({3: Load(times=25)}))
        assert herd.avoided in ([], [3])
        if period == 3:
            assert herd.avoided == [3], "within two minutes"
        if period < RESTARTED_AFTER - 1:
            assert herd.restarted == []
    assert herd.restarted == [3]


def test_a_throttled_gpu_among_equally_busy_ones_is_avoided() -> None:
    herd = Replicas("ABCDEFGH")
    for _ in range(3):
        herd.period(lambda name: Load(times=60 if name == 3 else 3, work=40))
    assert herd.avoided == [3]


def test_the_last_replica_is_never_restarted_for_being_slow() -> None:
    herd = Replicas("AB")
    for _ in range(3):
        herd.period(only({0: Load(times=25)}))
    assert herd.avoided == [0]
    del herd.histories[1], herd.hosts[1]
    for _ in range(LONG):
        herd.period(only({0: Load(times=25)}))
    assert herd.restarted == []


def test_two_slow_replicas_of_three_are_left_alone() -> None:
    herd = Replicas("ABC")
    for _ in range(LONG):
        herd.period(only({0: Load(times=25), 1: Load(times=30)}))
        assert herd.avoided == []
    assert herd.restarted == []


def test_of_two_slow_replicas_of_five_one_is_restarted_and_the_other_waits_until_it_is_back() -> None:
    herd = Replicas("ABCDE")
    for _ in range(LONG):
        herd.period(only({1: Load(times=25), 2: Load(times=25)}))
    assert (herd.restarted, herd.avoided) == ([1], [2])
    herd.histories[1] = History(KNOWN, usual_s=herd.usual_s)
    for _ in range(2):
        herd.period(only({2: Load(times=25)}))
    assert herd.restarted == [1, 2]


OWN = Pace("m", "A", 9.0)
QUICK = Pace("z", "B", 0.3, age_s=1.0)
SEEN = Circumstances(OWN, (QUICK,), complete=True, idle=True, crowd=0.5, now_s=1000.0)
NEARLY = Slowness(row=20, idle_row=RESTARTED_AFTER - 1, since_s=0.0)


@pytest.mark.parametrize(
    ("seen", "due"),
    [
        (SEEN, True),
        (replace(SEEN, idle=False), False),
        (replace(SEEN, complete=False), False),
        (replace(SEEN, crowd=1.5), False),
        (replace(SEEN, others=(replace(QUICK, serves=False),)), False),
        (replace(SEEN, others=(replace(QUICK, slow=True),)), False),
        (replace(SEEN, others=(QUICK, replace(QUICK, id="a", slow=True))), False),
        (replace(SEEN, others=(QUICK, replace(QUICK, id="n", slow=True))), True),
        (replace(SEEN, others=(replace(QUICK, host="A"),)), True),
        (replace(SEEN, others=(QUICK, replace(QUICK, id="y"), replace(OWN, id="x", age_s=1.0))), False),
    ],
)
def test_a_replica_is_restarted_only_where_that_costs_nothing_and_helps(seen: Circumstances, due: bool) -> None:
    found = compared(NEARLY, seen)
    assert found is not None
    assert found.due is due


def test_what_was_quick_before_is_no_proof() -> None:
    before = replace(SEEN, others=(replace(QUICK, age_s=20.0),))
    suspected = compared(NOT_SLOW, before)
    assert suspected == Slowness(since_s=991.0)
    assert compared(suspected, replace(before, now_s=1030.0)) == Slowness(1, 1, 991.0)


def test_a_replica_that_is_avoided_stays_so_while_nobody_can_be_asked() -> None:
    assert compared(NEARLY, replace(SEEN, others=())) == NEARLY
    assert compared(NOT_SLOW, replace(SEEN, others=())) is None


def test_a_replica_without_a_canary_yet_is_no_measure() -> None:
    assert compared(NEARLY, replace(SEEN, others=(Pace("z", "B"),))) == NEARLY


def test_a_pace_is_read_from_what_another_release_has_sent() -> None:
    assert Pace.of_plain(asdict(QUICK)) == QUICK
    assert Pace.of_plain({"id": "z", "host": "B", "of_a_later_release": 1}) == Pace("z", "B")


COUNTS = st.floats(0, 1e6)


@given(st.builds(Progress, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS), st.builds(Progress, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS))
def test_work_is_at_least_the_canarys_own_token(one: Progress, other: Progress) -> None:
    assert work_between(one, other) >= 1


def test_work_is_what_a_step_computes_with_prompts_that_are_not_done() -> None:
    before = Progress(steps=10, tokens=100, held_tokens=50)
    assert work_between(before, Progress(steps=14, tokens=140, held_tokens=10)) == 10
    assert work_between(before, Progress(steps=12, tokens=104, held_tokens=4146)) == 2050
