"""From a report to what is remembered of it: the load in replicas, the pace as measured, prompts that caches know.

The pace is that for the requests that came lately: their average shape is remembered, and where the pace turns out another, the load that
is remembered is restated in replicas of the new one.

A bucket is taken once. New replicas have empty prefix caches, so prompts cost more for a while after each start, and a rule that took this
for demand would buy more of what causes it: for that time, new prompts count as if the caches knew as much of them as before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import exp, inf, sqrt

from cluster.scaling.forecast import GAP_S, NEW, Load, advance, restated
from cluster.scaling.limits import Limits
from cluster.scaling.observation import Bucket, Observation, Report
from cluster.scaling.pace import pace_of
from cluster.scaling.state import State
from cluster.scaling.work import FIRST_REQUESTS, TINY, Mix, Pace, Shape, Work

#: Replica-seconds of serving under backlog after which the pace is two thirds of the way to what was measured.
TAUGHT_REPLICA_S = 600.0
#: A measured pace is believed between these multiples of the planner's.
SLOWEST, FASTEST = 0.5, 2.0
#: Seconds over which the share of prompts that caches know is averaged, and over which the requests are that the pace is for.
CACHES_S, MIX_S = 120.0, 120.0
#: The latter are so many at least.
MIXED = 32.0
#: Standard errors by which prompts are others than those before: these then count as those that a model begins with.
OTHER = 4.0
#: An amount as large as this is none that was counted, and its square is still a number.
HUGE = 1e30


def remember(state: State, observation: Observation, report: Report, limits: Limits, now: float) -> State:
    """Takes in what is new in a report. `limits.tuning` says how the load is forecast, for the time that a start takes."""
    fresh = _fresh(report.arrivals, state.track.until_s)
    state = _warm(state, observation, limits, now)
    before = pace(state, limits)
    for one in fresh:
        state = replace(state, mix=_mixed(state, one))
    after = pace(state, limits)
    if after != before:
        state = replace(state, track=restated(state.track, _slower(before, after, state.mix)))
    state = _learn(state, report, limits)
    if not fresh:
        return state
    if fresh[0].begun_s - state.track.until_s > GAP_S:
        state = replace(state, track=replace(NEW, errors=state.track.errors, error=state.track.error))
    loads = list(_loads(state, fresh, limits))
    state = _caches(state, fresh)
    return replace(state, track=advance(state.track, loads, start_s(report, limits), limits.tuning))


def _fresh(arrivals: Sequence[Bucket], until_s: float) -> list[Bucket]:
    """The buckets that end after a time, oldest first. Half a bucket less is the same bucket, timed by another clock.

    A bucket that holds no numbers is one that nobody observed.
    """
    fresh = []
    for one in reversed(arrivals):
        if one.begun_s + one.seconds / 2 <= until_s:
            break
        numbers = (one.begun_s, one.seconds, one.requests, one.cached_tokens, one.squared_tokens)
        if one.seconds > 0 and _are_numbers(numbers) and is_finite(one.work):
            fresh.append(one)
    return fresh[::-1]


def start_s(report: Report, limits: Limits) -> float:
    """Returns the seconds after which nine of ten starts are ready: the 90th percentile of the measured ones, or the expected time."""
    times = sorted(one for one in report.start_times_s if 0 < one < inf)
    return times[min(len(times) - 1, len(times) * 9 // 10)] if times else limits.expected_start_s


def is_finite(work: Work) -> bool:
    """Returns whether an amount of work holds numbers."""
    return _are_numbers((work.prefill_tokens, work.decode_tokens, work.kv_token_s))


def _are_numbers(values: Sequence[float]) -> bool:
    return all(abs(one) < HUGE for one in values)


def pace(state: State, limits: Limits) -> Pace:
    """Returns one replica's pace for the requests that came lately, as the planner has it."""
    if limits.replica is None or limits.slo is None:
        return limits.pace
    return pace_of(limits.replica, state.mix.shape, limits.slo)


def _slower(before: Pace, now: Pace, mix: Mix) -> float:
    """Returns how many times as long a replica takes for a mix of requests at one pace than at another."""
    work = Work(mix.uncached_tokens, mix.answer_tokens)
    return (now.time_share(work) + TINY) / (before.time_share(work) + TINY)


