"""The arguments of a model's autoscaling: its config's numbers, and the pace of one replica.

Decides in which unit requests are weighed: in tokens where the planner knows the engine's speed on its GPUs, else in requests in flight, of
which a replica carries `target_ongoing_requests`.
"""

from cluster.catalogue.hardware import Gpu, cluster_of
from cluster.planner.engine_groups import only_prefills
from cluster.planner.herd_fit import engine_of
from cluster.scaling.config_problems import schedules_of
from cluster.scaling.limits import Limits, Tuning
from cluster.scaling.pace import Replica, replica_of, sustained
from cluster.scaling.work import USUAL, Pace, Slo
from configs import scaling as said
from configs.schema import Config, Model
from deployments.policy.scaling.load_report import Unit
from deployments.policy.scaling.sharing import Place
from deployments.policy.scaling.wanted import Wanted

#: Beside requests in flight nothing weighs anything.
WEIGHTLESS = 1e12
#: GPUs of a cluster to which Ray adds as many nodes as it is asked for.
UNBOUNDED = 1e9
#: A replica that is given up takes about so long for the requests that it has; its config's `stop_s` is the longest.
DRAIN_S = 60.0


def wanted(model: Model, release: str, gpu: Gpu | None = None) -> Wanted | None:
    """Returns what a model's autoscaling is told; None where there is nothing to decide.

    Args:
        model: the config's entry.
        release: of the code that declares it.
        gpu: on which its engines run; None: on none, or on one that the planner does not know.
    """
    scale = model.scale
    if scale.min_replicas == scale.max_replicas or only_prefills(model):
        return None
    slo = _slo(model.slo or said.Slo())
    replica = _replica(model, gpu)
    planned = None if replica is None else sustained(replica, USUAL, slo)
    usual = Tuning()
    patience_s = usual.patience_s if scale.patience_s is None else scale.patience_s
    limits = Limits(
        pace=Pace(WEIGHTLESS, WEIGHTLESS, scale.target_ongoing_requests) if planned is None else planned.pace,
        least=scale.min_replicas,
        most=scale.max_replicas,
        slo=slo,
        unmeetable="" if planned is None or model.slo is None else planned.problem,
        gpus_per_replica=gpus_of(model),
        gpus_most=scale.gpus,
        gpu_hour_price=scale.gpu_hour_price,
        hour_price_most=scale.hour_price,
        schedules=schedules_of(model),
        expected_start_s=scale.start_s,
        drain_s=min(DRAIN_S, model.stop_s),
        clear_s=scale.clear_s,
        headroom=scale.headroom,
        idle_s=scale.idle_s,
        release=release,
        tuning=Tuning(patience_s=patience_s, step_down_s=min(usual.step_down_s, patience_s)),
        replica=replica,
    )
    unit: Unit = "requests" if planned is None else "tokens"
    return Wanted(limits, unit, scale.target_ongoing_requests, model.parallel.data)


def place(pool: Model, coming: float = 0.0) -> Place:
    """Returns the place of a group of engines among all that want GPUs.

    Args:
        pool: the config's entry.
        coming: GPUs that the cluster may have, where Ray adds nodes.
    """
    gpus = 0 if pool.accelerator == "cpu" else gpus_of(pool)
    return Place(pool.scale.priority, gpus, coming)


def coming(config: Config) -> float:
    """Returns the GPUs that a cluster may have to which Ray adds nodes; 0 for one that has those that are there."""
    hardware = config.hardware
    if hardware is None or not hardware.elastic:
        return 0.0
    return float(hardware.nodes * cluster_of(hardware).node.gpus) if hardware.nodes is not None else UNBOUNDED


def _replica(model: Model, gpu: Gpu | None) -> Replica | None:
    """Returns a replica as the planner knows it; None where it does not."""
    engine = None if gpu is None or model.parallel.auto else engine_of(model, gpu)
    try:
        return None if engine is None else replica_of(engine)
    except ValueError:  # it does not fit by the planner's arithmetic: that is told elsewhere, and here is no reason not to scale
        return None


def _slo(told: said.Slo) -> Slo:
    return Slo(told.ttft_s, told.itl_s, told.quantile)


def gpus_of(model: Model) -> int:
    """Returns the GPUs of one whole replica: those of all its ranks; 1 on a CPU, where a replica is what there is to count."""
    return model.parallel.tensor * model.parallel.pipeline * model.parallel.data
