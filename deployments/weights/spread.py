"""Brings weights to nodes: one of them downloads, the others get each file from a node that has it already.

Decides the order of steps: who has what, what the Hub says, whether the disks suffice, who follows whom, and who follows instead when a
node goes away. The tree itself is `cluster.catalogue.weights.upstreams`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from cluster.catalogue.weights import Manifest, Room, Source, newest, shortages, upstreams
from deployments.weights.agent import Held, Progress
from deployments.weights.cache import WeightsError
from deployments.weights.crew import Crew
from deployments.weights.origins import HubUnreachable

PERIOD_S = 0.5


class Whence(StrEnum):
    """Where nodes get weights from."""

    AUTO = "auto"
    """One from the Hub, or none where a node has them; the others from nodes."""
    HUB = "hub"
    """Each from the Hub itself."""
    NODE = "node"
    """Only from nodes that have them."""


@dataclass(frozen=True, slots=True)
class Need:
    """A source, and the nodes that must have it."""

    source: Source
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """A need whose files are known."""

    need: Need
    manifest: Manifest
    holders: tuple[str, ...]
    """Nodes that have all, targets or not."""
    missing: tuple[str, ...]
    """Targets that do not, who can ask the Hub first."""


@dataclass
class Outcome:
    """The result of a job."""

    job: Job
    failed: dict[str, WeightsError] = field(default_factory=dict)
    damaged: dict[str, list[str]] = field(default_factory=dict)
    """Files that arrived damaged and were fetched again."""


Row = tuple[str, Source, Progress]
See = Callable[[Sequence[Row]], None]


def jobs(crew: Crew, needs: Sequence[Need], whence: Whence, fresh: bool, say: Callable[[str], None]) -> list[Job]:
    """Plans the transfers; nothing is transferred yet.

    Args:
        crew: agents of all nodes that may have something.
        needs: what must be where.
        whence: where from.
        fresh: ask the Hub what a branch is now, instead of taking what the cluster has.
        say: told what happens.

    Raises:
        WeightsError: the Hub or a node does not have it, or a disk is too small: all that is wrong, with nodes and numbers.
        HubUnreachable: the Hub cannot be asked, and that is all.
    """
    found: list[Job] = []
    errors: list[WeightsError] = []
    for need in needs:
        try:
            found.append(_job(crew, need, whence, fresh, say))
        except WeightsError as error:
            errors.append(error)
    if errors:
        kind = HubUnreachable if all(isinstance(error, HubUnreachable) for error in errors) else WeightsError
        raise kind("\n".join(map(str, errors)))
    _require_room(crew, found)
    return found


def _job(crew: Crew, need: Need, whence: Whence, fresh: bool, say: Callable[[str], None]) -> Job:
    answers = crew.ask(crew.nodes, "held", need.source)
    _require(crew, {node: answers[node] for node in need.targets})
    held: dict[str, Held] = {node: one for node, one in answers.items() if isinstance(one, Held)}
    whole = newest(one.whole for one in held.values())
    known = whole or newest(one.known for one in held.values())
    first = need.targets
    if whence is Whence.NODE:
        if whole is None:
            raise WeightsError(f"No node has {need.source} whole. Without `--from node` it comes from the Hub.")
        manifest = whole
    elif known is not None and (need.source.pinned or not fresh):
        manifest = known
    else:
        manifest, first = _resolved(crew, need, whole, say)
    holders = tuple(node for node, one in held.items() if one.whole and one.whole.commit == manifest.commit)
    return Job(need, manifest, holders, tuple(node for node in first if node not in holders))


def _resolved(crew: Crew, need: Need, whole: Manifest | None, say: Callable[[str], None]) -> tuple[Manifest, tuple[str, ...]]:
    """Returns the Hub's words to the first node that it answers, and the targets with that one in front."""
    errors: list[WeightsError] = []
    for nodes in (need.targets[:1], need.targets[1:]):
        for node, answer in crew.ask(nodes, "resolve", need.source).items():
            if isinstance(answer, Manifest):
                return answer, (node, *(one for one in need.targets if one != node))
            errors.append(answer)
    away = all(isinstance(error, HubUnreachable) for error in errors)
    if away and whole is not None:
        say(f"The Hub cannot be reached; {need.source} is taken as commit {whole.commit[:12]}, which a node has")
        return whole, need.targets
    raise next((error for error in errors if not isinstance(error, HubUnreachable)), errors[0])