def _mixed(state: State, one: Bucket) -> Mix:
    """Adds the requests of a bucket to a mix, which is one over some time, or over a few requests where these took longer."""
    prefill = _prefill_tokens(state, one)
    cached = one.work.prefill_tokens + one.cached_tokens - prefill
    fade = max(exp(-one.seconds / MIX_S), min(1.0, MIXED / max(TINY, state.mix.requests)))
    if _is_other(state.mix.shape, state.mix.requests, one):
        fade = min(1.0, FIRST_REQUESTS / state.mix.requests)
    fresh = Mix(one.requests, prefill, cached, one.work.decode_tokens, one.squared_tokens)
    return state.mix.faded(fade).plus(fresh) if one.requests > 0 else state.mix


def _is_other(shape: Shape, requests: float, one: Bucket) -> bool:
    """Whether the prompts of a bucket are longer or shorter than those of a mix by more than chance."""
    if one.requests <= 0 or requests <= 0 or shape.variation <= 0:
        return False
    mean = (one.work.prefill_tokens + one.cached_tokens) / one.requests
    error = shape.prompt_tokens * sqrt(shape.variation * (1 / requests + 1 / one.requests))
    return abs(mean - shape.prompt_tokens) > OTHER * error


def _prefill_tokens(state: State, one: Bucket) -> float:
    """Counts the tokens of a bucket's prompts that no cache has; while replicas are new, as if these knew as much as the others did."""
    found = one.work.prefill_tokens
    return min(found, (found + one.cached_tokens) * state.miss_share) if one.begun_s < state.warm_s and state.miss_share >= 0 else found


def _loads(state: State, fresh: list[Bucket], limits: Limits) -> Iterator[Load]:
    now = pace(state, limits)
    for one in fresh:
        work = replace(one.work, prefill_tokens=_prefill_tokens(state, one))
        yield Load(one.begun_s + one.seconds, one.seconds, now.replicas(work, state.factor) / one.seconds)


def _caches(state: State, fresh: list[Bucket]) -> State:
    """Follows how much of the prompts caches know, outside the first time of new replicas."""
    share, cached_s = state.miss_share, state.cached_tokens_s
    for one in fresh:
        prompts = one.work.prefill_tokens + one.cached_tokens
        if one.begun_s < state.warm_s or not prompts:
            continue
        gain = 1 - exp(-one.seconds / CACHES_S)
        missed = one.work.prefill_tokens / prompts
        share = missed if share < 0 else share + gain * (missed - share)
        cached_s += gain * (one.cached_tokens / one.seconds - cached_s)
    return replace(state, miss_share=share, cached_tokens_s=cached_s)


def _warm(state: State, observation: Observation, limits: Limits, now: float) -> State:
    """Notes that replicas are new. Further ones do not lengthen the time, or a long ramp would have no other."""
    if observation.ready == state.ready:
        return state
    warm_s = now + limits.tuning.warm_s if 0 < state.ready < observation.ready and now >= state.warm_s else state.warm_s
    return replace(state, ready=observation.ready, warm_s=warm_s)


def _learn(state: State, report: Report, limits: Limits) -> State:
    """Corrects the pace by what replicas served while requests waited for them.

    Where tokens came too slowly for the objective, the replicas did more than they can do within it: that teaches downwards only.
    """
    if not report.served or report.served[-1].ended_s <= state.learned_s:
        return state
    factor, planned = state.factor, pace(state, limits)
    for one in report.served:
        if one.ended_s <= state.learned_s or one.youngest_s < limits.tuning.warm_s or one.replica_s <= 0:
            continue
        if planned.kv_share(one.work) > planned.time_share(one.work):
            continue  # the KV cache was the limit: the time shows nothing
        measured = planned.time_share(one.work) / one.replica_s
        late = limits.slo is not None and one.itl_s > limits.slo.itl_s
        if not late or measured < factor:
            factor += (1 - exp(-one.replica_s / TAUGHT_REPLICA_S)) * (measured - factor)
    return replace(state, factor=min(FASTEST, max(SLOWEST, factor)), learned_s=report.served[-1].ended_s)
