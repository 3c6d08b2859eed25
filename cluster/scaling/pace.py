"""The pace of one replica, from the planner: the largest load at which its requests keep their objectives.

A prompt goes through the engine in pieces, beside one token for each request that decodes; the steps between have no piece. With requests
`rate` a second, pieces `k` a prompt, steps of `t1` seconds with a piece and `t0` without one, and answers of `n` tokens:

    1 / itl = rate · k + (1 - rate · k · t1) / t0        tokens a second that each request gets
    running = rate · n · itl                             Little's law
    busy    = rate · k · t1                              the share of time in which prompts are read
    ttft    = t0 + k · t1 + wait,  P(wait > w) = busy · exp(-2 · (1 - busy) · w / (k · t1 · (1 + v)))

The last line is Kingman's tail of a line with random arrivals (1961): `v` is the variance of the prompts' lengths over the square of their
mean, as in the mean wait of Pollaczek and Khinchine, for short prompts wait behind long ones. The batch fluctuates as Poisson's law has it,
so the time between tokens holds at its quantile. The time that a prompt adds to the steps is its share, and the rest is the answers': so
the shares of `Pace` add up to one at this load.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, log, sqrt
from statistics import NormalDist

from cluster.planner.capacity import capacity
from cluster.planner.memory.engine import Engine
from cluster.planner.speed import Step, StepCosts, step_costs
from cluster.scaling.work import Pace, Shape, Slo, Work

#: The share of the largest load to which it is looked for, halvings of the interval in which it lies, and turns in which the batch settles.
EXACT, HALVINGS, TURNS = 1e-5, 30, 20
#: A share of the KV cache stays free: an engine that fills it to the last block preempts.
KV_FILL = 0.9
#: Objectives that even an idle replica misses are replaced by this multiple of what it does. The one for the first token is never less than
#: that: else a replica would do nearly nothing where prompts are a hair shorter than those that an idle one misses it for.
RELAXED = 2.0


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as plain numbers: all that its pace depends on, small enough for the arguments of a policy."""

    costs: StepCosts
    step_tokens: int
    """Of one step at most, prompts' and answers'."""
    requests: int
    """That run at once."""
    kv_tokens: float
    """Of its KV cache that may be filled."""
    stages: int = 1
    """Of its pipeline."""


@dataclass(frozen=True, slots=True)
class Sustained:
    """The largest load of one replica within the objectives, and what its requests see at it."""

    pace: Pace
    requests_s: float
    ttft_s: float
    """At the objective's quantile, as `itl_s` is."""
    itl_s: float
    running: float
    each: Work
    """The work of one request."""
    problem: str = ""
    """Why no number of replicas meets the objectives. The pace is then one at objectives of twice what an idle replica does."""


@dataclass(frozen=True, slots=True)
class _Load:
    """One stage's batch at a rate of requests, in seconds and requests."""

    rate: float
    running: float
    pieces: int
    without_s: float
    with_s: float
    busy: float

    @property
    def token_s(self) -> float:
        return 1 / (self.rate * self.pieces + (1 - self.busy) / self.without_s)


def replica_of(engine: Engine, decode: float = 1.0) -> Replica:
    """Returns a replica as plain numbers.

    Args:
        engine: the replica, as the planner knows it.
        decode: factor on the time of its steps that is no arithmetic, where it has been measured.

    Raises:
        ValueError: the engine does not fit its GPUs; the text says why.
    """
    held = capacity(engine)
    if held.problems:
        raise ValueError(f"the engine does not fit: {held.problems[0]}")
    requests = engine.max_num_seqs * engine.parallel.data
    kv_tokens = held.pool_tokens * KV_FILL
    return Replica(step_costs(engine, decode), engine.max_num_batched_tokens, requests, kv_tokens, engine.parallel.pipeline)


def sustained(replica: Replica, shape: Shape, slo: Slo) -> Sustained:
    """Returns the pace of a replica for requests of a shape."""
    idle = _load(replica, shape, 0.0, 1.0)
    idle_s = idle.pieces * idle.with_s
    problem = _problem(shape, slo, idle_s, idle.without_s)
    near = replace(slo, ttft_s=max(slo.ttft_s, RELAXED * idle_s))
    relaxed = replace(near, itl_s=max(slo.itl_s, RELAXED * idle.without_s))
    most = 1 / idle_s
    load = (None if problem else _largest(replica, shape, near, most)) or _largest(replica, shape, relaxed, most) or idle
    return replace(_sustained(replica, shape, slo, load), problem=problem)


def pace_of(replica: Replica, shape: Shape, slo: Slo) -> Pace:
    """Returns the pace of a replica for requests of a shape, rounded to what a mean of a few requests is worth."""
    return _pace(replica, shape.rounded(), slo)


@lru_cache(maxsize=256)
def _pace(replica: Replica, shape: Shape, slo: Slo) -> Pace:
    return sustained(replica, shape, slo).pace


