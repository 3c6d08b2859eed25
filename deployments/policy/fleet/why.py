"""Why a model is not where it should be, or that it is: findings in plain sentences, each with what to do.

Decides which findings there are and in which order: what waits for a place, what is starting, what is wrong with replicas that are there,
and why the last starts failed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from deployments.policy.fleet.events import Event
from deployments.policy.fleet.model_state import ModelState, Standing
from deployments.policy.fleet.seats import PLACING, STARTING, Seat, failures
from deployments.policy.records import starts
from deployments.policy.records.spans import told as span
from deployments.policy.records.starts import Start
from deployments.policy.records.verdict import Verdict
from deployments.policy.records.ways_out import way_out

#: Failed starts that are told: the newest ones, and only while they are news.
MOST_FAILURES, NEWS_S = 3, 6 * 3600.0
MOST_CHARACTERS = 600
#: So many deaths of a model's replicas within so many seconds are no accident.
MANY_DEATHS, DEATHS_S = 2, 3600.0
WAIT = "Wait some seconds, and ask again."
ASK_THERE = "Run `herd why` on a node of the cluster: it also sees starts, places and errors."
#: A decision that is older says that none is made: they are kept every 10 s.
OLD_S = 60.0
NO_DECISION = "The number is held until then. `herd logs ray` has the lines of Ray Serve's controller."
#: What an operator may raise where a limit keeps replicas from what the load asks for.
RAISED: Mapping[str, str] = {
    "cluster": "The cluster has no more GPUs.",
    "other models": "`scaling.priority` says which model comes first.",
    "gpus": "`scaling.gpus` allows no more.",
    "money": "`scaling.hour_price` allows no more.",
    "max_replicas": "`scaling.max_replicas` allows no more.",
}
BEFORE_START = "its process starts, and imports vLLM"


@dataclass(frozen=True, slots=True)
class Facts:
    """The known facts about a model."""

    model: str
    standing: Standing
    seats: Sequence[Seat]
    starts: Sequence[Start] = ()
    """Those that are kept, oldest first."""
    said: str = ""
    """Ray Serve's words about an application that could not come up."""
    asked: float | None = None
    """When the last change of the herd or of this model's size began, in seconds since 1970."""
    queue: int = 0
    """Requests that wait at a gateway."""
    canaries: Mapping[str, str] = field(default_factory=dict)
    """The last words of each sick replica about its canary, by its id."""
    deaths: Sequence[Event] = ()
    """Replicas that ended by themselves or were killed, oldest first."""
    size: Verdict | None = None
    """The last decision on its number of replicas; None where the number is the operator's, or nothing is known of it."""
    by_http: bool = False
    """A gateway alone was asked, which knows no replica before it takes requests."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason, and the way out."""

    what: str
    """A sentence."""
    todo: str
    """A sentence; empty where there is nothing to do."""
    since_s: float | None = None


def why(facts: Facts, now: float) -> tuple[Finding, ...]:
    """Returns what there is to say of a model, the most pressing first.

    Args:
        facts: what is known.
        now: seconds since 1970.
    """
    if facts.standing.state is ModelState.STOPPED:
        return (Finding("It is stopped: its operator has taken its engines away.", f"`herd start {facts.model}` starts it."),)
    if facts.standing.state is ModelState.AT_ZERO:
        return _at_zero(facts, now)
    found = [*_placing(facts, now), *_starting(facts, now), *_wrong(facts, now)]
    missing = facts.standing.target - facts.standing.running
    if not found and missing <= 0:
        found.append(_well(facts, now))
    found += [*_dying(facts, now), *_failed(facts, now), *_given_up(facts)]
    if not found and missing > 0 and facts.by_http:
        found.append(Finding("No replica takes requests, as far as a gateway can tell.", ASK_THERE))
    elif not found and missing > 0:
        found.append(Finding(f"{missing} of {facts.standing.target} replicas are not there, and Ray Serve has not begun them.", WAIT))
    return (*found, *_size(facts, now))


def _size(facts: Facts, now: float) -> Iterator[Finding]:
    """Yields why it has as many replicas as it has, where autoscaling decides that."""
    size = facts.size
    if size is None:
        return
    since_s = now - size.at_s
    if since_s > OLD_S:
        yield Finding(f"Autoscaling last decided {span(since_s)} ago: {size.reason}", NO_DECISION, since_s)
    else:
        yield Finding(f"Autoscaling: {size.reason}", RAISED.get(size.binds, ""), since_s)
    if size.notice:
        yield Finding(f"{size.notice[:1].upper()}{size.notice[1:].rstrip('.')}.", "")


def _at_zero(facts: Facts, now: float) -> tuple[Finding, ...]:
    """Returns what there is to say of a model without replicas that may be so; a start that failed is the reason for it too."""
    usual = starts.usual_whole_s(facts.starts)
    takes = "" if usual is None else f", which takes about {span(usual)}"
    verb = "waits" if facts.queue == 1 else "wait"
    waiting = f" {_count(facts.queue, 'request')} {verb} for that now." if facts.queue else ""
    words = f"It is at zero: it has no replica while nobody asks for it, and starts with its first request{takes}.{waiting}"
    return Finding(words, ""), *_failed(facts, now)


