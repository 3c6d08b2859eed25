"""The decision's view: replicas as Ray Serve has them, and load as gateways and engines report it.

Counts are whole replicas. Where Ray counts the ranks of a gang, `cluster.scaling.gangs` makes replicas of them. Times are seconds of one
clock, whichever the caller takes: the decision only compares them.
"""

from dataclasses import dataclass

from cluster.scaling.work import NO_WORK, Work


@dataclass(frozen=True, slots=True)
class Start:
    """A replica that is asked for and not ready."""

    begun_s: float
    """When its first attempt began."""
    failures: int = 0
    """How many attempts have failed."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """New requests of a short time, as they came: those that were refused count, a client's retry of one does not."""

    begun_s: float
    seconds: float
    requests: float = 0.0
    work: Work = NO_WORK
    """Of these requests. The length of an answer that is not finished is the one that is usual for the model."""
    cached_tokens: float = 0.0
    """Tokens of their prompts that prefix caches had."""
    squared_tokens: float = 0.0
    """The squares of the lengths of their prompts, added up; 0 where nobody counts them."""


@dataclass(frozen=True, slots=True)
class Served:
    """The work that replicas did in a short time in which requests waited for them all the while."""

    ended_s: float
    replica_s: float
    """Their number times the seconds."""
    work: Work
    youngest_s: float
    """Age of the youngest of them since it was ready."""
    itl_s: float = 0.0
    """Seconds between tokens, at the objective's quantile; 0 where it is unknown."""


@dataclass(frozen=True, slots=True)
class Report:
    """The load of a model. Buckets of a time that nobody observed are left out; an empty bucket says that no request came."""

    taken_s: float
    """When the newest part of it was observed."""
    arrivals: tuple[Bucket, ...] = ()
    """Oldest first, without overlap; bounded by the reporter."""
    backlog: Work = NO_WORK
    """Of requests that wait, in gateways and in engines' own queues. Requests that run are not in it."""
    waiting_requests: float = 0.0
    running_requests: float = 0.0
    start_times_s: tuple[float, ...] = ()
    """Seconds that recent starts took until ready, on nodes like those that the next start would get."""
    served: tuple[Served, ...] = ()
    """Oldest first."""
    release: str = ""
    """Of the code that made the report."""
    missing: int = 0
    """Gateways that should have reported and did not: the load is at least this one."""
    error: str = ""
    """Why there is no report to believe: what was raised while it was made."""
    in_flight: Work = NO_WORK
    """The load of all requests that wait in gateways or run, a rate: where requests in flight are what replicas are counted by, and
    arrivals may say too little, because requests wait or did a moment ago. Nothing otherwise."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A model's replicas, and its report where there is one."""

    target: int
    """Replicas that Ray Serve was last told to have. The decision holds it whenever it does not know better."""
    ready: int
    """Of all releases."""
    starting: tuple[Start, ...] = ()
    draining: int = 0
    """They finish what they have, hold their GPUs, and take no new request."""
    rolling: bool = False
    """Two releases of the model's engines run side by side."""
    report: Report | None = None
