"""How many replicas a load needs when a start that begins now is over, and how many it needs for a step down to be safe.

    need = forecast + margin + backlog / time to clear it
    margin = sqrt(error of the forecast² + spare² · forecast)

The two parts of the margin are independent, so their squares add up. Arrivals that are random crowd together by the square root of their
number (Halfin and Whitt 1981), hence the spare's square root.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from cluster.scaling.demand import in_replicas, start_s
from cluster.scaling.forecast import ahead
from cluster.scaling.limits import Limits
from cluster.scaling.observation import Observation, Report, Start
from cluster.scaling.state import State

#: A start that takes so many times as long as nine of ten, or has failed so often, is not counted on.
OVERDUE, FAILED = 3.0, 2
#: Standard errors of the load that buy nothing.
NOISE = 1.5


@dataclass(frozen=True, slots=True)
class Needs:
    """What a load needs, in replicas."""

    now: float
    expected: float
    """When a start that begins now is over."""
    margin: float
    backlog: float
    """To clear in time what will still wait then."""
    doubt: float
    """The standard error of the load."""
    down: float
    """For a step down: the most that is expected until a replica that is given up could be back."""
    stuck: int
    """Starts that are not counted on."""
    start_s: float

    @property
    def wanted(self) -> float:
        """Returns the replicas that the load is worth."""
        return self.expected + self.margin + self.backlog

    @property
    def urgent(self) -> float:
        """Returns the replicas below which more are bought: less by what may be noise, but never by more than half of the margin."""
        return self.wanted - min(self.margin / 2, NOISE * self.doubt)


def needs(state: State, observation: Observation, report: Report, limits: Limits, now: float) -> Needs:
    """Returns what a model needs, from the load that is remembered and what waits."""
    track, tuning, lead_s = state.track, limits.tuning, start_s(report, limits)
    late_s = max(0.0, now - track.until_s)
    expected = ahead(track, late_s + lead_s, tuning)
    error = track.error if tuning.forecast != "none" else 0.0
    most = max(track.level, expected, ahead(track, late_s + lead_s + limits.drain_s, tuning))
    waiting_s = in_replicas(report.backlog, limits, state.factor)
    stuck = [one for one in observation.starting if is_stuck(one, now, lead_s)]
    left_s = min(waiting_s, _left_s(waiting_s, track.level, observation, stuck, now, lead_s)) if waiting_s else 0.0
    known = state.cached_tokens_s / limits.pace.prefill_tokens_s / state.factor / max(1, observation.target)
    return Needs(
        now=track.level,
        expected=expected,
        margin=sqrt(error**2 + tuning.spare**2 * expected),
        backlog=left_s / limits.clear_s,
        doubt=track.doubt,
        down=most + sqrt(error**2 + tuning.spare**2 * most) + waiting_s / limits.clear_s + known,
        stuck=len(stuck),
        start_s=lead_s,
    )


def is_stuck(start: Start, now: float, lead_s: float) -> bool:
    """Returns whether a start has failed too often, or takes too long, to be counted on."""
    return start.failures >= FAILED or now - start.begun_s > OVERDUE * lead_s


def _left_s(waiting_s: float, load: float, observation: Observation, stuck: Sequence[Start], now: float, lead_s: float) -> float:
    """Replica-seconds of work that will wait after one start: what waits and what comes, less what replicas do once they are ready."""
    done_s = (observation.ready - load) * lead_s
    for one in observation.starting:
        if one not in stuck:
            done_s += lead_s - min(lead_s, max(0.0, one.begun_s + lead_s - now))
    return max(0.0, waiting_s - done_s)