def _require(crew: Crew, answers: dict[str, Any]) -> None:
    for node, answer in answers.items():
        if isinstance(answer, WeightsError):
            raise WeightsError(f"{crew.names[node]}: {answer}")


def _require_room(crew: Crew, found: Sequence[Job]) -> None:
    """Each disk for all jobs together, before the first byte."""
    rooms: dict[str, list[Room]] = {}
    for node in crew.nodes:
        wanted = [(job.need.source, job.manifest) for job in found if node in job.missing]
        if wanted:
            answers = crew.ask([node], "room", wanted)
            _require(crew, answers)
            rooms[node] = answers[node]
    sentences = [line for node, some in rooms.items() for room in some for line in shortages({crew.names[node]: room})]
    if sentences:
        raise WeightsError("\n".join(["Too little disk; nothing was downloaded.", *sentences]))


def bring(crew: Crew, job: Job, whence: Whence, see: See) -> Outcome:
    """Brings a job's files to the targets that lack them; returns when each has them or has failed."""
    transfer = _Transfer(crew, job, whence)
    transfer.begin()
    while transfer.pending:
        transfer.step()
        see(transfer.rows())
    return transfer.outcome


class _Transfer:
    """One job under way."""

    def __init__(self, crew: Crew, job: Job, whence: Whence) -> None:
        self.outcome = Outcome(job)
        self.pending: dict[Any, str] = {}
        self._crew, self._job, self._whence = crew, job, whence
        self._what = (job.need.source, job.manifest)
        self._order = [*job.holders, *job.missing] if job.missing else []
        self._holders = set(job.holders)
        self._addresses: dict[str, str] = {}
        self._follows: dict[str, str | None] = {}
        self._seen: dict[str, Progress] = {}

    def begin(self) -> None:
        """Every node offers what it has, and gets what it lacks."""
        if self._whence is not Whence.HUB and len(self._order) > 1:
            for node, answer in self._crew.ask(list(self._order), "offer", *self._what).items():
                if isinstance(answer, WeightsError):
                    self._drop(node, answer)
                else:
                    self._addresses[node] = answer
        self._follows = self._upstreams()
        for node in self._order:
            if node not in self._holders:
                self.pending[self._crew.start(node, "fetch", *self._what, self._follows[node])] = node

    def step(self) -> None:
        """Half a second."""
        for ref in self._crew.done(self.pending, PERIOD_S):
            node = self.pending.pop(ref)
            answer = self._crew.answer(node, ref)
            if isinstance(answer, WeightsError):
                self._drop(node, answer)
            elif answer:
                self.outcome.damaged[node] = answer
        for node, answer in self._crew.glance(list(self._order), "progress", *self._what).items():
            if isinstance(answer, WeightsError):
                self._drop(node, answer)
            else:
                self._seen[node] = answer
        self._follow_anew()

    def rows(self) -> list[Row]:
        """How far each node is that has to get something."""
        return [(self._crew.names[node], self._job.need.source, self._seen[node]) for node in self._job.missing if node in self._seen]

    def _drop(self, node: str, error: WeightsError) -> None:
        """A node that went away or gave up is nobody's upstream any more."""
        if node not in self._order:
            return
        self._order.remove(node)
        self._holders.discard(node)
        self.pending = {ref: one for ref, one in self.pending.items() if one != node}
        if node in self._job.need.targets:
            self.outcome.failed[node] = error

    def _upstreams(self) -> dict[str, str | None]:
        if self._whence is Whence.HUB:
            return dict.fromkeys(self._order)
        order = [*(node for node in self._order if node in self._holders), *(node for node in self._order if node not in self._holders)]
        return {node: above and self._addresses[above] for node, above in upstreams(order, len(self._holders)).items()}

    def _follow_anew(self) -> None:
        if self._whence is Whence.NODE and not self._holders:
            for node in list(self._order):
                self._drop(
                    node,
                    WeightsError("The last node that had all files is gone. All parts stay; without `--from node` the Hub gives the rest."),
                )
        follows = self._upstreams()
        waiting = set(self.pending.values())
        for node in [node for node in waiting if follows[node] != self._follows[node]]:
            self._crew.start(node, "follow", *self._what, follows[node])
        self._follows = follows
