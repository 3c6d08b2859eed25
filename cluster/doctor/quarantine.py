"""How a sick node is kept from serving: labels when its Ray starts, draining when it runs.

Decides the labels and who may be drained. A Ray node's labels are fixed when it starts, so they carry what the node found out about itself
before; a node that turns sick later is drained by Ray, leaves, and is labelled when it comes back. Engines want "not sick": whatever has
no label may serve, so a cluster that nobody examined works as it is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cluster.doctor.facts import Expected, Finding, Level

HEALTH_LABEL = "llama-herd/health"
FOUND_LABEL = "llama-herd/found"
SICK = "sick"
#: What every bundle of an engine asks of its node, in Ray's words. It holds for a node without the label too.
NOT_SICK = {HEALTH_LABEL: f"!{SICK}"}
#: Ray's labels are like Kubernetes's.
MOST_LABEL_CHARACTERS = 63
EXAMINATION_S = 300


def labels(findings: Iterable[Finding]) -> dict[str, str]:
    """A node's own verdict when it starts: whether it is sick, and by which checks."""
    failed = [re.sub(r"[^a-z0-9]+", "-", one.check.lower()).strip("-") for one in findings if one.level is Level.FAIL]
    if not failed:
        return {HEALTH_LABEL: "ok"}
    return {HEALTH_LABEL: SICK, FOUND_LABEL: ".".join(dict.fromkeys(failed))[:MOST_LABEL_CHARACTERS].strip(".-")}


def as_ray(found: dict[str, str]) -> str:
    """Labels as `ray start --labels` takes them."""
    return ",".join(f"{name}={value}" for name, value in found.items())


def examination(expected: Expected | None, head: bool) -> str:
    """Returns the lines of shell that examine a node before its Ray starts; a node that cannot be examined is sick."""
    flags = ("" if expected is None else _promised(expected)) + (" --head" if head else "")
    unknown = as_ray({HEALTH_LABEL: SICK, FOUND_LABEL: "not-examined"})
    return (
        f'HERD_LABELS="$(timeout -k 10 {EXAMINATION_S} herd doctor --node --labels{flags})"\nHERD_LABELS="${{HERD_LABELS:-{unknown}}}"\n'
        'echo "Preflight: $HERD_LABELS" >&2'
    )


def _promised(expected: Expected) -> str:
    """Returns the flags of `herd doctor --node` for what a config promises."""
    flags = f" --gpus {expected.gpus} --gpu-memory-gib {expected.memory_gib:g}"
    flags += f" --gpu {expected.gpu}" if expected.gpu is not None else ""
    flags += " --nvlink" if expected.nvlink else ""
    if expected.fabric is None:
        return flags
    rate = f" --rdma-gbit-s {expected.fabric.gbit_s:g}" if expected.fabric.gbit_s else ""
    return f"{flags} --rdma-ports {expected.fabric.ports}{rate}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that may have to go."""

    name: str
    sick: bool
    head: bool = False
    draining: bool = False
    serves: bool = True
    """It may have engines."""


def to_drain(nodes: Sequence[Candidate]) -> tuple[list[str], list[str]]:
    """The names of the nodes to drain, and sentences about those that are sick and stay."""
    sick = [node for node in nodes if node.sick and not node.draining]
    stays = [f"{node.name} is the head: Ray cannot do without it. Mend it, and start the cluster again." for node in sick if node.head]
    going = [node.name for node in sick if not node.head]
    left = [node for node in nodes if node.serves and not node.sick and not node.draining]
    if going and not left:
        return [], [*stays, f"No node would be left without {', '.join(going)}: look for what they have in common."]
    return going, stays
