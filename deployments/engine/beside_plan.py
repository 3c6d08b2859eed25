"""The figures of a replica's engine beside the plan: asked for once, when the engine has started, and kept.

Decides nothing that a request depends on: an engine whose workers cannot tell their memory serves all the same, and is shown so.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import REGISTRY, CollectorRegistry

from cluster.catalogue.checkpoints import Stored
from cluster.catalogue.config_quantization import layout_from
from cluster.catalogue.config_shape import NotRead, architecture_from
from cluster.planner.started.beside import beside_plan
from cluster.planner.started.figures import Report, as_plain, differences
from configs.load import ConfigError, checkpoint_config
from configs.schema import Model
from deployments.engine.load import EngineLoad
from deployments.engine.vllm.engine_state import EngineState
from monitoring.engine_page import Cost, show_engine

#: Longest wait for the workers of an engine that has nothing else to do yet.
WORKERS_S = 30.0


async def report(state: EngineState, model: Model) -> Report | None:
    """Returns an engine's figures beside its plan; None where its workers do not tell theirs."""
    log = structlog.get_logger("herd.engine")
    try:
        async with asyncio.timeout(WORKERS_S):
            started = await state.started()
    except Exception as error:  # noqa: BLE001 (whatever vLLM raises: that a figure is missing is no reason not to serve)
        log.warning("memory_not_told", model=model.id, error=f"{type(error).__name__}: {error}")
        return None
    return beside_plan(model, started, _stored(model.checkpoint))


def cost(found: Report | None, model: str, gpus: int, since_s: float, load: EngineLoad) -> Cost:
    """Returns what counts a replica's GPUs and its KV cache, times seconds; the cache only where the engine tells its size.

    Args:
        found: by `report`.
        model: its id.
        gpus: the replica's, as its plan counts them: at least 1, also on a CPU.
        since_s: when its start began, on the monotonic clock.
        load: reads how much of the cache is held.
    """
    kv_bytes = None if found is None else found.told.kv_bytes
    if kv_bytes is None:
        return Cost(model, gpus, since_s, None)
    of_all = kv_bytes * gpus
    return Cost(model, gpus, since_s, lambda: load.held_s() * of_all)


def shown(found: Report | None, start_s: float, model: str, registry: CollectorRegistry = REGISTRY) -> dict[str, Any]:
    """Shows an engine's figures beside its plan: on its page, and in its log where they differ. Returns them for gateways.

    Args:
        found: by `report`; None where the engine tells nothing, and then nothing is shown.
        start_s: seconds that the replica's start took.
        model: its id.
        registry: whose page the engine shows.
    """
    if found is None:
        return {}
    for sentence in differences(found):
        structlog.get_logger("herd.engine").warning("not_as_planned", model=model, difference=sentence)
    whole = replace(found, told=replace(found.told, start_s=start_s))
    show_engine(registry, model, whole)
    return as_plain(whole)


def _stored(checkpoint: str) -> Stored | None:
    """Reads what a checkpoint's folder says of itself, as `herd plan` does; None where it is no folder, or cannot be planned by."""
    folder = Path(checkpoint)
    try:
        config = checkpoint_config(folder) if folder.is_absolute() else None
        if config is None:
            return None
        architecture = architecture_from(config)
        return Stored(architecture, layout_from(config, architecture))
    except (ConfigError, NotRead):
        return None
