"""How many replicas a model should have.

Up: as soon as what the load needs, when a start that begins now is over, leaves less than half of the margin; then by all that is missing.
Down: by one, or by a quarter of many, when so few replicas would have been enough for a while for the most that is expected until a replica
could be back. A step down that is soon taken back doubles the while. Where the load is not known, the target is held.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from math import ceil, floor

from cluster.scaling import schedules
from cluster.scaling.decision import Decision, Hold, held, moved
from cluster.scaling.demand import is_finite, remember
from cluster.scaling.limits import Bound, Limits
from cluster.scaling.needs import Needs, needs
from cluster.scaling.observation import Observation, Report
from cluster.scaling.state import State
from cluster.scaling.work import TINY

#: The patience of steps down doubles at most so often, and halves with each so many seconds without a regret.
MOST_REGRETS, FORGIVEN_S = 3, 14_400.0
#: Standard errors by which a load is clearly less, those that it must be less by for long, all the while, and those within which it may
#: still be the same. Rounded needs are up and down at the same place, so these keep a steady load from going to and fro.
LESS, LONG, SAME = 4.0, 2.0, 5.5
#: One in so many ready replicas goes in one step down; one at least.
DOWN = 4
#: Spans that the patience is watched in.
SPANS = 6


def decide(observation: Observation, limits: Limits, state: State, now: float) -> Decision:
    """Returns the number of replicas that a model should have now, why, and what to remember.

    Args:
        observation: the replicas and the load as they are known.
        limits: what bounds the number.
        state: the last decision's; a fresh one where it is lost.
        now: seconds of the clock that all times of the observation are of; since 1970 where there are schedules.
    """
    notice = limits.unmeetable if limits.unmeetable != state.told else ""
    state = state if limits.unmeetable == state.told else replace(state, told=limits.unmeetable)
    report = _believed(observation, limits, now)
    if not isinstance(report, Report):
        target, bound = bounded(observation.target, observation, limits, now, limits.expected_start_s)
        # The needs that were watched before do not speak for the time that nobody sees.
        return Decision(
            target, held(report, observation, limits, target), replace(state, peaks=(), enough_s=0.0), bound, report, notice=notice
        )
    state = remember(state, observation, report, limits, now)
    need = needs(state, observation, report, limits, now)
    state = _watch(state, need.down, report, limits, now)
    enough = need.down + LONG * need.doubt <= observation.target - 1 and not report.missing
    if enough != (state.enough_s > 0):
        state = replace(state, enough_s=now if enough else 0.0)
    asked = _asked(observation, report, limits, state, need, now)
    if asked > observation.target:
        state = _regret(state, limits, need, now)
    target, bound = bounded(asked, observation, limits, now, need.start_s)
    if target < observation.target:
        state = replace(state, down_s=now, down_load=need.now, enough_s=0.0)
    return Decision(
        target=target,
        reason=moved(observation, limits, need, target, bound),
        state=state,
        binds=bound,
        demand=need.now,
        expected=need.expected,
        wanted=need.wanted,
        notice=notice,
    )


def _believed(observation: Observation, limits: Limits, now: float) -> Report | Hold:
    """The report, or why there is none to go by."""
    report = observation.report
    if report is None:
        return "no report"
    faults: tuple[tuple[bool, Hold], ...] = (
        (bool(report.error) or not (is_finite(report.backlog) and is_finite(report.in_flight)), "failed report"),
        (report.release != limits.release, "other release"),
        (now - report.taken_s > limits.stale_s, "stale report"),
        (not report.arrivals and not report.waiting_requests, "no history"),
    )
    return next((why for is_so, why in faults if is_so), report)


def _asked(observation: Observation, report: Report, limits: Limits, state: State, need: Needs, now: float) -> int:
    """The replicas that the load asks for, before limits."""
    # Stuck starts are made up for; but where all are stuck, further ones would be, too, and only one more is tried.
    extra = min(need.stuck, len(observation.starting) - need.stuck + 1)
    counted = observation.target - extra
    used = counted <= 1 and _used(report, limits, now)
    unasked = counted <= 1 and limits.least == 0 and not used
    last = 0 if unasked and _is_known(report, limits, now) else observation.target
    if unasked and counted < 1:
        return last  # the margin for a jump starts no model that nobody asks for, and holds no start that cannot come to its end
    if need.urgent > counted + TINY or (counted < 1 and used):
        return max(1, ceil(need.bought - TINY)) + extra
    if observation.rolling or now - state.down_s < limits.tuning.step_down_s or not _watched(state, limits, now):
        return observation.target
    if counted <= 1:
        return last
    most = max(peak for _, peak in state.peaks)
    long = state.enough_s > 0 and now - state.enough_s >= limits.tuning.long_patience_s * _times(state, now)
    if counted - 1 < most + (0.0 if long else LESS * need.doubt) - TINY:
        return observation.target
    return min(observation.target - 1, _fewest(observation, most, LESS * need.doubt) + extra)


def _fewest(observation: Observation, most: float, noise: float) -> int:
    """The replicas that one step down may leave where one less is enough."""
    if observation.target > observation.ready:
        # A replica that is not ready has no cache and no streams to lose: those that nobody needs go together.
        return max(observation.ready, ceil(most - TINY))
    return max(observation.ready - observation.ready // DOWN, ceil(most + noise - TINY))


def _used(report: Report, limits: Limits, now: float) -> bool:
    """Whether a request waits, runs, or came lately."""
    if report.waiting_requests or report.running_requests:
        return True
    lately = takewhile(lambda one: one.begun_s + one.seconds > now - limits.idle_s, reversed(report.arrivals))
    return any(one.requests for one in lately)


def _is_known(report: Report, limits: Limits, now: float) -> bool:
    """Whether the past is known for long enough: an unknown one is no idle one."""
    return bool(report.arrivals) and report.arrivals[0].begun_s <= now - limits.idle_s


def _times(state: State, now: float) -> int:
    """By what regrets have multiplied the patience of steps down."""
    forgiven = int((now - state.regretted_s) / FORGIVEN_S)
    return int(2 ** max(0, state.regrets - forgiven))


def _patience_s(state: State, limits: Limits, now: float) -> float:
    return limits.tuning.patience_s * _times(state, now)


def _watch(state: State, down: float, report: Report, limits: Limits, now: float) -> State:
    """Keeps the largest needs of the spans of the last while; none where a part of the load is unknown."""
    patience_s, peaks = _patience_s(state, limits, now), state.peaks
    if report.missing:
        return replace(state, peaks=())
    if not peaks or now - peaks[-1][0] > patience_s + limits.stale_s:
        return replace(state, peaks=((now, down),))
    begun, most = peaks[-1]
    if now - begun >= patience_s / SPANS:
        peaks = (*peaks, (now, down))
        while len(peaks) > 1 and peaks[1][0] <= now - patience_s:
            peaks = peaks[1:]
        return replace(state, peaks=peaks)
    return replace(state, peaks=(*peaks[:-1], (begun, down))) if down > most else state


def _watched(state: State, limits: Limits, now: float) -> bool:
    """Whether the needs are known for as long as a step down must be patient."""
    return bool(state.peaks) and state.peaks[0][0] <= now - _patience_s(state, limits, now)


def _regret(state: State, limits: Limits, need: Needs, now: float) -> State:
    """Notes that the load asks for more: soon after a step down, and while it is what it was then but for noise, that is a regret."""
    soon = state.down_s > 0 and now - state.down_s <= 2 * limits.tuning.long_patience_s * _times(state, now)
    if not soon or need.now > state.down_load + SAME * need.doubt:
        return state
    return replace(state, down_s=0.0, regrets=min(MOST_REGRETS, state.regrets + 1), regretted_s=now)


def bounded(asked: int, observation: Observation, limits: Limits, now: float, lead_s: float) -> tuple[int, Bound | None]:
    """Returns a number of replicas within the limits, and the limit that changed it; see `cluster.scaling.limits` for their order."""
    target, bound = asked, None
    floors: list[tuple[int, Bound]] = [(limits.least, "min_replicas")]
    hour = schedules.floor(limits.schedules, now, lead_s) if limits.schedules else None
    if hour is not None:
        floors.append((hour.least, "schedule"))
    for least, name in floors:
        if target < least:
            target, bound = least, name
    for most, name in _ceilings(observation, limits):
        if target > most:
            target, bound = most, name
    return target, bound


def _ceilings(observation: Observation, limits: Limits) -> Iterator[tuple[int, Bound]]:
    """The upper limits, the weakest first."""
    yield limits.most, "max_replicas"
    if limits.hour_price_most is not None and limits.gpu_hour_price:
        yield floor(limits.hour_price_most / (limits.gpu_hour_price * limits.gpus_per_replica) + TINY), "money"
    if limits.gpus_most is not None:
        held = floor(limits.gpus_most / limits.gpus_per_replica + TINY)
        # Replicas that drain still hold theirs. Those that are asked for already keep their claim.
        yield max(min(observation.target, held), held - observation.draining), "gpus"
