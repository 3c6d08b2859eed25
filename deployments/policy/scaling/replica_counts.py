"""Which replicas are starting, from the two numbers that Ray Serve tells: how many it wants, and how many run.

Ray Serve's context holds no replica that starts, drains or fails. A start is the difference of the two numbers, and began when the
difference grew. A replica that runs and is given up drains from then on, for about as long as its requests take.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from cluster.scaling.observation import Start
from deployments.policy.queue.load_record import LoadRecord
from deployments.policy.records import starts

#: Given up replicas that are remembered.
MOST_LEFT = 64


@dataclass(frozen=True, slots=True)
class Counts:
    """Replicas as Ray Serve has them. Whole ones: the ranks of one replica count once."""

    target: int
    ready: int
    begun_s: tuple[float, ...] = ()
    """When each of the missing ones was asked for, oldest first."""
    left_s: tuple[float, ...] = ()
    """When running ones were given up, oldest first; the newest few."""
    ready_s: float | None = None
    """Since when one has been ready; None where none is."""


def whole(ranks_wanted: int, ranks_running: int, ranks: int) -> tuple[int, int]:
    """Returns the replicas that are wanted and that run, from the ranks that Ray counts. A replica runs when all of its ranks do."""
    return -(-ranks_wanted // ranks), ranks_running // ranks


def by_replicas(record: LoadRecord, ranks: int) -> LoadRecord:
    """Returns a gateway's record with whole replicas in it: to gateways each rank is a replica, and reports for itself."""
    seen = record.engines
    whole_ones = replace(seen, ready=seen.ready // ranks, leaving=-(-seen.leaving // ranks), room=seen.room * ranks)
    return replace(record, engines=whole_ones)


def followed(before: Counts | None, target: int, ready: int, now_s: float) -> Counts:
    """Returns the counts of now. The oldest starts become ready first; where fewer are wanted, Ray Serve gives up the newest first."""
    begun = before.begun_s if before is not None else ()
    if before is not None and ready > before.ready:
        begun = begun[ready - before.ready :]
    missing = max(0, target - ready)
    begun = begun[:missing]
    left = before.left_s if before is not None else ()
    if before is not None and target < before.target:
        left = (left + (now_s,) * max(0, min(before.ready, before.target) - target))[-MOST_LEFT:]
    since_s = before.ready_s if before is not None and before.ready_s is not None else now_s
    return Counts(target, ready, begun + (now_s,) * (missing - len(begun)), left, since_s if ready else None)


def draining(counts: Counts, drain_s: float, now_s: float) -> int:
    """Returns the replicas that still finish what they have, where a drain takes so many seconds."""
    return sum(left > now_s - drain_s for left in counts.left_s)


def starting(counts: Counts, known: Sequence[starts.Start]) -> tuple[Start, ...]:
    """Returns the replicas that start, with the attempts that have failed since: the oldest ones have had them.

    Args:
        counts: the replicas.
        known: recorded starts of the model.
    """
    found: list[Start] = []
    failed = sorted(one.ended for one in known if one.outcome == starts.FAILED and one.ended is not None)
    for begun_s in counts.begun_s:
        later = [ended for ended in failed if ended > begun_s]
        share = -(-len(later) // (len(counts.begun_s) - len(found)))
        failed = [ended for ended in failed if ended not in later[:share]]
        found.append(Start(begun_s, share))
    return tuple(found)


def start_times_s(known: Sequence[starts.Start]) -> tuple[float, ...]:
    """Returns the seconds that recorded starts took until ready, oldest first."""
    return tuple(one.ended - one.began for one in known if one.outcome == starts.READY and one.ended is not None)
