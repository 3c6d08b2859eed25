"""`records.cluster_facts`: what a gateway reads of its cluster, and how seldom."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from structlog.testing import capture_logs

from deployments.policy.fleet import events
from deployments.policy.fleet.events import Event, Kind
from deployments.policy.monitoring.cluster_facts import Node
from deployments.policy.records import starts
from deployments.policy.records.starts import Start
from deployments.ray_calls.names import app_name
from deployments.records.cluster_facts import SELDOM_S, ClusterReader
from deployments.records.kept_starts import KeptStarts

NODE = Node("1", "10.0.0.1", "dgx-1")
START = Start("scout", "scout#1", "10.0.0.1", "1", 100.0, (("weights", 101.0),))


class Cluster:
    """A cluster's store and Ray Serve's words, with a clock."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.there: dict[str, int] = {app_name("scout"): 0}
        self.now, self.asked, self.texts = 0.0, 0, 0
        self.starts = KeptStarts(self, 0.0, lambda: self.now)
        self.reader = ClusterReader(self.starts, self, lambda: [NODE], self.starting, lambda: self.now)

    def names(self, beginning: str) -> Sequence[str]:
        return [name for name in self.kept if name.startswith(beginning)]

    def several(self, names: Sequence[str]) -> Mapping[str, str]:
        self.texts += len(names)
        return {name: self.kept[name] for name in names if name in self.kept}

    def starting(self, applications: Collection[str]) -> Mapping[str, int]:
        self.asked += 1
        return {app: count for app, count in self.there.items() if app in applications}

    def has(self, start: Start) -> None:
        self.kept[starts.key(start)] = starts.written(start)

    def tells(self, kind: str, when: float, subject: str = "") -> None:
        self.kept[events.key(when, f"{kind}-{subject}")] = events.written(Event(when, kind, "words", "scout", subject))


def test_events_are_counted_from_the_first_reading_on_each_once() -> None:
    cluster = Cluster()
    cluster.tells(Kind.UP, 1.0)
    assert cluster.reader.read(["scout"]).events == {}, "what was before is not counted"
    cluster.tells(Kind.DEATH, 2.0, "a")
    cluster.tells(Kind.STOP, 2.5, "b")
    cluster.tells(Kind.DEATH, 3.0, "b")
    cluster.tells("of another release", 4.0)
    cluster.kept[f"{events.BEGINNING}broken"] = "no event"
    assert cluster.reader.read(["scout"]).events == {"death": 1, "stop": 1}, "one that has said that it stops does not die"
    cluster.tells(Kind.DEATH, 5.0, "c")
    assert cluster.reader.read(["scout"]).events == {"death": 2, "stop": 1}
    assert cluster.texts == 6, "no text is read twice"


def test_what_an_operator_does_is_a_line_of_the_log_and_nothing_else_is() -> None:
    cluster = Cluster()
    cluster.kept[events.key(1.0, "a")] = events.written(Event(1.0, Kind.SCALE, "before", "scout", who="anna@head"))
    cluster.reader.read(["scout"])
    for when, who in ((2.0, "anna@head"), (3.0, "gateway")):
        cluster.kept[events.key(when, "a")] = events.written(Event(when, Kind.SCALE, "`herd scale scout 2` begins", "scout", who=who))
    cluster.kept[events.key(4.0, "a")] = events.written(Event(4.0, Kind.ROLLBACK, "The herd before is declared", who="bob@head"))
    with capture_logs() as lines:
        cluster.reader.read(["scout"])
        cluster.reader.read(["scout"])
    every = {"event": "operator", "log_level": "info"}
    assert lines == [
        every
        | {
            "who": "anna@head",
            "kind": "scale",
            "words": "`herd scale scout 2` begins",
            "model": "scout",
            "when": "1970-01-01T00:00:02.000Z",
        },
        every | {"who": "bob@head", "kind": "rollback", "words": "The herd before is declared", "when": "1970-01-01T00:00:04.000Z"},
    ]


def test_states_of_replicas_are_asked_for_seldom_while_none_starts() -> None:
    cluster = Cluster()
    for now in (0.0, 10.0, SELDOM_S - 1):
        cluster.now = now
        assert cluster.reader.read(["scout"]).starting == {"scout": 0}
    assert cluster.asked == 1
    cluster.now, cluster.there = SELDOM_S, {app_name("scout"): 1}
    assert cluster.reader.read(["scout"]).starting == {"scout": 1}, "it waits for room, and has no record yet"
    cluster.now += 10
    cluster.reader.read(["scout"])
    assert cluster.asked == 3


def test_start_that_has_begun_is_told_until_it_has_ended() -> None:
    cluster = Cluster()
    cluster.reader.read(["scout"])
    cluster.has(START)
    cluster.there = {app_name("scout"): 1}
    found = cluster.reader.read(["scout"])
    assert (found.starts, found.starting, found.nodes) == ((START,), {"scout": 1}, (NODE,))
    cluster.has(replace(START, ended=120.0, outcome="ready"))
    cluster.there = {app_name("scout"): 0}
    assert cluster.reader.read(["scout"]).starts == ()
    cluster.texts = 0
    cluster.reader.read(["scout"])
    assert cluster.texts == 0


def test_start_that_was_killed_is_forgotten_once_ray_starts_nothing() -> None:
    cluster = Cluster()
    cluster.has(START)
    cluster.kept[f"{starts.BEGINNING}scout#broken"] = "no start"
    assert cluster.reader.read(["scout"]).starts == (START,)
    assert cluster.reader.read(["scout"]).starts == ()
    cluster.now = 10.0
    asked = cluster.asked
    cluster.reader.read(["scout"])
    assert cluster.asked == asked
