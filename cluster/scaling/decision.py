"""The decision's answer: how many replicas, why, and the memory for the next time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cluster.scaling.limits import Bound, Limits
from cluster.scaling.needs import Needs
from cluster.scaling.observation import Observation
from cluster.scaling.state import State

Hold = Literal["no report", "stale report", "failed report", "other release", "no history"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The number of replicas that Ray Serve should be told, and how it came about."""

    target: int
    reason: str
    """One sentence: what was seen, what is expected, why this number, and what it costs."""
    state: State
    """Goes into the next call."""
    binds: Bound | None = None
    """The limit that the demand ran into."""
    held: Hold | None = None
    """Why the target was held without a look at the demand."""
    demand: float = 0.0
    """Replicas that the load needs now, as a fraction."""
    expected: float = 0.0
    """Replicas that the load needs when a replica that is asked for now is ready."""
    wanted: float = 0.0
    """`expected` with margin and backlog, before limits."""
    notice: str = ""
    """A sentence for the operator, said once: no number of replicas meets the objectives."""


#: What is wrong with a report that the target is held for.
HELD: Mapping[Hold, str] = {
    "no report": "nobody has reported the load",
    "failed report": "the load could not be observed ({error})",
    "other release": "the load is reported by release {release!r}, and this one is {own!r}",
    "stale report": "the newest report is older than {stale:g} s",
    "no history": "no arrivals have been observed yet",
}


def held(why: Hold, observation: Observation, limits: Limits, target: int) -> str:
    """Returns the sentence of a target that is held, or moved by limits alone."""
    report = observation.report
    error, release = (report.error, report.release) if report else ("", "")
    seen = HELD[why].format(error=error, release=release, own=limits.release, stale=limits.stale_s)
    verdict = f"{target} are held" if target == observation.target else f"only the limits move {observation.target} to {target}"
    return f"{seen}: {verdict}, for {cost(limits, target)}."


def moved(observation: Observation, limits: Limits, need: Needs, target: int, bound: Bound | None) -> str:
    """Returns the sentence of a decision: the load, what is expected, why this number, and its cost."""
    parts = [f"{need.now:.1f} replicas of load now, {need.expected:.1f} expected in {need.start_s:.0f} s"]
    parts.append(f"{need.margin:.1f} of margin{' by scaling.headroom' if need.by_headroom else ''}")
    if need.backlog:
        parts.append(f"{need.backlog:.1f} for what waits")
    if need.in_flight:
        parts.append(f"{need.in_flight:.1f} for what waits or runs")
    if need.stuck:
        parts.append(f"{need.stuck} starting that do not become ready")
    if observation.rolling:
        parts.append("two releases side by side, so none is given up")
    verdict = f"{target} stay" if target == observation.target else f"{target} instead of {observation.target}"
    if target == observation.target > max(1, limits.least) and not bound and not observation.rolling and need.bought <= target - 1:
        verdict += " while that would not fit into fewer" if need.in_flight > target - 1 else " until it is sure that fewer will do"
    limit = f" by {bound}, where the load alone asks for {need.wanted:.1f}" if bound else ""
    return f"{', '.join(parts)}: {verdict}{limit}, for {cost(limits, target)}."


def cost(limits: Limits, replicas: int) -> str:
    """Returns what replicas cost: money where GPUs have a price, GPUs otherwise."""
    gpus = replicas * limits.gpus_per_replica
    return f"{gpus:g} GPUs" if limits.gpu_hour_price is None else f"{gpus * limits.gpu_hour_price:.2f} an hour"
