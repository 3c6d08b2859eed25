"""The load to come, for when a replica that is asked for now is ready: a level, a trend, and how wrong such forecasts have been.

The level tells steps from noise: a short mean that is within some standard errors of a slow one moves nothing, one that is beyond more of
them moves the level at once, and the slow mean begins anew. So does it where a small difference goes on for long. How many standard errors
depends on how long the load has been what it is.
The trend is damped, and trusted as far as it has foretold changes of this very load: noise and steps earn it nothing, ramps do. The upper
value adds a quantile of the forecast's own past errors at this horizon, so a load that jumps now and then gets room for a jump, and a
smooth one none (split conformal prediction, Vovk et al. 2005). At first it is as if one jump had been seen. Errors are kept in square roots
of the load, as arrivals crowd together by these: a crowd that has gone leaves room for one that is as much smaller as the load is.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil, copysign, exp, sqrt

from cluster.scaling.limits import Tuning

#: Seconds over which the short mean, the slow one, the noise and the trend are averaged, and over which a trend dies away.
FAST_S, SLOW_S, NOISE_S, TREND_S, DAMPED_S = 30.0, 900.0, 900.0, 90.0, 300.0
#: Standard errors that count as noise, and those that noise cannot be; between them a part is believed. Of a load that has not changed for
#: `OLD_S`, more is noise: an hour has so many moments that 2.5 standard errors come several times in it.
BAND, SURE, OLD_S, OLD_BAND, OLD_SURE = 2.5, 4.0, 1800.0, 4.0, 5.0
#: A load that is a little more, or less, for long: deviations of one bucket that are not added up, and the sum that shows a change.
USUAL, CHANGED = 0.2, 12.0
#: How far the short mean moves to a bucket that noise cannot explain.
LEAP = 0.5
#: One bucket teaches no more noise than that of so many deviations, once a few are known, unless the two before it were as wild:
#: after silence all noise is beyond what is known, and a bucket among silent ones is wild twice.
WILDEST, FEW = 3.0, 6
#: The trust before any change was seen. It weighs as much as one change of this share of the level.
TRUST_AT_FIRST, WEIGHT_AT_FIRST = 0.5, 0.3
#: What an older change still weighs when one more is judged.
MEMORY = 0.99
#: Forecasts are kept to be judged this many times within one horizon, and so many errors: an hour's, at a start of 100 s and more.
JUDGED, ERRORS = 8, 192
#: A trend has so many times less noise than the short mean, over its own time.
QUIET = 2.0
#: After such a gap the level begins anew.
GAP_S = 600.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A forecast that time will judge."""

    due_s: float
    level: float
    change: float
    """That the trend, fully trusted, foretold."""
    expected: float


@dataclass(frozen=True, slots=True)
class Track:
    """A load as it was followed so far. Loads are in replicas."""

    until_s: float = 0.0
    seen: int = 0
    last: float = 0.0
    """The last bucket."""
    fast: float = 0.0
    slow: float = 0.0
    age_s: float = FAST_S
    """Seconds since the load last changed by more than noise: the slow mean is one over the later half of them."""
    noise: float = 0.0
    """Variance of one bucket."""
    wild: float = 0.0
    wild_before: float = 0.0
    """The variances that the last two pairs of neighbours show, each alone."""
    rise: float = 0.0
    fall: float = 0.0
    """By how many standard deviations buckets were above the slow mean, and below it, added up."""
    doubt: float = 0.0
    """Standard error of the short mean."""
    level: float = 0.0
    trend: float = 0.0
    """Change of the level in a second."""
    cross: float = 0.0
    """Sum of foretold times real changes; over the sum of squared foretold ones it is the trust."""
    square: float = 0.0
    error: float = 0.0
    """The quantile of the errors; never below 0."""
    pending: tuple[Pending, ...] = ()
    errors: tuple[float, ...] = ()
    """In square roots of the load, newest last."""

    @property
    def trust(self) -> float:
        """Returns the share of the trend that is believed, from 0 to 1."""
        at_first = (WEIGHT_AT_FIRST * max(self.level, 1.0)) ** 2
        return min(1.0, max(0.0, (self.cross + TRUST_AT_FIRST * at_first) / (self.square + at_first)))