def _placing(facts: Facts, now: float) -> Iterator[Finding]:
    without = [seat for seat in facts.seats if seat.state == PLACING]
    if facts.standing.why:
        since_s = None if facts.asked is None else now - facts.asked
        since = "" if since_s is None else f" The last change began {span(since_s)} ago."
        yield Finding(f"It waits for a place: {_cut(facts.standing.why)}.{since}", "Free what is short, or ask for less.", since_s)
    elif without:
        yield Finding(f"Ray is placing {_count(len(without), 'replica')}.", WAIT)


def _starting(facts: Facts, now: float) -> Iterator[Finding]:
    for seat in facts.seats:
        if seat.state != STARTING:
            continue
        since_s = None if seat.since is None else now - seat.since
        where = f" on {seat.node}" if seat.node else ""
        if seat.start is None:
            began = "" if since_s is None else f", {span(since_s)}"
            yield Finding(f"Replica {seat.replica}{where}: {BEFORE_START}{began}.", "", since_s)
            continue
        usual = starts.usual_whole_s(starts.alike(seat.start, facts.starts))
        whole = "" if usual is None else f"; a start takes about {span(usual)}"
        words = (
            f"Replica {seat.replica}{where}: {starts.told(seat.start, facts.starts, now)}, {span(now - seat.start.began)} in all{whole}."
        )
        yield Finding(words, _late(facts, seat) if starts.is_late(seat.start, facts.starts, now) else "", since_s)


def _late(facts: Facts, seat: Seat) -> str:
    return f"That is far more than usual. `herd logs {facts.model} --replica {seat.replica} -f` shows what it does."


def _wrong(facts: Facts, now: float) -> Iterator[Finding]:
    for seat in facts.seats:
        since_s = None if seat.since is None else now - seat.since
        if seat.state == "sick":
            canary = facts.canaries.get(seat.replica) or f"its canary is {seat.canary or 'not right'}"
            words = f"Replica {seat.replica} on {seat.node} is sick: {_cut(canary)}."
            way_out = f"Ray Serve restarts it. Where that comes again, `herd doctor` examines {seat.node}."
            yield Finding(words, way_out, since_s)
        elif seat.state == "dead":
            words = f"The engine of replica {seat.replica} on {seat.node} is dead, or does not answer."
            yield Finding(words, f"Ray Serve restarts it. `herd logs {facts.model} --replica {seat.replica}` has its last lines.", since_s)
        elif seat.slow:
            words = f"Replica {seat.replica} on {seat.node} is far slower than the others, and gets requests only while these are full."
            yield Finding(words, f"`herd doctor` examines {seat.node}.", since_s)


def _dying(facts: Facts, now: float) -> Iterator[Finding]:
    """Yields one finding where replicas die again and again, or where one that has died is not replaced yet: no row tells of it."""
    recent = [event for event in facts.deaths if event.when > now - DEATHS_S]
    if len(recent) < (MANY_DEATHS if facts.standing.running >= facts.standing.target else 1):
        return
    last, ago_s = recent[-1], now - recent[-1].when
    died = "One of its replicas has died" if len(recent) == 1 else f"{len(recent)} of its replicas have died, the last one"
    node = next((start.node for start in facts.starts if start.replica == last.subject), "")
    logs = f"`herd logs {facts.model} --replica {last.subject}` has its last lines."
    yield Finding(f"{died} {span(ago_s)} ago: {_cut(last.words)}.", f"{logs} {way_out(last.words, node)}".rstrip(), ago_s)


def _failed(facts: Facts, now: float) -> Iterator[Finding]:
    """Yields the last failed starts, unless one has come up since."""
    came_up = max((start.began for start in facts.starts if start.outcome == starts.READY), default=0.0)
    for start in failures(facts.starts, facts.seats, max(came_up, now - NEWS_S))[-MOST_FAILURES:]:
        ago_s = now - (start.began if start.ended is None else start.ended)
        phase = f" while {starts.CALLED[start.phase]}" if start.phase else ""
        cause = start.error or "it ended without a word, as a process that is killed (no memory left, or by hand)"
        words = f"A start on {start.node} failed {span(ago_s)} ago{phase}: {_cut(cause)}"
        logs = f"`herd logs {facts.model} --replica {start.replica}` has all of it."
        yield Finding(words, " ".join(filter(None, (way_out(cause, start.node), logs))), ago_s)


def _given_up(facts: Facts) -> Iterator[Finding]:
    goes_on = any(seat.state in (PLACING, STARTING) for seat in facts.seats)
    if facts.standing.state is ModelState.UNHEALTHY and facts.said and not goes_on:
        yield Finding(f"Ray Serve says: {_cut(facts.said)}", "Mend the cause, then `herd up FILE` again.")


def _well(facts: Facts, now: float) -> Finding:
    ready = [seat.since for seat in facts.seats if seat.state == "ready" and seat.since is not None]
    since_s = now - min(ready) if ready else None
    since = "" if since_s is None else f", its oldest replica for {span(since_s)}"
    verb = "waits" if facts.queue == 1 else "wait"
    queue = f" {_count(facts.queue, 'request')} {verb} at the gateway: all replicas are full." if facts.queue else ""
    return Finding(f"It runs{since}.{queue}", "", since_s)


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _cut(text: str) -> str:
    flat = " ".join(text.split()).rstrip(".")
    return flat if len(flat) <= MOST_CHARACTERS else f"{flat[: MOST_CHARACTERS - 1]}…"
