"""Who gets weights from whom: the agents themselves in this process, each with a cache of its own, without Ray between them.

Nodes are lost here by not answering any more. That real ones are, and by real Ray, is in `tests/e2e/test_pull.py`.
"""

import asyncio
import concurrent.futures
import gc
import selectors
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from huggingface_hub import close_session, constants

from cluster.catalogue.weights import File, Source
from deployments.weights import origins
from deployments.weights.agent import Agent
from deployments.weights.cache import WeightsError
from deployments.weights.crew import Crew, NodeLost
from deployments.weights.origins import HubUnreachable
from deployments.weights.spread import Need, Outcome, Whence, bring, jobs
from tests.path.fake_hub import FakeHub, Repository, fake_hub, llama

NAME = "meta-llama/Llama-4-Tiny"
SOURCE = Source(NAME)
WANTED = sorted(path for path in llama() if not path.startswith(("original/", "README")))

#: CPython leaves a connection unclosed that it accepts in the moment in which its server stops (python/cpython#109564).
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Nowhere:
    """What a node that is gone gets its files from."""

    def bring(self, file: File, out: BinaryIO, at: int) -> None:
        raise WeightsError("gone")


class Together(Crew):
    """Agents on one event loop in a thread. A node that is lost answers nothing and serves nothing."""

    def __init__(self, root: Path, nodes: str) -> None:
        self.names = {node: f"node-{node}" for node in nodes}
        self._agents = {node: Agent("127.0.0.1", root / node) for node in nodes}
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.lost: set[str] = set()

    def start(self, node: str, method: str, *args: object) -> Any:
        return asyncio.run_coroutine_threadsafe(getattr(self._agents[node], method)(*args), self._loop)

    def glance(self, nodes: Iterable[str], method: str, *args: object) -> dict[str, Any]:
        return self.ask(nodes, method, *args)

    def done(self, refs: Iterable[Any], within_s: float) -> list[Any]:
        found, _ = concurrent.futures.wait(list(refs), timeout=within_s, return_when=concurrent.futures.FIRST_COMPLETED)
        return list(found)

    def answer(self, node: str, ref: Any) -> Any:
        if node in self.lost:
            return NodeLost("The node was lost in the middle.")
        try:
            return ref.result(20)
        except WeightsError as error:
            return error

    def lose(self, node: str) -> None:
        self.lost.add(node)
        agent = self._agents[node]
        agent._origin = Nowhere()  # nor does it fetch any more
        if agent._server is not None:
            asyncio.run_coroutine_threadsafe(agent._server.stop(), self._loop).result(20)

    def whole(self, node: str) -> bool:
        return self.ask([node], "held", SOURCE)[node].whole is not None

    def dismiss(self) -> None:
        for node in self._agents:
            self.lose(node)
        asyncio.run_coroutine_threadsafe(self._idle(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    async def _idle(self) -> None:
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        while len(self._selector.get_map()) > 1:  # noqa: ASYNC110 (a connection whose other side has just closed; one is the loop's own)
            await asyncio.sleep(0.01)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    monkeypatch.setenv("HERD_SECRET", "0123456789abcdef" * 2)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with fake_hub() as one:
        monkeypatch.setattr(constants, "ENDPOINT", one.endpoint)
        template = f"{one.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        one.repositories[NAME] = Repository(llama())
        yield one
    close_session()


@pytest.fixture(scope="module", autouse=True)
def _earlier_tests_are_swept() -> None:
    """Takes what is left of other files' tests out of the garbage collector's sight, which `crew` lets look at all after each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Together]:
    one = Together(tmp_path, "abcd")
    yield one
    one.dismiss()
    gc.collect()  # what is unclosed is told here, and not in whichever test comes next


def pull(crew: Together, whence: Whence = Whence.AUTO, targets: str = "abcd", lose: str = "") -> Outcome:
    (job,) = jobs(crew, [Need(SOURCE, tuple(targets))], whence, fresh=True, say=lambda _: None)
    left = list(lose)

    def see(rows: Any) -> None:
        if left and rows:
            crew.lose(left.pop(0))

    return bring(crew, job, whence, see)


def given(hub: FakeHub) -> list[str]:
    found = sorted(path for path, _ in hub.downloads)
    hub.downloads.clear()
    return found


def test_hub_gives_each_file_once_and_every_node_has_all(hub: FakeHub, crew: Together) -> None:
    outcome = pull(crew)
    assert (outcome.failed, outcome.damaged) == ({}, {})
    assert given(hub) == WANTED
    assert all(map(crew.whole, "abcd"))


def test_each_node_may_go_to_the_hub_itself(hub: FakeHub, crew: Together) -> None:
    assert pull(crew, Whence.HUB).failed == {}
    assert given(hub) == sorted(4 * WANTED)
    assert all(agent._server is None for agent in crew._agents.values())


def test_nodes_that_have_it_give_it_and_the_hub_is_not_asked(hub: FakeHub, crew: Together) -> None:
    pull(crew, targets="d")
    given(hub)
    hub.asked.clear()
    assert pull(crew, Whence.NODE, "ab").failed == {}
    assert (given(hub), hub.asked) == ([], [])
    assert [crew.whole(node) for node in "abcd"] == [True, True, False, True]


def test_what_no_node_has_does_not_come_from_nodes(hub: FakeHub, crew: Together) -> None:
    with pytest.raises(WeightsError, match="No node has meta-llama/Llama-4-Tiny whole"):
        pull(crew, Whence.NODE)


def test_what_the_cluster_has_is_taken_where_the_hub_is_away(hub: FakeHub, crew: Together) -> None:
    pull(crew, targets="a")
    given(hub)
    hub.down = True
    assert pull(crew).failed == {}
    assert (given(hub), crew.whole("d")) == ([], True)


def test_hub_that_is_away_is_told_where_nobody_has_it(hub: FakeHub, crew: Together) -> None:
    hub.down = True
    with pytest.raises(HubUnreachable, match="answers 503"):
        pull(crew)


def test_new_commit_of_a_branch_comes_to_all(hub: FakeHub, crew: Together) -> None:
    pull(crew)
    given(hub)
    hub.repositories[NAME] = Repository(llama() | {"config.json": b"{}"}, commit="b" * 40)
    assert pull(crew).failed == {}
    assert given(hub) == ["config.json"]


def test_commit_that_is_there_needs_no_hub(hub: FakeHub, crew: Together) -> None:
    pull(crew, targets="a")
    hub.asked.clear()
    (job,) = jobs(crew, [Need(Source(NAME, "a" * 40), tuple("ab"))], Whence.AUTO, fresh=True, say=lambda _: None)
    assert (job.holders, job.missing, hub.asked) == (("a",), ("b",), [])


@pytest.mark.parametrize("lost", ["a", "b", "ab"])
def test_node_that_is_lost_costs_the_others_nothing(hub: FakeHub, crew: Together, lost: str) -> None:
    hub.pace_s = 0.3
    outcome = pull(crew, lose=lost)
    assert sorted(outcome.failed) == sorted(lost)
    assert all(isinstance(error, NodeLost) for error in outcome.failed.values())
    assert all(crew.whole(node) for node in set("abcd") - set(lost))


def test_last_node_that_had_all_is_lost_and_the_hub_may_not_be_asked(hub: FakeHub, crew: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    pull(crew, targets="d")
    given(hub)
    monkeypatch.setattr(origins.FromNode, "_take", lambda *_: (_ for _ in ()).throw(origins.NotYet))  # nothing comes while it is there
    outcome = pull(crew, Whence.NODE, "ab", lose="d")
    assert sorted(outcome.failed) == ["a", "b"]
    assert "The last node that had all files is gone" in str(outcome.failed["a"])
    assert given(hub) == []


def test_node_without_access_is_not_the_one_that_downloads(hub: FakeHub, crew: Together, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repositories[NAME].gated_for = "hf_right"
    whole = Agent.resolve

    async def resolve(agent: Agent, source: Source) -> Any:
        if agent.own is not None and agent.own.name == "c":  # the only node that has the token
            monkeypatch.setenv("HF_TOKEN", "hf_right")
        return await whole(agent, source)

    monkeypatch.setattr(Agent, "resolve", resolve)
    monkeypatch.setattr(
        Together, "ask", lambda self, nodes, method, *args: {n: self.answer(n, self.start(n, method, *args)) for n in nodes}
    )
    (job,) = jobs(crew, [Need(SOURCE, tuple("abc"))], Whence.AUTO, fresh=True, say=lambda _: None)
    assert job.missing == ("c", "a", "b")


def test_everything_that_is_wrong_is_told_at_once(hub: FakeHub, crew: Together) -> None:
    needs = [Need(Source(name), ("a",)) for name in ("meta-llama/Lama", NAME, "meta-llama/Alpaca")]
    with pytest.raises(WeightsError, match=r"Lama.*\n.*Alpaca"):
        jobs(crew, needs, Whence.AUTO, fresh=True, say=lambda _: None)
    assert given(hub) == []


def test_disk_must_hold_all_models_together(hub: FakeHub, crew: Together) -> None:
    hub.repositories["a/large"] = Repository(llama(), said_bytes=1 << 58)
    with pytest.raises(WeightsError, match=r"Too little disk; nothing was downloaded\.\nnode-a: .* TiB are still to come"):
        jobs(crew, [Need(SOURCE, ("a",)), Need(Source("a/large"), ("a",))], Whence.AUTO, fresh=True, say=lambda _: None)


def test_pull_that_was_broken_off_leaves_what_was_whole_before_to_engines(hub: FakeHub, crew: Together, tmp_path: Path) -> None:
    pull(crew, targets="a")
    hub.repositories[NAME] = Repository(llama() | {"config.json": b"{}"}, commit="b" * 40)
    begun = origins.resolve(SOURCE, 9e9)
    crew._agents["a"]._cache(SOURCE).keep(begun)
    held = crew.ask(["a"], "held", SOURCE)["a"]
    assert (held.known, held.whole.commit) == (begun, "a" * 40)
    (job,) = jobs(crew, [Need(SOURCE, ("a",))], Whence.AUTO, fresh=False, say=lambda _: None)
    assert (job.manifest.commit, job.missing) == ("a" * 40, ())
