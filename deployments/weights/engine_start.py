"""The step before an engine starts: its weights are on all of its nodes, whole and checked, or are brought there.

Decides that an engine never asks the Hub what is pulled already: it gets the folder. What is not pulled comes as `herd pull` brings it,
from a node that has it before the Hub. Where neither can give it, the engine is left to what vLLM finds in the Hub's cache itself.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.catalogue.weights import Node, Source, size, sources_of
from deployments.ray_calls import llm_config as ray_llm
from deployments.ray_calls import nodes as ray_nodes
from deployments.weights.agent import held
from deployments.weights.cache import WeightsError, cache_of
from deployments.weights.checkpoint_folder import why_no_checkpoint
from deployments.weights.origins import HubUnreachable

logger = logging.getLogger("ray.serve")


async def settle(llm_config: Any) -> None:  # noqa: ANN401 (ray.serve.llm.LLMConfig)
    """Brings what an engine takes from the Hub to the nodes of its placement group, and lets it read those folders.

    Raises:
        WeightsError: see `folders`; or its checkpoint is a folder, and not there.
    """
    ray_llm.fetch_from_buckets_only(llm_config)
    checkpoint = ray_llm.checkpoint_of(llm_config)
    if checkpoint is not None and (why := await asyncio.to_thread(why_no_checkpoint, checkpoint)):
        raise WeightsError(why)
    if checkpoint is None or not sources_of(checkpoint, llm_config.engine_kwargs):
        return
    nodes, own = ray_nodes.of_own_placement_group(), ray_nodes.own()
    ray_llm.take_from_folders(llm_config, await asyncio.to_thread(folders, checkpoint, llm_config.engine_kwargs, nodes, own))


def folders(checkpoint: str, engine: Mapping[str, Any], nodes: Sequence[str], own: str) -> dict[str, str]:
    """Where everything is that an engine takes from the Hub; brings it first where it is missing. Takes as long as that takes.

    Args:
        checkpoint: the model's.
        engine: vLLM's arguments.
        nodes: ids of the nodes that the engine is spread over.
        own: this one.

    Returns:
        Folders by what they are for: `checkpoint`, `tokenizer`, `draft`. What is not from the Hub is left out.

    Raises:
        WeightsError: it cannot be had, or nodes have it at different places.
    """
    found = {}
    for what, source in sources_of(checkpoint, engine).items():
        whole = held(source).whole if set(nodes) == {own} else None
        folder = str(cache_of(source).snapshot(whole.commit)) if whole else _brought(source, nodes)
        if folder is not None:
            found[what] = folder
    return found


def _brought(source: Source, nodes: Sequence[str]) -> str | None:
    from deployments.weights.crew import alive, crew_of

    everyone = alive()
    with crew_of(everyone) as crew:
        try:
            return _everywhere(crew, source, [node for node in everyone if node.id in nodes])
        except HubUnreachable:
            if _in_hubs_cache(source):
                logger.warning("%s was never pulled and cannot be now; vLLM takes what it finds in the Hub's cache", source)
                return None
            raise


def _everywhere(crew: Any, source: Source, nodes: Sequence[Node]) -> str:  # noqa: ANN401 (deployments.weights.crew.Crew, which needs Ray)
    from deployments.weights.spread import Need, Whence, bring, jobs

    need = Need(source, tuple(node.id for node in nodes))
    (job,) = jobs(crew, [need], Whence.AUTO, fresh=False, say=logger.info)
    if job.missing:
        logger.info("%s (%s) comes to %s", source, size(job.manifest.size_bytes), ", ".join(crew.names[node] for node in job.missing))
        outcome = bring(crew, job, Whence.AUTO, see=lambda rows: None)
        for node, error in outcome.failed.items():
            raise WeightsError(f"{source} did not come to {crew.names[node]}: {error}")
    paths = crew.ask(need.targets, "path", source, job.manifest)
    if len(set(map(str, paths.values()))) > 1:
        places = ", ".join(f"{crew.names[node]}: {path}" for node, path in paths.items())
        raise WeightsError(f"{source} is at different places on the engine's nodes ({places}). Set HF_HOME alike for each node's Ray.")
    return str(next(iter(paths.values())))


def _in_hubs_cache(source: Source) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(source.repository, "config.json", source.cache, source.revision), str)
