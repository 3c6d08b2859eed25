"""The figures of `herd top`: two looks at all gateways, one after the other, become a row for each model.

Decides what is a rate: only gateways that answered both times count in it, and one that began anew in between counts from zero.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from deployments.commands.looking.top.metrics_page import Counters, Histogram
from deployments.policy.fleet.model_state import ModelState
from deployments.policy.fleet.seats import Seat
from deployments.policy.fleet.why import Facts
from deployments.policy.records.verdict import Verdict
from monitoring.quantiles import quantile

#: Decisions that are remembered.
MOST_DECISIONS = 50


@dataclass(frozen=True, slots=True)
class Look:
    """One look at all gateways."""

    at_s: float
    """When, by a clock that only goes forward."""
    facts: Mapping[str, Facts] = field(default_factory=dict)
    """Each model as the page of status shows it; empty where that did not answer."""
    starting: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Sentences about starts that go on, by model."""
    pages: Mapping[str, Mapping[str, Counters]] = field(default_factory=dict)
    """The counters of each gateway that answered, by its address."""
    asked: int = 0
    """Gateways that were asked."""
    problems: Sequence[str] = ()
    """Sentences about pages that did not answer."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds below which half and 95 % of the latencies lie; None where there was none."""

    half: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A model."""

    model: str
    state: ModelState
    ready: int
    target: int
    running: int
    """Requests that engines compute."""
    waiting: int
    """Requests that wait at gateways, or inside engines."""
    requests_s: float | None = None
    """Requests that ended, per second; None before the second look."""
    failed_s: float | None = None
    tokens_s: float | None = None
    ttft: Latency = field(default_factory=Latency)
    itl: Latency = field(default_factory=Latency)
    size: Verdict | None = None
    """The last decision of autoscaling."""
    starting: Sequence[str] = ()
    replicas: Sequence[Seat] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """All that one frame may show."""

    rows: Sequence[Row] = ()
    asked: int = 0
    answered: int = 0
    window_s: float = 0.0
    """Seconds that rates and latencies are about; 0 before the second look."""
    problems: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """A change of a model's number of replicas, or the reason for the number at the first look."""

    model: str
    verdict: Verdict


def compare(earlier: Look | None, now: Look) -> Figures:
    """Returns the figures of a look.

    Args:
        earlier: a look before it, from which rates are counted; None: there are no rates yet.
        now: the look.
    """
    window_s = 0.0 if earlier is None else max(0.0, now.at_s - earlier.at_s)
    both = {} if earlier is None or not window_s else {address: earlier.pages[address] for address in now.pages if address in earlier.pages}
    rows = tuple(_row(facts, now, both, window_s) for facts in now.facts.values())
    return Figures(rows, now.asked, len(now.pages), window_s if both else 0.0, tuple(now.problems))


def _row(facts: Facts, now: Look, both: Mapping[str, Mapping[str, Counters]], window_s: float) -> Row:
    model, inside = facts.model, sum(seat.waiting for seat in facts.seats)
    at_gateways = sum(page[model].waiting for page in now.pages.values() if model in page) if now.pages else facts.queue
    starting, state = tuple(now.starting.get(model, ())), facts.standing.state
    if starting and state is not ModelState.RUNNING:
        state = ModelState.STARTING
    target = facts.size.target if facts.size is not None else facts.standing.target + len(starting)
    waiting = int(at_gateways) + inside
    row = Row(model, state, facts.standing.running, target, max(0, facts.standing.ongoing - inside), waiting)
    row = replace(row, size=facts.size, starting=starting, replicas=facts.seats)
    pairs = [(before.get(model, Counters()), now.pages[address].get(model, Counters())) for address, before in both.items()]
    return _with_rates(row, pairs, window_s) if pairs else row


def _with_rates(row: Row, pairs: Sequence[tuple[Counters, Counters]], window_s: float) -> Row:
    ttft, itl = (_difference([(of(before), of(now)) for before, now in pairs]) for of in (_ttft, _itl))
    # A stream whose client asked for no usage states no tokens; its pieces are at most as many as its tokens.
    tokens = max(_sum(pairs, lambda one: one.tokens), ttft.all + itl.all)
    return replace(
        row,
        requests_s=_sum(pairs, lambda one: one.requests) / window_s,
        failed_s=_sum(pairs, lambda one: one.failed) / window_s,
        tokens_s=tokens / window_s,
        ttft=_latency(ttft),
        itl=_latency(itl),
    )


def _ttft(one: Counters) -> Histogram:
    return one.ttft


def _itl(one: Counters) -> Histogram:
    return one.itl


def _sum(pairs: Sequence[tuple[Counters, Counters]], of: Callable[[Counters], float]) -> float:
    """Sums what was counted in between, at each gateway."""
    return sum(_since(of(before), of(now)) for before, now in pairs)


def _since(before: float, now: float) -> float:
    """Returns what a counter has counted; one that is smaller than before began anew."""
    return now - before if now >= before else now


def _difference(pairs: Sequence[tuple[Histogram, Histogram]]) -> Histogram:
    """Sums what several histograms have counted in between. One with other bounds, of another release, is left out."""
    bounds = next((now.bounds for _, now in pairs if now.counts), ())
    counts = [0.0] * (len(bounds) + 1)
    for before, now in pairs:
        if now.bounds != bounds or len(now.counts) != len(counts):
            continue
        # All buckets of a gateway that began anew count from zero, also those that have become no smaller.
        old = before.counts if before.bounds == bounds and before.all <= now.all and before.counts else (0.0,) * len(counts)
        counts = [count + max(0.0, one - other) for count, one, other in zip(counts, now.counts, old, strict=True)]
    return Histogram(bounds, tuple(counts)) if bounds else Histogram()


def _latency(found: Histogram) -> Latency:
    return Latency(quantile(found.bounds, found.counts, 0.5), quantile(found.bounds, found.counts, 0.95))


def decided(known: Sequence[Decision], figures: Figures) -> tuple[Decision, ...]:
    """Returns the decisions that are remembered, newest first: of each model the first that was seen, and every change of its target."""
    last = {one.model: one.verdict.target for one in reversed(known)}
    new = [Decision(row.model, row.size) for row in figures.rows if row.size is not None and last.get(row.model) != row.size.target]
    return (*sorted(new, key=lambda one: -one.verdict.at_s), *known)[:MOST_DECISIONS]
