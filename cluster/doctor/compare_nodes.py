"""Differences that only show beside the other nodes: versions, network cards, clocks.

Decides by the majority what is usual; with two nodes that differ, the head's word counts.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeVar

from cluster.doctor.facts import Finding, Level, NodeFacts
from cluster.doctor.network_checks import full_rate

Value = TypeVar("Value")

#: Engines of one model on nodes of different versions may answer differently, or not join at all.
MUST_BE_EQUAL = ("llama-herd", "ray", "vllm", "torch", "python")
SHOULD_BE_EQUAL = ("driver",)
#: Logs and traces of several nodes cannot be put in order beyond the first; certificates and tokens of clouds go wrong beyond the second.
SKEW_S, MOST_SKEW_S = 0.1, 5.0


def cluster_findings(nodes: Mapping[str, NodeFacts], skew_s: Mapping[str, float], fabric: bool = True) -> dict[str, tuple[Finding, ...]]:
    """Returns, by node, what the comparison shows.

    Args:
        nodes: facts of every node that answered, the head's first.
        skew_s: how far each clock is ahead of the head's; none for a node that was not asked.
        fabric: engines may need RDMA between nodes.
    """
    versions = {name: _versions(facts) for name, facts in nodes.items()}
    usual = {what: _usual([said[what] for said in versions.values() if what in said]) for what in (*MUST_BE_EQUAL, *SHOULD_BE_EQUAL)}
    ports = _usual([_active(facts) for facts in nodes.values() if facts.has_gpus]) if fabric else None
    return {
        name: (
            *(_versions_differ(versions[name], usual) if len(nodes) > 1 else ()),
            *(_ports_differ(facts, ports) if facts.has_gpus else ()),
            *(_skew(skew_s[name]) if name in skew_s else ()),
        )
        for name, facts in nodes.items()
    }


def _versions(facts: NodeFacts) -> dict[str, str]:
    return {**facts.versions, **({"driver": facts.report.driver} if facts.report else {})}


def _usual(values: list[Value]) -> Value | None:
    """The most frequent; of equally frequent ones the first."""
    return Counter(values).most_common(1)[0][0] if values else None


def _versions_differ(said: Mapping[str, str], usual: Mapping[str, str | None]) -> Iterator[Finding]:
    """A node without vLLM or torch differs too: it may be a head that serves nothing, so that is a warning."""
    fail = [_difference(what, said, usual) for what in MUST_BE_EQUAL if what in said and said[what] != usual[what]]
    warn = [_difference(what, said, usual) for what in MUST_BE_EQUAL if what not in said and usual[what] is not None]
    warn += [_difference(what, said, usual) for what in SHOULD_BE_EQUAL if what in said and said[what] != usual[what]]
    if fail or warn:
        way_out = "install the same wheel with the same constraints, or the same image, on every node"
        yield Finding("versions", Level.FAIL if fail else Level.WARN, "; ".join(fail + warn), way_out)
    else:
        yield Finding("versions", Level.OK, ", ".join(f"{what} {said[what]}" for what in MUST_BE_EQUAL if what in said))


def _difference(what: str, said: Mapping[str, str], usual: Mapping[str, str | None]) -> str:
    return f"{what} {said.get(what, 'is missing')}, elsewhere {usual[what]}"


def _active(facts: NodeFacts) -> int:
    """Counts the ports at full rate; one that came up slower than its neighbours is as good as missing."""
    return len(full_rate(facts.ports))


def _ports_differ(facts: NodeFacts, usual: int | None) -> Iterator[Finding]:
    if usual is not None and _active(facts) < usual:
        seen = f"{_active(facts)} ports active at full rate, elsewhere {usual}"
        yield Finding("RDMA", Level.FAIL, seen, "look at cables, switch and `ibstat`: NCCL would wait for the missing card, or go round it")


def _skew(seconds: float) -> Iterator[Finding]:
    level = Level.FAIL if abs(seconds) > MOST_SKEW_S else Level.WARN if abs(seconds) > SKEW_S else Level.OK
    seen = f"{abs(seconds):.3f} s {'ahead of' if seconds > 0 else 'behind'} the head's"
    yield Finding("clock skew", level, seen, "" if level is Level.OK else "start chrony or systemd-timesyncd, on the head too")


def beyond(seconds: float, uncertain_s: float) -> float:
    """Returns the part of a difference between clocks that is left when their reading is that uncertain."""
    return max(0.0, abs(seconds) - uncertain_s) * (1 if seconds > 0 else -1)
