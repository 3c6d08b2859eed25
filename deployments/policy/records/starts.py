"""Starts of engines: their phases, how long each took, and what earlier starts took.

Decides which phase a line of vLLM's log begins, and how a start is told beside earlier ones. A phase only goes forward: several processes
of an engine write the same lines.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from types import MappingProxyType
from typing import Any

from deployments.policy.records.spans import told as span

BEGINNING = "start/"
#: Starts of a model that are kept.
MOST_KEPT = 20
WEIGHTS, ENGINE, LOAD, MEASURE, GRAPHS, GATE = "weights", "engine", "load", "measure", "graphs", "gate"
#: The phases in order, as a person reads them.
CALLED: Mapping[str, str] = MappingProxyType(
    {
        WEIGHTS: "finding its weights",
        ENGINE: "starting vLLM's processes",
        LOAD: "loading weights",
        MEASURE: "compiling and measuring memory",
        GRAPHS: "making its KV cache and graphs",
        GATE: "passing its gate",
    }
)
_ORDER = tuple(CALLED)
#: What vLLM writes when a phase begins.
_BEGINS = (
    (re.compile("Starting to load model"), LOAD),
    (re.compile("Loading weights took"), MEASURE),
    (re.compile("KV cache size: "), GRAPHS),
)
READY, FAILED = "ready", "failed"


@dataclass(frozen=True, slots=True)
class Start:
    """One start of one replica."""

    model: str
    replica: str
    node: str
    release: str
    began: float
    """Seconds since 1970."""
    phases: tuple[tuple[str, float], ...] = ()
    """Each phase, with the time at which it began."""
    ended: float | None = None
    outcome: str = ""
    """`ready`, `failed`, or empty while it goes on or after a replica that was killed."""
    error: str = ""
    """The cause of a start that failed."""

    @property
    def phase(self) -> str:
        """Returns the phase that it is in, or was last in; empty before the first."""
        return self.phases[-1][0] if self.phases else ""


def phase_of_line(text: str) -> str | None:
    """Returns the phase that a line of vLLM's log begins; None for other lines."""
    return next((phase for pattern, phase in _BEGINS if pattern.search(text)), None)


def entered(start: Start, phase: str, when: float) -> Start:
    """Returns a start that has gone on to a phase; the same one where it is in that phase already, or past it."""
    if start.phase and _ORDER.index(phase) <= _ORDER.index(start.phase):
        return start
    return replace(start, phases=(*start.phases, (phase, max(when, start.phases[-1][1] if start.phases else start.began))))


def durations(start: Start) -> dict[str, float]:
    """Returns the seconds of each phase that is over."""
    ends = [*(when for _, when in start.phases[1:]), *([start.ended] if start.ended is not None else [])]
    return {phase: max(0.0, end - begin) for (phase, begin), end in zip(start.phases, ends, strict=False)}


def alike(start: Start, known: Sequence[Start]) -> Sequence[Start]:
    """Returns the starts that found their node in the same state as this one; all of them where none of those came up.

    The first start of a release on a node fetches weights and compiles, and later ones there find both.

    Args:
        start: the one that is compared.
        known: starts of its model, oldest first; it may be among them.
    """
    over = [(one.node, one.release, one.ended) for one in known if one.outcome == READY and one.ended is not None]

    def is_warm(one: Start) -> bool:
        return any((node, release) == (one.node, one.release) and ended <= one.began for node, release, ended in over)

    same = [one for one in known if is_warm(one) is is_warm(start)]
    return same if any(one.outcome == READY for one in same) else known


def usual_s(earlier: Sequence[Start], phase: str) -> float | None:
    """Returns the median seconds of a phase in earlier starts that came up; None where there are none."""
    known = [durations(start).get(phase) for start in earlier if start.outcome == READY]
    seconds = [one for one in known if one is not None]
    return median(seconds) if seconds else None


def usual_whole_s(earlier: Sequence[Start]) -> float | None:
    """Returns the median seconds of earlier starts that came up; None where there are none."""
    seconds = [start.ended - start.began for start in earlier if start.outcome == READY and start.ended is not None]
    return median(seconds) if seconds else None


def told(start: Start, earlier: Sequence[Start], now: float) -> str:
    """Returns how far a start is: `loading weights, 41 s of about 95 s`."""
    if not start.phases:
        return f"beginning, {span(now - start.began)}"
    phase, since = start.phases[-1]
    usual = usual_s(alike(start, earlier), phase)
    beside = "no earlier start to compare" if usual is None else f"of about {span(usual)}"
    return f"{CALLED[phase]}, {span(now - since)} {beside}" if usual is not None else f"{CALLED[phase]}, {span(now - since)} ({beside})"


def is_late(start: Start, earlier: Sequence[Start], now: float) -> bool:
    """Tells whether a phase takes far longer than usual: three times, and a minute more."""
    usual = usual_s(alike(start, earlier), start.phase) if start.phases else None
    return usual is not None and now - start.phases[-1][1] > max(3 * usual, usual + 60)


def going(known: Sequence[Start], there: Collection[str], most: int) -> list[Start]:
    """Returns the newest starts that have not ended, oldest first.

    Args:
        known: starts of a model, oldest first.
        there: ids of the replicas that gateways know: their starts are over.
        most: replicas that start. A start whose process was killed has not ended either, and is older than the one in its place.
    """
    open_ones = [start for start in known if not start.outcome and start.replica not in there]
    return open_ones[max(0, len(open_ones) - most) :]


def beginning(model: str) -> str:
    """Returns how the names of a model's starts begin; no model's is the beginning of another's."""
    return f"{BEGINNING}{model}#"


def key(start: Start) -> str:
    """Returns the name under which a start is kept: names of one model sort by time."""
    return f"{beginning(start.model)}{int(start.began * 1e6):018d}-{start.replica}"


def too_many(keys: Sequence[str]) -> list[str]:
    """Returns the names of a model's oldest starts beyond those that are kept."""
    return sorted(keys)[: max(0, len(keys) - MOST_KEPT)]


def written(start: Start) -> str:
    """Writes a start as JSON."""
    return json.dumps(asdict(start))


def read(text: str) -> Start | None:
    """Reads a start; None where it is none, or has phases of another release."""
    try:
        plain: dict[str, Any] = json.loads(text)
        phases = tuple((str(name), float(when)) for name, when in plain.pop("phases"))
        return Start(**plain, phases=phases) if all(name in CALLED for name, _ in phases) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
