"""Why an engine waits for a place: from what it asks for, and what the nodes have, are and have left, to one sentence.

Decides which cause is told where there are several: first one that time does not mend (no such GPU, no node that may serve, no node that
is large enough), then what is taken.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cluster.doctor.quarantine import FOUND_LABEL, HEALTH_LABEL, SICK

Resources = Mapping[str, float]
KIND = "accelerator_type:"
MOST_NAMED = 4


@dataclass(frozen=True, slots=True)
class Demand:
    """A placement group that waits."""

    bundles: tuple[Resources, ...]
    strategy: str = "PACK"
    """STRICT_PACK: all bundles on one node."""


@dataclass(frozen=True, slots=True)
class NodeRoom:
    """A node: what it has, what is left of it, and what it says of itself."""

    name: str
    total: Resources
    free: Resources
    labels: Mapping[str, str]
    draining: bool = False

    @property
    def sick(self) -> bool:
        """Whether it found itself sick when its Ray started."""
        return self.labels.get(HEALTH_LABEL) == SICK


def why_pending(demand: Demand, nodes: Sequence[NodeRoom]) -> str:
    """Returns a sentence that says why a group waits, and what to do where that is not to wait."""
    kind = next((name for bundle in demand.bundles for name in bundle if name.startswith(KIND)), None)
    of_kind = [node for node in nodes if kind is None or kind in node.total]
    if kind is not None and not of_kind:
        return f"no node has {kind.removeprefix(KIND)}; {_kinds(nodes)}. Correct `accelerator`, or add such a node"
    wanted = _sum(demand.bundles)
    candidates = [node for node in of_kind if all(node.total.get(name, 0.0) > 0 for name in wanted)]
    healthy = [node for node in candidates if not node.sick and not node.draining]
    if candidates and not healthy:
        return _none_may_serve(candidates)
    pieces = [wanted] if demand.strategy == "STRICT_PACK" else list(demand.bundles)
    left_out = _left_out(candidates)
    for what, resources in (("has", [node.total for node in healthy]), ("is free", [node.free for node in healthy])):
        if (short := _short(pieces, wanted, resources)) is not None:
            there = ", ".join(f"{node.name} {_amounts(node, short, what)}" for node in healthy[:MOST_NAMED]) or "no node has any"
            more = f", and {len(healthy) - MOST_NAMED} more" if len(healthy) > MOST_NAMED else ""
            where = " on one node" if demand.strategy == "STRICT_PACK" else ""
            advice = ". `herd plan` tells what would fit" if what == "has" else ""
            return f"it takes {_number(wanted[short])} {_called(short, wanted[short])}{where}; {there}{more}{left_out}{advice}"
    return f"Ray is placing it{left_out}"


def _sum(bundles: Iterable[Resources]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for bundle in bundles:
        for name, amount in bundle.items():
            total[name] += amount  # type: ignore[assignment]
    return {name: float(amount) for name, amount in sorted(total.items(), key=lambda one: one[0] != "GPU") if amount}


def _short(pieces: Sequence[Resources], wanted: Resources, nodes: Sequence[Resources]) -> str | None:
    """Returns a resource of which no node has enough for a piece, or all together not enough; None if each piece finds a node.

    Pieces go to the first node that has room, the nodes with most GPUs first: all pieces of an engine are alike.
    """
    left = [dict(node) for node in sorted(nodes, key=lambda node: -node.get("GPU", 0.0))]
    for piece in pieces:
        home = next((node for node in left if all(node.get(name, 0.0) >= amount - 1e-6 for name, amount in piece.items())), None)
        if home is None:
            return next(
                (name for name in wanted if name in piece and all(node.get(name, 0.0) < piece[name] - 1e-6 for node in left)),
                next(iter(wanted)),
            )
        for name, amount in piece.items():
            home[name] -= amount
    return None


def _none_may_serve(nodes: Sequence[NodeRoom]) -> str:
    sick = [node for node in nodes if node.sick]
    if not sick:
        return f"{_all(len(nodes))} drained: {_named(node.name for node in nodes)}"
    told = _named(map(_with_cause, sick))
    drained = f"; {len(nodes) - len(sick)} drained" if len(nodes) > len(sick) else ""
    way_out = "`herd doctor` says what to do; start Ray there again when it is mended"
    return f"{_all(len(sick))} labelled sick: {told}{drained}. {way_out}"


def _with_cause(node: NodeRoom) -> str:
    return f"{node.name} ({node.labels.get(FOUND_LABEL, 'unknown')})"


def _all(count: int) -> str:
    return "the only node that could have it is" if count == 1 else f"all {count} nodes that could have it are"


def _left_out(nodes: Sequence[NodeRoom]) -> str:
    """Names the nodes that do not count, so that nobody wonders."""
    sick = [_with_cause(node) for node in nodes if node.sick]
    draining = [node.name for node in nodes if node.draining and not node.sick]
    parts = [f"sick: {_named(sick)}"] if sick else []
    parts += [f"drained: {_named(draining)}"] if draining else []
    return f"; {'; '.join(parts)}" if parts else ""


def _named(names: Iterable[str]) -> str:
    known = list(names)
    more = f" and {len(known) - MOST_NAMED} more" if len(known) > MOST_NAMED else ""
    return f"{', '.join(known[:MOST_NAMED])}{more}"


def _kinds(nodes: Sequence[NodeRoom]) -> str:
    kinds = sorted({name.removeprefix(KIND) for node in nodes for name in node.total if name.startswith(KIND)})
    return f"the nodes have {', '.join(kinds)}" if kinds else "no node has a GPU that Ray knows"


def _called(resource: str, amount: float) -> str:
    return f"{resource}s" if resource in ("GPU", "CPU") and amount != 1 else resource


def _amounts(node: NodeRoom, name: str, what: str) -> str:
    total, free = node.total.get(name, 0.0), node.free.get(name, 0.0)
    return f"has {_number(total)}" if what == "has" else f"has {_number(free)} of {_number(total)} free"


def _number(amount: float) -> str:
    return f"{amount:g}"
