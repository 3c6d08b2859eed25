"""The planner's speed of a model under the load of a benchmark, to stand beside the measured one."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from deployments.commands.using.benchmark.load import Load
from deployments.lifecycle.herd import Herd


@dataclass(frozen=True, slots=True)
class Planned:
    """The planner's speed of all replicas of a model together."""

    on: str
    """Its GPUs and replicas, in words."""
    ttft_ms: float
    """Of one prompt at an idle replica."""
    itl_ms: float
    output_tokens_s: float


def planned(herd: Herd | None, model_id: str, load: Load, figures: Mapping[str, Any]) -> Planned | str:
    """Returns what the planner expects; or why it expects nothing, as a sentence.

    Requests that came at a rate are taken for as many at once as there were on average: the sum of their times over the duration (Little).
    """
    if herd is None:
        return "No plan: only the gateway's address is known here, and not the herd's config."
    if load.trace is not None:
        return "No plan: the requests of a trace differ in length."
    from cluster.planner.herd_fit import known_cluster
    from cluster.planner.search import with_room
    from cluster.planner.speed import Load as Asked
    from cluster.planner.speed import speed
    from configs.load import ConfigError
    from deployments.lifecycle.fit import CannotPlan, checked

    try:
        verdicts = checked(herd.config, known_cluster(herd.config))[1].verdicts
    except (CannotPlan, ConfigError) as error:
        return f"No plan: {error}"
    one = next((one for one in verdicts if one.model.id == model_id), None)
    if one is None or one.gpu is None:
        return "No plan for CPU: the planner knows the speed of GPUs only."
    if one.engine is None or one.capacity is None:
        return "No plan: the planner does not know this model's shape."
    replicas = max(1, one.model.scale.min_replicas)
    at_once = load.concurrency if load.rate is None and load.concurrency else _at_once(figures)
    asked = Asked(max(1, ceil(min(at_once, load.requests) / replicas)), load.input_tokens, load.output_tokens)
    found = speed(one.engine, asked, with_room(one.engine, one.capacity, asked))
    on = f"{replicas} × {one.engine.parallel.gpus} {one.gpu.name}"
    return Planned(on, found.ttft_s * 1000, 1000 / found.user_tokens_s, found.replica_tokens_s * replicas)


def _at_once(figures: Mapping[str, Any]) -> int:
    mean_ms, count, duration_s = (float(figures[name]) for name in ("mean_e2el_ms", "completed", "duration"))
    return max(1, round(mean_ms / 1000 * count / duration_s))
