"""What the decision says: how many replicas, why, and what it remembers for the next time."""

from dataclasses import dataclass
from typing import Literal

from cluster.scaling.limits import Bound
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
    """What an operator should be told, once: that no number of replicas meets the objectives."""
