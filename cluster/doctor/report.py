"""A cluster, examined: what a herd wants of its nodes, and what came out, node by node.

Decides how the findings of `cluster.doctor.host_checks`, `cluster.doctor.compare_nodes` and `cluster.doctor.pairs` come together. Who
reads the nodes, and how, is elsewhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cluster.catalogue.models import CATALOGUE
from cluster.doctor.compare_nodes import cluster_findings
from cluster.doctor.facts import Expected, Finding, Level, NodeFacts, expected, worst
from cluster.doctor.host_checks import node_findings
from cluster.doctor.pairs import PairResult, pair_findings
from cluster.doctor.quarantine import FOUND_LABEL, HEALTH_LABEL, SICK, Candidate
from configs.schema import Config, Model

SMALL = "small:"
DRAINING = Finding("draining", Level.WARN, "Ray drains it: it gets nothing new", "start Ray there again when it is mended")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The needs of a herd that its nodes must meet."""

    expected: Expected | None = None
    nodes: int | None = None
    """Nodes with engines."""
    weights_bytes: float = 0.0
    """Of the largest checkpoint that a node may have to download."""
    checkpoints: tuple[str, ...] = ()
    """Paths that engines load from."""
    ray_token: bool = True
    """Ray must ask for a token."""


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster, as Ray knows it."""

    id: str
    name: str
    address: str
    head: bool = False
    gpus: float = 0.0
    """How many Ray would give away; a head without is taken for one that serves nothing."""
    labels: Mapping[str, str] = field(default_factory=dict)
    draining: bool = False
    engines: bool = True
    """Ray has given GPUs of it away, or may have: memory in use is an engine's."""

    @property
    def serves_nothing(self) -> bool:
        """A head need not have GPUs."""
        return self.head and self.gpus == 0


@dataclass(frozen=True, slots=True)
class Examined:
    """A node, and everything found about it."""

    member: Member
    findings: tuple[Finding, ...]
    facts: NodeFacts | None = None
    """None: it did not answer."""
    serves: bool = True
    """It may have engines."""

    @property
    def level(self) -> Level:
        """The worst of the findings."""
        return worst(self.findings)

    @property
    def candidate(self) -> Candidate:
        """Returns the findings that decide whether it is drained."""
        return Candidate(self.member.name, self.level is Level.FAIL, self.member.head, self.member.draining, self.serves)


@dataclass(frozen=True, slots=True)
class Report:
    """All nodes, and what is to be said about no single one."""

    nodes: tuple[Examined, ...]
    pairs: tuple[PairResult, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def sick(self) -> bool:
        """Whether the cluster must not be left as it is: a node is sick, or missing, or two cannot talk."""
        levels = (*(node.level for node in self.nodes), worst(self.findings))
        return Level.FAIL in levels or any(pair.failed for pair in self.pairs)


def wanted(config: Config) -> Wanted:
    """Returns the needs of a config that its nodes must meet."""
    there = tuple(model.checkpoint for model in config.models if model.checkpoint.startswith("/"))
    downloads = (_bytes(model) for model in config.models if not model.checkpoint.startswith(("/", SMALL)))
    nodes = config.hardware.nodes if config.hardware else None
    return Wanted(expected(config), nodes, max(downloads, default=0.0), tuple(dict.fromkeys(there)), config.ray.require_token)


def _bytes(model: Model) -> float:
    entry = CATALOGUE[model.kind]
    known = entry.known(model.checkpoint)
    layout = known.layout if known else entry.layout(model.quantization)
    return layout.weight_bytes(entry.decoder) if entry.decoder else 0.0


def own_findings(member: Member, facts: NodeFacts, need: Wanted) -> tuple[Finding, ...]:
    """Returns the findings about one node on its own."""
    without = member.serves_nothing and facts.report is None and facts.driver_error is None
    found = node_findings(facts, None if without else need.expected, 0.0 if without else need.weights_bytes, idle=not member.engines)
    return (*_standing(member, worst(found)), *found)


def _standing(member: Member, level: Level) -> Iterator[Finding]:
    if member.labels.get(HEALTH_LABEL) == SICK:
        found = member.labels.get(FOUND_LABEL, "unknown")
        way_out = "mend it" if level is Level.FAIL else "start Ray there again: it is examined anew"
        yield Finding("label", Level.WARN, f"was sick when its Ray started ({found}): it gets no replica", way_out)


def assembled(
    members: Sequence[Member],
    read: Mapping[str, NodeFacts | Finding],
    skew_s: Mapping[str, float],
    pairs: Sequence[PairResult],
    need: Wanted,
) -> Report:
    """The report.

    Args:
        members: all nodes, the head first.
        read: by name, the facts of a node, or why there are none; nothing for one that Ray drains, which takes no question either.
        skew_s: by name, how far a clock is ahead of the head's.
        pairs: every all-reduce that was tried, by names.
        need: what the herd wants.
    """
    facts = {name: one for name, one in read.items() if isinstance(one, NodeFacts)}
    together = cluster_findings(facts, skew_s, need.expected is None or need.expected.fabric is not None)
    wires = pair_findings(pairs, {name: _card_gbyte_s(one) for name, one in facts.items()})
    nodes = []
    for member in members:
        one = read.get(member.name, DRAINING)
        own = own_findings(member, one, need) if isinstance(one, NodeFacts) else (one,)
        found = (*own, *together.get(member.name, ()), *wires.get(member.name, ()))
        nodes.append(Examined(member, found, facts.get(member.name), _serves(member, facts.get(member.name), need)))
    return Report(tuple(nodes), tuple(pairs), (*_number(nodes, need), *_ray_token(facts, need)))


def _card_gbyte_s(facts: NodeFacts) -> float:
    return max((port.gbit_s / 8 for port in facts.ports if port.active), default=0.0)


def _serves(member: Member, facts: NodeFacts | None, need: Wanted) -> bool:
    """Engines go where GPUs are, or anywhere if none are asked for."""
    return need.expected is None or not member.serves_nothing or (facts is not None and facts.has_gpus)


def _number(nodes: Sequence[Examined], need: Wanted) -> Iterator[Finding]:
    there = sum(node.serves for node in nodes)
    if need.nodes is not None and there < need.nodes:
        way_out = "`ray status`, and `ray start` on the missing ones"
        yield Finding("nodes", Level.FAIL, f"{there} of {need.nodes} are in the cluster", way_out)


def _ray_token(facts: Mapping[str, NodeFacts], need: Wanted) -> Iterator[Finding]:
    """Judges the cluster, and no node: there is nothing to drain."""
    open_ = [name for name, one in facts.items() if one.ray_asks_for_token is False]
    if open_:
        seen = f"Ray asks for none, so a program that reaches its ports can run code there: {', '.join(open_)}"
        way_out = 'start Ray on each node after `eval "$(herd secret)"`'
        yield Finding("Ray's token", Level.FAIL if need.ray_token else Level.WARN, seen, way_out)