NEW = Track()


@dataclass(frozen=True, slots=True)
class Load:
    """The load of a short time, in replicas."""

    ended_s: float
    seconds: float
    replicas: float


def advance(track: Track, loads: Iterable[Load], horizon_s: float, tuning: Tuning) -> Track:
    """Follows a load through its next buckets, and judges the forecasts that they make due."""
    for load in loads:
        track = _follow(track, load)
        due = [one for one in track.pending if one.due_s <= load.ended_s]
        track = _promise(_judge(track, due) if due else track, horizon_s, tuning)
    error = _quantile((*track.errors, *(tuning.jump,) * JUDGED), tuning.quantile)
    return replace(track, error=error * sqrt(max(0.0, track.level)))


def restated(track: Track, times: float) -> Track:
    """Returns a track of the same load where each replica is known to do less than was thought: so many times as many are the load.

    Forecasts that are still to be judged stay: they were wrong by that, too.
    """
    last, fast, slow, level, trend, doubt = (
        times * one for one in (track.last, track.fast, track.slow, track.level, track.trend, track.doubt)
    )
    noise, wild, before = (times**2 * one for one in (track.noise, track.wild, track.wild_before))
    loads = replace(track, last=last, fast=fast, slow=slow, level=level, trend=trend, doubt=doubt)
    return replace(loads, noise=noise, wild=wild, wild_before=before)


def ahead(track: Track, horizon_s: float, tuning: Tuning) -> float:
    """Returns the load that is expected some seconds after the last bucket, in replicas."""
    if tuning.forecast == "trend":
        # The level is behind a ramp by as much as its short mean is.
        return max(0.0, track.level + track.trust * _change(track, horizon_s + FAST_S))
    if tuning.forecast == "drift" and track.pending:
        first = track.pending[0]
        since = max(1.0, track.until_s - (first.due_s - horizon_s))
        return max(0.0, track.level + (track.level - first.level) / since * horizon_s)
    return track.level


def _change(track: Track, horizon_s: float) -> float:
    """The change that the trend foretells within a horizon: none where it may be noise, less for each second as a trend dies away.

    The damping is Gardner and McKenzie's (1985).
    """
    return _believed(track.trend * TREND_S, track.doubt / QUIET, track.age_s) / TREND_S * DAMPED_S * (1 - exp(-horizon_s / DAMPED_S))


def _gain(seconds: float, average_s: float) -> float:
    """How far an exponential mean over some seconds moves to what it hears for `seconds`."""
    return 1 - exp(-seconds / average_s)


def _follow(track: Track, load: Load) -> Track:
    heard, gap_s = load.replicas, load.ended_s - track.until_s
    if track.seen == 0 or gap_s > GAP_S:
        return _begun(track, load)
    few = 1 / (track.seen + 1)
    leaps = track.seen > FEW and abs(heard - track.fast) > SURE * sqrt(track.noise)
    gain = max(_gain(load.seconds, FAST_S), few, LEAP if leaps else 0.0)
    fast = track.fast + gain * (heard - track.fast)
    # Half the square of two neighbours' difference is the variance of one (von Neumann 1941); a step shows in it once.
    wild = (heard - track.last) ** 2 / 2
    known = min(wild, max(WILDEST**2 * track.noise, min(track.wild, track.wild_before))) if track.seen > FEW else wild
    noise = track.noise + max(_gain(load.seconds, NOISE_S), few) * (known - track.noise)
    # A mean that has leapt to one bucket stays as doubtful as one bucket until others have come.
    error = sqrt(max(noise * gain / (2 - gain), ((1 - gain) * track.doubt) ** 2 + gain**2 * noise))
    rise, fall = _summed(track, heard, sqrt(noise))
    if _believed(fast - track.slow, error, track.age_s) or max(rise, fall) > CHANGED:
        age_s, rise, fall = FAST_S, 0.0, 0.0
    else:
        age_s = track.age_s + load.seconds
    slow = track.slow + min(1.0, max(few, load.seconds / min(max(age_s / 2, FAST_S), SLOW_S))) * (fast - track.slow)
    if age_s == FAST_S and slow < track.slow:  # the noise of arrivals is in proportion to them: that of a load that has gone goes with it
        noise *= max(0.0, slow / track.slow)
    level = slow + _believed(fast - slow, error, track.age_s)
    trend = track.trend + _gain(load.seconds, TREND_S) * ((level - track.level) / max(gap_s, load.seconds) - track.trend)
    return replace(
        track,
        until_s=load.ended_s,
        seen=track.seen + 1,
        last=heard,
        fast=fast,
        slow=slow,
        age_s=age_s,
        doubt=error,
        noise=noise,
        wild=wild,
        wild_before=track.wild,
        level=level,
        trend=trend,
        rise=rise,
        fall=fall,
    )


