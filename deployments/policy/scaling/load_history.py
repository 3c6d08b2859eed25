"""The load of a model over time: what all gateways counted, bucket by bucket, kept for longer than any of them keeps it.

Decides when a bucket is complete. A bucket is added once, when every gateway that lives has told of it, or when one is too late. Hours
without a request are one long bucket.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from cluster.scaling.observation import Bucket, Served
from cluster.scaling.work import Work
from deployments.policy.queue.load_record import BUCKET_S, Counted, EngineLoads, LoadRecord

#: Gateways tell every 2 s. One that has not told of a bucket so many seconds after its end is not waited for.
LATE_S = 6.0
#: Buckets that are kept: a quarter of an hour with requests. Of those without, the newest few stay apart.
MOST_KEPT, APART = 180, 24
#: Times of serving under backlog that are kept, and buckets that are looked back at most.
MOST_SERVED, MOST_BACK = 60, 60

Weighed = Callable[[float, float], tuple[Work, float]]
"""Makes work, and tokens that caches have, of a number of requests and the tokens of their prompts."""


@dataclass(frozen=True, slots=True)
class History:
    """The load as it was."""

    until: int = -1
    """Number of the last bucket that was looked at."""
    arrivals: tuple[Bucket, ...] = ()
    served: tuple[Served, ...] = ()


def advanced(history: History, records: Sequence[LoadRecord], alive: Sequence[LoadRecord], weighed: Weighed, now_s: float) -> History:
    """Returns the history with each bucket that is complete by now.

    Args:
        history: so far.
        records: of all gateways, also of those that do not tell any more.
        alive: of those that tell.
        weighed: makes work of counts.
        now_s: the time.
    """
    if not alive:
        return history  # they count on meanwhile, and tell it when the store answers them again
    last = int(now_s / BUCKET_S) - 1
    told = min(record.at_s for record in alive)
    while last >= 0 and told < _end_s(last) and now_s < _end_s(last) + LATE_S:
        last -= 1
    first = max(history.until + 1, last - MOST_BACK + 1)
    counted: dict[int, list[tuple[LoadRecord, Counted]]] = {}
    for record in records:
        for one in record.buckets:
            counted.setdefault(one.number, []).append((record, one))
    arrivals, served = list(history.arrivals), list(history.served)
    for number in range(first, last + 1):
        found = counted.get(number, [])
        if found or any(record.since_s <= number * BUCKET_S and record.at_s >= _end_s(number) for record in records):
            arrivals.append(_bucket(number, (one for _, one in found), weighed))
        if any(one.waited for _, one in found):
            served.append(_served(number, found, newest(alive).engines, now_s))
    return History(max(history.until, last), _bounded(arrivals), tuple(served[-MOST_SERVED:]))


def newest(records: Sequence[LoadRecord]) -> LoadRecord:
    """Returns the record that was written last."""
    return max(records, key=lambda record: record.at_s)


def _end_s(number: int) -> float:
    return (number + 1) * BUCKET_S


def _bucket(number: int, found: Iterable[Counted], weighed: Weighed) -> Bucket:
    requests = tokens = squared = 0.0
    for one in found:
        requests += one.requests
        tokens += one.prompt_tokens
        squared += one.squared_tokens
    work, cached = weighed(requests, tokens)
    ratio = (work.prefill_tokens + cached) / tokens if tokens else 0.0
    return Bucket(number * BUCKET_S, BUCKET_S, requests, work, cached, squared * ratio**2)


def _served(number: int, found: Sequence[tuple[LoadRecord, Counted]], engines: EngineLoads, now_s: float) -> Served:
    """Returns what the replicas did in a bucket in which a gateway had a line: then all of them were full."""
    prompts = sum(one.answered_prompt_tokens for _, one in found)
    answers = sum(one.answer_tokens for _, one in found)
    return Served(
        ended_s=_end_s(number),
        replica_s=engines.ready * BUCKET_S,
        work=Work(prompts * (1 - engines.hit_share), answers),
        youngest_s=max(0.0, engines.youngest_s - (now_s - _end_s(number))),
        itl_s=max(one.itl_s for _, one in found),
    )


def _bounded(arrivals: Sequence[Bucket]) -> tuple[Bucket, ...]:
    """Joins empty buckets that are not among the newest, and drops the oldest of all where there are too many."""
    old, fresh = arrivals[:-APART], arrivals[-APART:]
    joined: list[Bucket] = []
    for one in old:
        before = joined[-1] if joined else None
        if before is not None and not before.requests and not one.requests and one.begun_s == before.begun_s + before.seconds:
            joined[-1] = replace(before, seconds=before.seconds + one.seconds)
        else:
            joined.append(one)
    return (*joined, *fresh)[-MOST_KEPT:]
