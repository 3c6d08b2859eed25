"""One turn of a model's scaling: from gateways' records, starts and Ray Serve's counts to a decision, and the memory for the next turn.

Decides nothing about the number, which is `cluster.scaling.decide`'s. The memory is kept as JSON, so that a controller that starts anew
goes on where the last one was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from cluster.scaling import state as states
from cluster.scaling.decide import decide
from cluster.scaling.decision import Decision
from cluster.scaling.demand import start_s
from cluster.scaling.limits import Limits
from cluster.scaling.needs import is_stuck
from cluster.scaling.observation import Observation, Report
from cluster.scaling.state import State
from deployments.policy.queue.load_record import LoadRecord
from deployments.policy.records.starts import Start
from deployments.policy.scaling.load_history import History
from deployments.policy.scaling.load_report import FORGOTTEN_S, report
from deployments.policy.scaling.replica_counts import Counts, by_replicas, draining, followed, start_times_s, starting
from deployments.policy.scaling.wanted import Wanted

#: The names of memories begin so.
MEMORY = "scaling/"


#: Said where a model stays up that nobody asks for any more.
KEPT = "One stays: a start that has begun is finished, and its replica is kept for {:g} s."
_NO_HISTORY = History()


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a model's scaling."""

    state: str = ""
    """The decision's own, as JSON."""
    history: History = _NO_HISTORY
    counts: Counts | None = None
    leaving: int = 0
    """Replicas that say themselves that they drain."""
    rolling: bool = False
    """Two releases of its engines run side by side."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The replicas and the records of one moment."""

    target: int
    ready: int
    records: Sequence[LoadRecord] = ()
    starts: Sequence[Start] = ()
    missing: int = 0
    """Records that this release cannot read."""
    error: str = ""
    """Why gateways could not be asked."""


def turn(memory: Memory, seen: Seen, wanted: Wanted, now_s: float) -> tuple[Decision, Memory]:
    """Returns the decision of now, and what to remember. `seen` counts whole replicas."""
    counts = followed(memory.counts, seen.target, seen.ready, now_s)
    known = [by_replicas(record, wanted.ranks) for record in seen.records if now_s - record.at_s <= FORGOTTEN_S]
    history, found = report(memory.history, known, wanted.unit, wanted.target_ongoing, start_times_s(seen.starts), now_s)
    if seen.error:
        found = Report(taken_s=now_s, error=seen.error)
    elif found is not None and seen.missing:
        found = replace(found, missing=found.missing + seen.missing)
    engines = max(known, key=lambda record: record.at_s).engines if known else None
    leaving = engines.leaving if engines is not None else 0
    observation = Observation(
        target=seen.target,
        ready=seen.ready,
        starting=starting(counts, seen.starts),
        draining=max(leaving, draining(counts, wanted.limits.drain_s, now_s)),
        rolling=engines is not None and engines.kinds > 1,
        report=found,
    )
    state = states.from_json(memory.state)
    decision = decide(observation, wanted.limits, state, now_s)
    decision = _stays_up(decision, observation, counts, wanted.limits, state, now_s)
    return decision, Memory(decision.state.to_json(), history, counts, leaving, observation.rolling)


def _stays_up(decision: Decision, observation: Observation, counts: Counts, limits: Limits, state: State, now_s: float) -> Decision:
    """Returns the decision; one replica where a model would go to none that has just begun to start, or has not been up for long.

    A start that has begun is finished, unless it fails: else it would have been for nothing, and the next request would begin another one.
    """
    report = observation.report
    if report is None or decision.target or decision.binds or not observation.target:
        return decision
    if counts.ready_s is None:
        goes_on = not all(is_stuck(one, now_s, start_s(report, limits)) for one in observation.starting)
    else:
        goes_on = now_s - counts.ready_s < limits.idle_s
    if not goes_on:
        return decision
    # Nothing is given up, so that nothing is to be regretted.
    unmoved = replace(decision.state, down_s=state.down_s, down_load=state.down_load)
    return replace(decision, target=1, reason=f"{decision.reason} {KEPT.format(limits.idle_s)}", state=unmoved)


def memory_key(model: str) -> str:
    """Returns the name under which a model's memory is kept."""
    return f"{MEMORY}memory/{model}"


def written(memory: Memory) -> str:
    """Writes a memory as JSON."""
    return msgspec.json.encode(memory).decode()


def read(text: str | None) -> Memory:
    """Reads a memory; a fresh one where there is none, or one that this release cannot read."""
    try:
        return _DECODER.decode(text or "")
    except (msgspec.DecodeError, UnicodeError):
        return Memory()


_DECODER = msgspec.json.Decoder(Memory)