def _begun(track: Track, load: Load) -> Track:
    """Begins the level anew with a bucket; how noisy loads are, and how wrong forecasts were, is still known."""
    heard = load.replicas
    begun = replace(track, until_s=load.ended_s, seen=1, last=heard, fast=heard, slow=heard, level=heard)
    return replace(begun, age_s=FAST_S, rise=0.0, fall=0.0, trend=0.0, pending=())


def _summed(track: Track, heard: float, deviation: float) -> tuple[float, float]:
    """Adds up by how much buckets were above the slow mean and below it, beyond what is usual (Page's cumulative sums, 1954)."""
    away = heard - track.slow
    away = max(-WILDEST, min(WILDEST, away / deviation)) if deviation > 0 else copysign(WILDEST, away) * (away != 0)
    return max(0.0, track.rise + away - USUAL), max(0.0, track.fall - away - USUAL)


def _believed(away: float, error: float, age_s: float) -> float:
    """The part of a difference that is believed: none within noise, all beyond what noise can be.

    Args:
        away: the difference.
        error: its standard error.
        age_s: seconds since the load last changed; one that has changed lately is sooner believed to change again.
    """
    old = min(1.0, age_s / OLD_S)
    band, sure = BAND + old * (OLD_BAND - BAND), SURE + old * (OLD_SURE - SURE)
    distance = abs(away)
    if distance <= band * error:
        return 0.0
    if distance >= sure * error:
        return away
    return copysign((distance - band * error) * sure / (sure - band), away)


def _judge(track: Track, due: Sequence[Pending]) -> Track:
    cross, square = track.cross, track.square
    for one in due:
        cross = cross * MEMORY + one.change * (track.level - one.level)
        square = square * MEMORY + one.change**2
    errors = (*track.errors, *(_missed(one.expected, track.level) for one in due))[-ERRORS:]
    return replace(track, cross=cross, square=square, errors=errors, pending=track.pending[len(due) :])


def _missed(expected: float, level: float) -> float:
    """Returns the error of a forecast, in square roots of the larger load: 0 where both are none."""
    return (level - expected) / sqrt(max(level, expected)) if max(level, expected) > 0 else 0.0


def _promise(track: Track, horizon_s: float, tuning: Tuning) -> Track:
    """Keeps the present forecast to be judged, where the last one kept is not nearly the same."""
    due_s = track.until_s + horizon_s
    if track.pending and due_s < track.pending[-1].due_s + horizon_s / JUDGED:
        return track
    change = _change(track, horizon_s)
    expected = track.level + track.trust * change if tuning.forecast == "trend" else ahead(track, horizon_s, tuning)
    return replace(track, pending=(*track.pending, Pending(due_s, track.level, change, expected)))


def _quantile(errors: Sequence[float], quantile: float) -> float:
    """The least error that the next one stays under with this probability, were they exchangeable."""
    rank = min(len(errors), ceil(quantile * (len(errors) + 1)))
    return max(0.0, sorted(errors)[rank - 1])
