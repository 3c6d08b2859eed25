"""The last hour of a model's load, one row of figures for each minute, as each gateway keeps it.

Decides what is kept and for how long, and how the rows of several gateways become one. Minutes are those of the clock, so that rows of
different gateways are about the same time.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

#: Minutes that are kept.
MOST_MINUTES = 60


class Totals(msgspec.Struct, frozen=True):
    """All that a gateway has counted of a model since it began."""

    requests: int = 0
    failed: int = 0
    """Of the requests, those that the herd did not answer as it should."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    ttft: tuple[int, ...] = ()
    """Answers by their time to the first token, in each bucket of the metric."""
    itl: tuple[int, ...] = ()
    """Intervals between tokens, likewise."""


class Now(msgspec.Struct, frozen=True):
    """The state of a model at the end of a minute."""

    waiting: int = 0
    """Requests that wait at this gateway."""
    ongoing: int = 0
    """Requests in its engines, from all gateways."""
    ready: int = 0
    """Replicas that take requests."""


class Minute(msgspec.Struct, frozen=True):
    """A minute of a model."""

    at: int
    """The number of the minute since 1970."""
    counted: Totals
    """The requests that ended in it."""
    end: Now


History = Mapping[str, Sequence[Minute]]
"""Minutes by model, oldest first."""


def counted(before: Totals, now: Totals) -> Totals:
    """Returns what was counted between two times."""
    return Totals(
        now.requests - before.requests,
        now.failed - before.failed,
        now.prompt_tokens - before.prompt_tokens,
        now.completion_tokens - before.completion_tokens,
        _less(now.ttft, before.ttft),
        _less(now.itl, before.itl),
    )


def _less(now: Sequence[int], before: Sequence[int]) -> tuple[int, ...]:
    return tuple(one - other for one, other in zip(now, before, strict=True)) if before else tuple(now)


def kept(minutes: Sequence[Minute], new: Minute) -> tuple[Minute, ...]:
    """Returns the minutes that are still kept when a new one is over; one that is there already, because a clock was set back or a sleep
    was short, gets what was counted since."""
    same = next((one for one in minutes if one.at == new.at), None)
    if same is not None:
        new = Minute(new.at, _added(same.counted, new.counted), new.end)
    return (*(one for one in minutes if new.at - MOST_MINUTES < one.at < new.at), new)


def merged(histories: Iterable[History]) -> dict[str, list[Minute]]:
    """Returns the minutes of several gateways as if one gateway had answered all requests."""
    found: dict[str, dict[int, Minute]] = {}
    for history in histories:
        for model, minutes in history.items():
            of_model = found.setdefault(model, {})
            for one in minutes:
                there = of_model.get(one.at)
                of_model[one.at] = one if there is None else _sum(there, one)
    return {model: [minutes[at] for at in sorted(minutes)] for model, minutes in found.items()}


def _sum(one: Minute, other: Minute) -> Minute:
    # Every gateway sees the same engines; one of them may see them a moment later.
    end = Now(one.end.waiting + other.end.waiting, max(one.end.ongoing, other.end.ongoing), max(one.end.ready, other.end.ready))
    return Minute(one.at, _added(one.counted, other.counted), end)


def _added(left: Totals, right: Totals) -> Totals:
    return Totals(
        left.requests + right.requests,
        left.failed + right.failed,
        left.prompt_tokens + right.prompt_tokens,
        left.completion_tokens + right.completion_tokens,
        _more(left.ttft, right.ttft),
        _more(left.itl, right.itl),
    )


def _more(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the sums by bucket. A gateway of another release may have other buckets: its latencies are left out."""
    if len(one) == len(other):
        return tuple(left + right for left, right in zip(one, other, strict=True))
    return one or other


class Told(msgspec.Struct, frozen=True):
    """All that one gateway tells another of its models."""

    minutes: Mapping[str, Sequence[Minute]]
    waiting: Mapping[str, int]
    """Requests of each model that wait there now."""


def written(told: Told) -> bytes:
    """Writes what a gateway tells another one."""
    return msgspec.json.encode(told)


def read(told: bytes) -> Told | None:
    """Reads what another gateway tells; None where it is of another shape, as another release may write it."""
    try:
        return _DECODER.decode(told)
    except msgspec.DecodeError:
        return None


def waiting(told: Iterable[Told]) -> dict[str, int]:
    """Returns the requests of each model that wait at any of these gateways."""
    found: dict[str, int] = {}
    for one in told:
        for model, count in one.waiting.items():
            found[model] = found.get(model, 0) + count
    return found


_DECODER = msgspec.json.Decoder(Told)
