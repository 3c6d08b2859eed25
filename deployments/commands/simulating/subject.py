"""The subject of a simulation: one model of a config as an engine in virtual time, its bounds, its objectives, and the requests.

Decides which model, GPU, objectives and range a command line means, and what cannot be simulated. Everything is what `herd up` would run:
the planner's engine, the gateway's routing and limits, and the limits that the scaling decision is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from cluster.catalogue.hardware import Cluster
from cluster.planner.capacity import capacity
from cluster.planner.herd_fit import known_cluster
from cluster.planner.memory.engine import Engine
from cluster.scaling.limits import Limits
from cluster.scaling.pace import replica_of, sustained
from cluster.scaling.work import USUAL, Pace, Shape, Slo, Work
from configs import scaling as said
from configs.schema import Config, Model, Scaling
from deployments.lifecycle.fit import checked
from deployments.lifecycle.scaling_limits import wanted
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import StepTimes
from deployments.simulation.fleet import Pool, StartTimes
from deployments.simulation.loads.traces import BLOCK_TOKENS, Traced
from deployments.simulation.setup import Setup

#: Starts vary by this standard deviation of their logarithm.
SPREAD = 0.2
#: Monday at midnight, UTC, in seconds since 1970: simulations begin then.
MONDAY_S = 4 * 86_400.0
#: The replicas that the first so many seconds need are ready at the begin; the busiest so many are where the search for a number begins.
FIRST_S = 300.0


class CannotSimulate(ValueError):
    """There is nothing to simulate; the message names the field and the way out."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The words of a command line beside the config."""

    model: str | None = None
    slo: Mapping[str, float] = field(default_factory=dict)
    """Objectives that are not the model's own."""
    replicas: tuple[int, int] | None = None
    hardware: Cluster | None = None
    """None: the config's."""
    gpu_hour_price: float | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """One model on one kind of GPU."""

    model: Model
    engine: Engine
    slo: Slo
    pace: Pace
    limits: Limits | None
    """None: the number of replicas is fixed."""
    setup: Setup
    """Begins with one replica."""
    context_tokens: int
    gpu_hour_price: float | None

    @property
    def on(self) -> str:
        """Returns the GPUs of one replica in words."""
        return f"{self.engine.parallel.gpus}×{self.engine.gpu.name}"


def subject(config: Config, asked: Asked) -> Subject:
    """Returns what a config and a command line mean.

    Raises:
        CannotSimulate: it cannot be simulated.
        CannotPlan: a shape cannot be chosen.
    """
    index = _index(config, asked.model)
    model = _as_asked(config.models[index], asked)
    where = f"models[{index}]"
    if model.prefill is not None:
        raise CannotSimulate(
            f"{where}.prefill: prefill and decode apart cannot be simulated; lay null over it: --set models.{model.id}.prefill=null"
        )
    one = config.model_copy(update={"models": (model.model_copy(update={"fallbacks": ()}),)})
    hardware = asked.hardware or known_cluster(one)
    verdict = checked(one, hardware)[1].verdicts[0]
    if verdict.engine is None or verdict.capacity is None:
        raise CannotSimulate(f"{where}: the planner does not know its speed where it runs; name GPUs with --gpu H100, or in hardware.gpu")
    if verdict.problems:
        raise CannotSimulate(f"{where} does not fit {verdict.engine.gpu.name}: {verdict.problems[0]}")
    if verdict.model.parallel.pipeline > 1:
        raise CannotSimulate(f"{where}.parallel.pipeline: engines in several stages cannot be simulated; simulate one with tensor alone")
    return _made(verdict.model, verdict.engine, config, asked)


def _index(config: Config, name: str | None) -> int:
    ids = [one.id for one in config.models]
    if name is None and len(ids) == 1:
        return 0
    if name is None:
        scaled = [place for place, one in enumerate(config.models) if one.scaling is not None]
        if len(scaled) != 1:
            raise CannotSimulate(f"the config has several models: say which with --model; there are {', '.join(ids)}")
        return scaled[0]
    if name not in ids:
        raise CannotSimulate(f"--model {name!r} is not in the config; there are {', '.join(ids)}")
    return ids.index(name)


def _as_asked(model: Model, asked: Asked) -> Model:
    changes: dict[str, object] = {}
    if asked.slo:
        changes["slo"] = (model.slo or said.Slo()).model_copy(update=dict(asked.slo))
    if asked.replicas is not None:
        least, most = asked.replicas
        scale = model.scaling or Scaling()
        kept = tuple(one for one in scale.schedules if one.min_replicas <= most)
        changes |= {
            "scaling": scale.model_copy(update={"min_replicas": least, "max_replicas": most, "schedules": kept}),
            "replicas": None,
        }
    if asked.hardware is not None:
        changes["accelerator"] = "auto"
    return model.model_copy(update=changes)


def _made(model: Model, engine: Engine, config: Config, asked: Asked) -> Subject:
    slo = model.slo or said.Slo()
    objectives = Slo(slo.ttft_s, slo.itl_s, slo.quantile)
    price = model.scale.gpu_hour_price if asked.gpu_hour_price is None else asked.gpu_hour_price
    told = wanted(model, "", engine.gpu)
    limits = None if told is None else replace(told.limits, gpu_hour_price=price)
    held, ranks = capacity(engine), engine.parallel.data
    scale = model.scale
    setup = Setup(
        Size(held.pool_tokens, BLOCK_TOKENS, engine.max_num_batched_tokens * ranks, engine.max_num_seqs * ranks),
        StepTimes(engine),
        Pool(StartTimes((("start", scale.start_s),), SPREAD), engine.parallel.gpus, scale.gpus or float("inf"), model.stop_s),
        max(1, scale.min_replicas),
        scale.max_replicas,
        1,
        routing=config.gateway.routing,
        limits=config.gateway.limits,
        ttft_s=slo.ttft_s,
    )
    pace = limits.pace if limits is not None else sustained(replica_of(engine), USUAL, objectives).pace
    return Subject(model, engine, objectives, pace, limits, setup, min(model.context_tokens, held.pool_tokens), price)


def served(requests: Sequence[Traced], context_tokens: int) -> list[Traced]:
    """Returns the requests that a gateway lets through: those that fit into the context."""
    return [one for one in requests if one.prompt_tokens + one.output_tokens <= context_tokens]


def first_guesses(requests: Sequence[Traced], pace: Pace) -> tuple[int, int]:
    """Returns the replicas that the first minutes need by the planner's pace, and those that the busiest minutes need."""
    spans: dict[int, float] = {}
    for one in requests:
        span = int(one.at_s / FIRST_S)
        spans[span] = spans.get(span, 0.0) + pace.time_share(Work(one.prompt_tokens, one.output_tokens))
    seconds = min(FIRST_S, max(60.0, requests[-1].at_s))
    return max(1, ceil(spans.get(0, 0.0) / seconds)), max(1, ceil(max(spans.values()) / seconds))


def usual_answers(requests: Sequence[Traced]) -> float:
    """Returns the tokens of an answer on average."""
    return sum(one.output_tokens for one in requests) / len(requests)


def unmeetable(subject: Subject, requests: Sequence[Traced]) -> str:
    """Returns why no number of replicas keeps the objectives for requests of this length on average; empty where one does."""
    prompt = sum(one.prompt_tokens for one in requests) / len(requests)
    return sustained(replica_of(subject.engine), Shape(prompt, usual_answers(requests)), subject.slo).problem
