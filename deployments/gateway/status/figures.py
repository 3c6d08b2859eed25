"""The figures of a model's last hour: per minute and per second, with quantiles of its latencies.

Decides how minutes of the clock become rows for a chart, and how a model is doing by what gateways know alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployments.policy.fleet.model_state import ModelState
from deployments.policy.records.history import MOST_MINUTES, Minute
from deployments.policy.records.verdict import Verdict
from deployments.policy.routing.types import ReplicaView
from monitoring.metrics import ITL, TTFT
from monitoring.quantiles import quantile

SHARES = {"p50": 0.5, "p95": 0.95}


@dataclass(frozen=True, slots=True)
class Model:
    """All that the page shows of a model."""

    id: str
    state: ModelState
    ready: int = 0
    ongoing: int = 0
    waiting: int = 0
    size: Verdict | None = None
    """The last decision of autoscaling."""
    starting: Sequence[str] = ()
    """Sentences about starts that go on."""
    replicas: Sequence[ReplicaView] = ()
    minutes: Sequence[Minute] = field(default=())


def state_of(ready: int, known: int, starting: int, at_zero: bool) -> ModelState:
    """Returns one word for a model.

    Args:
        ready: replicas that take requests.
        known: replicas that the gateways know, ready or not.
        starting: starts that go on.
        at_zero: it may have no replica, and has none.
    """
    if ready:
        return ModelState.RUNNING
    if known:
        return ModelState.UNHEALTHY
    return ModelState.AT_ZERO if at_zero and not starting else ModelState.STARTING


def last_hour(minutes: Sequence[Minute], at: int) -> list[Minute | None]:
    """Returns a row for each minute of the hour that ends with the minute `at`; None where nothing was written down."""
    by_time = {one.at: one for one in minutes}
    return [by_time.get(one) for one in range(at - MOST_MINUTES + 1, at + 1)]


def latencies(one: Minute, minute_s: float) -> dict[str, Any]:
    """Returns a minute for programs: counts, and the seconds below which a share of the latencies lies."""
    counted = one.counted
    return {
        "at": round(one.at * minute_s),
        "requests": counted.requests,
        "failed": counted.failed,
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "ttft_s": {name: quantile(TTFT.buckets, counted.ttft, share) for name, share in SHARES.items()},
        "itl_s": {name: quantile(ITL.buckets, counted.itl, share) for name, share in SHARES.items()},
        "waiting": one.end.waiting,
        "ongoing": one.end.ongoing,
        "ready": one.end.ready,
    }


def told_all(histories: Mapping[str, Sequence[Minute]], minute_s: float) -> dict[str, list[dict[str, Any]]]:
    """Returns all minutes of all models for programs."""
    return {model: [latencies(one, minute_s) for one in minutes] for model, minutes in histories.items()}
