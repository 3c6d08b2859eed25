"""When a replica is slow, and what follows: other replicas are preferred to it at first, and only much later it is restarted.

A slow answer alone proves nothing. The requests of clients make the steps of an engine long, and another program on the machine makes all
of its replicas slow. So a replica is compared with the other replicas of its model, by how much each of them had to compute meanwhile.
Decides over times, amounts of work, and what was found before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

#: A replica is slower than another one if it took more than so many times as long for the same work. Replicas that are equally fast differ
#: by up to two times on a busy machine, because each has its turn on the CPUs at another time.
APART = 4
#: Slow canaries of an idle engine, one after the other, after which the replica is restarted: five minutes with a canary each 30 s. Until
#: then it costs little, because it is avoided, and a start takes minutes in which it does nothing.
RESTARTED_AFTER = 10
#: Runnable threads per CPU above which a slow replica may be the machine's fault: then no replica is restarted for being slow.
CROWDED = 1.0


class Progress(NamedTuple):
    """The work of an engine since its start, and the work it still has; it changes whenever the engine has taken a step."""

    steps: float = 0.0
    """Steps that gave tokens to some request."""
    tokens: float = 0.0
    """Tokens that these steps computed: generated ones, and those of prompts, each prompt's when all of it is computed."""
    generated: float = 0.0
    """Tokens that it generated."""
    held_tokens: float = 0.0
    """Tokens whose keys and values it holds at present; they grow with every part of a long prompt."""
    requests: float = 0.0
    """Requests that it has at present, begun or not."""


def work_between(before: Progress, after: Progress) -> float:
    """Computes the tokens per step between two readings; at least 1. Half-computed prompts show in the memory that they take."""
    tokens = after.tokens - before.tokens + max(0.0, after.held_tokens - before.held_tokens)
    return max(1.0, tokens / max(1.0, after.steps - before.steps))


@dataclass(frozen=True, slots=True)
class Pace:
    """How long one replica's last canary took, and under what circumstances; each replica tells the others."""

    id: str
    host: str
    """The address of its machine."""
    seconds: float = 0.0
    """From the canary's first token to its last, or as long as it was waited for; 0 where there was none yet."""
    work: float = 1.0
    """Tokens that the engine computed in each of its steps meanwhile, for all requests; at least 1, which is the canary's own."""
    age_s: float = float("inf")
    """Seconds since that canary ended."""
    slow: bool = False
    """The replica is avoided because it is slow."""
    serves: bool = True
    """It takes requests: it does not stop, and is not sick."""

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> "Pace":
        """Reads what another replica has sent; what another release adds or leaves out does not matter."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in plain.items() if name in names})


@dataclass(frozen=True, slots=True)
class Slowness:
    """The record of one replica's slowness."""

    row: int = 0
    """Slow canaries, one after the other, while most other replicas were faster."""
    idle_row: int = 0
    """Of these, canaries beside which the engine had nothing else to do."""
    since_s: float | None = None
    """When the first canary that seemed slow began, by the caller's clock; None while none does."""
    due: bool = False
    """The replica should be restarted."""


NOT_SLOW = Slowness()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """A replica that seems slow and its surroundings, as it knows them."""

    own: Pace
    others: Sequence[Pace]
    """The other replicas of the same make."""
    complete: bool
    """Ray runs all replicas of the model that there should be, and starts or stops none."""
    idle: bool
    """The engine had nothing but the canary."""
    crowd: float
    """Runnable threads per CPU of the machine."""
    now_s: float


def compared(before: Slowness, seen: Circumstances) -> Slowness | None:
    """Decides whether a canary that took too long was the replica's fault.

    Args:
        before: what was known of it.
        seen: the replica and the others.

    Returns:
        None where it was not the replica's fault: its requests or its machine explain it, or nobody can tell.
    """
    since_s = seen.now_s - seen.own.seconds if before.since_s is None else before.since_s
    # A canary from before says nothing: whatever makes all replicas slow shows in each one's next canary only.
    fresh = [other for other in seen.others if other.seconds and other.age_s <= seen.now_s - since_s]
    if 2 * len(fresh) <= len(seen.others):
        return _undecided(before, seen, since_s)
    if 2 * sum(not _faster(other, seen) for other in fresh) >= len(fresh):
        return None
    row, idle_row = before.row + 1, before.idle_row + seen.idle
    return Slowness(row, idle_row, since_s, due=idle_row >= RESTARTED_AFTER and _may_go(seen, fresh))


def _undecided(before: Slowness, seen: Circumstances, since_s: float) -> Slowness | None:
    """The other replicas will be compared later, if there are any. A replica that is avoided stays so."""
    return replace(before, since_s=since_s) if seen.others or before.row else None


def _faster(other: Pace, seen: Circumstances) -> bool:
    """Another replica would have been much faster with this one's work. A step takes longer the more tokens it computes, and at most in
    proportion, because the weights are read once per step. An engine that was idle has no work to explain its time."""
    more_work = 1.0 if seen.idle else max(1.0, seen.own.work / other.work)
    return other.seconds * APART * more_work < seen.own.seconds


def _may_go(seen: Circumstances, fresh: Sequence[Pace]) -> bool:
    """A replica is restarted for being slow only where that costs nobody anything, and where it can help.

    All others are there and serve, at least one of them is not slow, and of several slow ones only that with the first name goes: one at a
    time. Where the machine may be the cause (its CPUs are crowded, or its other replicas are slow as well) a restart helps nobody.
    """
    neighbours = [other for other in fresh if other.host == seen.own.host]
    return (
        seen.complete
        and all(other.serves for other in seen.others)
        and any(not other.slow for other in seen.others)
        and not any(other.slow and other.id < seen.own.id for other in seen.others)
        and (not neighbours or any(_faster(other, seen) for other in neighbours))
        and seen.crowd <= CROWDED
    )
