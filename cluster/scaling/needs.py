"""How many replicas a load needs when a start that begins now is over, and how many it needs for a step down to be safe.

    need = forecast + margin + backlog / time to clear it
    margin = sqrt(error of the forecast² + spare² · forecast), or the operator's headroom · forecast where that is more

The backlog is what will wait then: what waits now, and where that cannot begin within its objective, also what comes faster than it is
served until then. Otherwise replicas that are behind would be bought by what waits already, which is little at first, a bit at a time.

Where an operator says how many requests in flight one replica carries, and requests wait in gateways, all that are in flight must fit after
a step down. Clients that ask again when they are answered send no more than is served, so arrivals say too little of what they would send.

The two parts of the margin are independent, so their squares add up. Arrivals that are random crowd together by the square root of their
number (Halfin and Whitt 1981), hence the spare's square root. The margin is a quantile and no count, so a need becomes whole replicas by
rounding, and not by rounding up: that would add half a replica on average to what the quantile asks for.
"""

from dataclasses import dataclass
from math import sqrt

from cluster.scaling.demand import pace, start_s
from cluster.scaling.forecast import ahead
from cluster.scaling.limits import Limits
from cluster.scaling.observation import Observation, Report, Start
from cluster.scaling.state import State

#: A start that takes so many times as long as nine of ten, or has failed so often, is not counted on.
OVERDUE, FAILED = 3.0, 2
#: A need is rounded down by so much at most, and standard errors of the load buy nothing; both only up to this part of the margin.
ROUNDED, NOISE, BOUGHT = 0.5, 1.5, 0.5


@dataclass(frozen=True, slots=True)
class Needs:
    """The needs of a load, in replicas."""

    now: float
    expected: float
    """When a start that begins now is over."""
    margin: float
    by_headroom: bool
    """The margin is the operator's."""
    backlog: float
    """To clear in time what will still wait then."""
    doubt: float
    """The standard error of the load."""
    in_flight: float
    """For the requests that are in flight, where arrivals may say too little of them."""
    down: float
    """For a step down: the most that is expected until a replica that is given up could be back; `in_flight` where that is more."""
    stuck: int
    """Starts that are not counted on."""
    start_s: float

    @property
    def wanted(self) -> float:
        """Returns the replicas that the load is worth."""
        return self.expected + self.margin + self.backlog

    @property
    def bought(self) -> float:
        """Returns the replicas that are bought where more are: rounded up, it is what the load is worth, rounded."""
        return self.wanted - rounded(self.margin)

    @property
    def urgent(self) -> float:
        """Returns the replicas below which more are bought: less by what is rounded or may be noise, but by half of the margin at most."""
        return self.wanted - min(self.margin * BOUGHT, max(ROUNDED, NOISE * self.doubt))


def needs(state: State, observation: Observation, report: Report, limits: Limits, now: float) -> Needs:
    """Returns what a model needs, from the load that is remembered and what waits."""
    track, tuning, lead_s = state.track, limits.tuning, start_s(report, limits)
    late_s = max(0.0, now - track.until_s)
    # Where nothing runs, the last few seconds are the load: its mean is one of the silence before.
    expected = max(ahead(track, late_s + lead_s, tuning), 0.0 if observation.target else track.last)
    error = track.error if tuning.forecast != "none" else 0.0
    most = max(track.level, expected, ahead(track, late_s + lead_s + limits.drain_s, tuning))
    now_pace = pace(state, limits)
    waiting_s = now_pace.replicas(report.backlog, state.factor)
    coming = [one for one in observation.starting if not is_stuck(one, now, lead_s)]
    done_s = (observation.ready - track.level) * lead_s + sum(_ready_s(one, now, lead_s) for one in coming)
    is_behind = waiting_s > observation.ready * (0.0 if limits.slo is None else limits.slo.ttft_s)
    grows_s = _grows_s(-done_s, lead_s, limits) if is_behind else 0.0
    known = state.cached_tokens_s / now_pace.prefill_tokens_s / state.factor / max(1, observation.target)
    room, margin = _margin(error, expected, limits), _margin(error, most, limits)
    in_flight = now_pace.replicas(report.in_flight)
    return Needs(
        now=track.level,
        expected=expected,
        margin=room,
        by_headroom=0 < room <= limits.headroom * expected,
        backlog=(max(0.0, waiting_s - max(0.0, done_s)) + grows_s) / limits.clear_s,
        doubt=track.doubt,
        in_flight=in_flight,
        down=max(in_flight, most + margin - rounded(margin) + (waiting_s + grows_s) / limits.clear_s + known),
        stuck=len(observation.starting) - len(coming),
        start_s=lead_s,
    )


def _margin(error: float, load: float, limits: Limits) -> float:
    """Returns the margin at a load: what past errors and crowds ask for, or what the operator does."""
    return max(sqrt(error**2 + limits.tuning.spare**2 * load), limits.headroom * load)


def _grows_s(missing_s: float, lead_s: float, limits: Limits) -> float:
    """Returns the replica-seconds that are added to what waits within the time of one start; what waits for longer than `clear_s` is lost.

    Args:
        missing_s: replica-seconds within that time by which the load is more than the replicas; below 0 where it is less.
        lead_s: the time.
        limits: of the model.
    """
    return max(0.0, missing_s) * min(1.0, limits.clear_s / lead_s)


def rounded(margin: float) -> float:
    """Returns the part of a margin by which a need may be rounded down."""
    return min(margin * BOUGHT, ROUNDED)


def is_stuck(start: Start, now: float, lead_s: float) -> bool:
    """Returns whether a start has failed too often, or takes too long, to be counted on."""
    return start.failures >= FAILED or now - start.begun_s > OVERDUE * lead_s


def _ready_s(start: Start, now: float, lead_s: float) -> float:
    """Seconds within the time of one start in which a replica that starts already is ready: all but what it still needs."""
    return lead_s - min(lead_s, max(0.0, start.begun_s + lead_s - now))
