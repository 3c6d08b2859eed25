"""What a model's autoscaling is told: its config's numbers, and the pace of one replica.

Decides in which unit requests are weighed: in requests in flight, of which a replica carries `target_ongoing_requests`.
"""

from cluster.planner.engine_groups import only_prefills
from cluster.scaling.config_problems import schedules_of
from cluster.scaling.limits import Limits, Tuning
from cluster.scaling.work import Pace, Slo
from configs.schema import Model
from deployments.policy.scaling.wanted import Wanted

#: Beside requests in flight nothing weighs anything.
WEIGHTLESS = 1e12
#: A replica that is given up takes about so long for the requests that it has; its config's `stop_s` is the longest.
DRAIN_S = 60.0


def wanted(model: Model, release: str) -> Wanted | None:
    """Returns what a model's autoscaling is told; None where there is nothing to decide."""
    scale = model.scale
    if scale.min_replicas == scale.max_replicas or only_prefills(model):
        return None
    limits = Limits(
        pace=Pace(WEIGHTLESS, WEIGHTLESS, scale.target_ongoing_requests),
        least=scale.min_replicas,
        most=scale.max_replicas,
        slo=None if model.slo is None else Slo(model.slo.ttft_s, model.slo.itl_s, model.slo.quantile),
        gpus_per_replica=gpus_of(model),
        gpus_most=scale.gpus,
        gpu_hour_price=scale.gpu_hour_price,
        hour_price_most=scale.hour_price,
        schedules=schedules_of(model),
        expected_start_s=scale.start_s,
        drain_s=min(DRAIN_S, model.stop_s),
        clear_s=scale.clear_s,
        idle_s=scale.idle_s,
        release=release,
        tuning=Tuning(patience_s=scale.patience_s, step_down_s=min(Tuning().step_down_s, scale.patience_s / 2)),
    )
    return Wanted(limits, "requests", scale.target_ongoing_requests, model.parallel.data)


def gpus_of(model: Model) -> int:
    """Returns the GPUs of one whole replica: those of all its ranks."""
    return model.parallel.tensor * model.parallel.pipeline * model.parallel.data