def _largest(replica: Replica, shape: Shape, slo: Slo, most: float) -> _Load | None:
    """Returns the load with the most requests a second, below `most`, that keeps the objectives; None where none does."""
    found, least = None, 0.0
    for _ in range(HALVINGS):
        middle = (least + most) / 2
        load = _settled(replica, shape, middle)
        if load is not None and _holds(replica, shape, slo, load):
            least, found = middle, load
        else:
            most = middle
        if most - least <= EXACT * most:
            break
    return found


def _problem(shape: Shape, slo: Slo, ttft_s: float, itl_s: float) -> str:
    for name, least, wanted in (("ttft_s", ttft_s, slo.ttft_s), ("itl_s", itl_s, slo.itl_s)):
        if least > wanted:
            return (
                f"no number of replicas meets slo.{name} {wanted:g}: an idle replica takes {least:.3g} s for prompts of"
                f" {shape.uncached_tokens:.0f} tokens that no cache has; raise slo.{name}, or take more GPUs for each replica"
            )
    return ""


def _load(replica: Replica, shape: Shape, rate: float, running: float) -> _Load:
    """The steps of one pipeline stage's batch: all stages work at once, each on its share of the requests."""
    context = shape.prompt_tokens + shape.answer_tokens / 2
    pieces = ceil(shape.uncached_tokens / max(1.0, replica.step_tokens - running))
    decode = Step(decode_requests=running, decode_context_tokens=context)
    piece = replace(
        decode,
        prefill_tokens=shape.uncached_tokens / pieces,
        prefill_context_tokens=shape.prompt_tokens - shape.uncached_tokens + shape.uncached_tokens * (pieces - 1) / (2 * pieces),
    )
    with_s = replica.costs.seconds(piece)
    return _Load(rate, running, pieces, replica.costs.seconds(decode), with_s, rate * pieces * with_s)


def _room(replica: Replica, shape: Shape) -> float:
    """Counts the requests that one stage's batch has room for: by their number, and by the KV cache."""
    by_cache = replica.kv_tokens / (shape.prompt_tokens + shape.answer_tokens / 2)
    return min(replica.requests, by_cache) / replica.stages


def _settled(replica: Replica, shape: Shape, rate: float) -> _Load | None:
    """The batch that a rate settles at; None where prompts take all the time or the batch has no room."""
    load, room = _load(replica, shape, rate, 1.0), _room(replica, shape)
    for _ in range(TURNS):
        if load.busy >= 1:
            return None
        running = max(1.0, rate * shape.answer_tokens * load.token_s)
        if running > max(1.0, room):
            return None
        if abs(running - load.running) <= EXACT * running:
            break
        load = _load(replica, shape, rate, running)
    return load if load.busy < 1 else None


def _holds(replica: Replica, shape: Shape, slo: Slo, load: _Load) -> bool:
    return _ttft_s(load, shape, slo.quantile) <= slo.ttft_s and _itl_s(replica, shape, load, slo.quantile) <= slo.itl_s


def _ttft_s(load: _Load, shape: Shape, quantile: float) -> float:
    service_s = load.pieces * load.with_s
    wait_s = service_s * (1 + shape.variation) / (2 * (1 - load.busy)) * log(max(1.0, load.busy / (1 - quantile)))
    return service_s + wait_s + (load.without_s if load.rate else 0.0)


def _itl_s(replica: Replica, shape: Shape, load: _Load, quantile: float) -> float:
    """Seconds between tokens while the batch is as large as it is at a quantile of the time."""
    large = load.running + NormalDist().inv_cdf(quantile) * sqrt(load.running)
    crowded = _load(replica, shape, load.rate, max(1.0, large))
    return crowded.token_s if crowded.busy < 1 else crowded.with_s


def _sustained(replica: Replica, shape: Shape, slo: Slo, load: _Load) -> Sustained:
    stages = replica.stages
    prompt_s = max(load.pieces * (load.with_s - load.without_s), 1e-12)  # nothing, beside contexts that nobody can have counted
    answers = max(1e-9, 1 - load.rate * prompt_s)
    held_s = load.pieces * load.with_s + shape.answer_tokens * load.token_s
    each = Work(shape.uncached_tokens, shape.answer_tokens, (shape.prompt_tokens + shape.answer_tokens / 2) * held_s)
    pace = Pace(
        prefill_tokens_s=stages * shape.uncached_tokens / prompt_s,
        decode_tokens_s=stages * max(load.rate * shape.answer_tokens, 1e-9) / answers,
        kv_tokens=replica.kv_tokens,
    )
    return Sustained(
        pace=pace,
        requests_s=1 / pace.replicas(each),
        ttft_s=_ttft_s(load, shape, slo.quantile),
        itl_s=_itl_s(replica, shape, load, slo.quantile),
        running=load.running * stages,
        each=each,
    )
