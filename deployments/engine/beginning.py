"""Prepares an engine's process before its engine starts, and tidies up when it has started: keys, place, weights, ports, memory.

Decides nothing about the replica itself. Sets what vLLM reads in the environment, and reads nothing there.
"""

import contextlib
import gc
import os
from typing import Any

import ray
from pydantic import SecretStr
from ray.serve.llm import LLMConfig

from cluster.planner.placement import straddled
from configs.keys import ROOT, SERVING, VARIABLES
from configs.load import REPLICA, environment
from configs.site import Site
from deployments.engine.vllm import grammar as vllm_grammar
from deployments.engine.vllm import info_lines, kept_starts, resume, token_by_token
from deployments.engine.vllm import worker_memory as vllm_memory
from deployments.ray_calls.nodes import of_own_bundles
from deployments.ray_calls.ray_guard import refuse_open
from deployments.weights import engine_start
from deployments.wire.sockets import listen

#: vLLM's processes answer to this replica only. Ray's token stays: those that are Ray's own workers need it.
NOT_FOR_CHILDREN = tuple(VARIABLES[purpose] for purpose in SERVING)


def key_of_the_door(site: Site) -> SecretStr:
    """Takes the key from the environment, so that vLLM's own processes, which inherit it, get neither key nor secret.

    Raises:
        RuntimeError: it is not there, or Ray asks for no token.
    """
    refuse_open(site)
    key = environment().key("door")
    for name in (ROOT, *NOT_FOR_CHILDREN):
        os.environ.pop(name, None)
    return key


class PlacementError(RuntimeError):
    """Ray has placed the engine where it would be slow; the message says what to do."""


def together(tensor: int | None) -> None:
    """Looks where Ray has placed this engine.

    Raises:
        PlacementError: a tensor parallel group is on several nodes.
    """
    if tensor is not None and (why := straddled(of_own_bundles(), tensor)):
        raise PlacementError(why)


def keep_what_is_loaded() -> None:
    """Takes what is loaded by now out of later collections: one that walks through it would stop every stream for a tenth of a second."""
    gc.collect()
    gc.freeze()


async def settled(config: dict[str, Any]) -> LLMConfig:
    """Returns vLLM's config, with all that must be there before the engine starts: weights, the backend for grammars, ports, our hooks.

    Raises:
        WeightsError: its weights cannot be had.
    """
    llm_config = LLMConfig(**config)
    await engine_start.settle(llm_config)
    vllm_grammar.settle(llm_config)
    vllm_memory.settle(llm_config)
    kept_starts.settle(environment().cache)
    if "kv_transfer_config" in llm_config.engine_kwargs:
        _own_side_channel()
    resume.serve_here()
    token_by_token.serve_here()
    return llm_config


def _own_side_channel() -> None:
    """A free port on which other engines may ask for this one's KV cache. Ray would count replicas, and take the same for two models."""
    with contextlib.closing(listen(ray.util.get_node_ip_address(), 0)) as free:
        os.environ["VLLM_NIXL_SIDE_CHANNEL_PORT"] = str(free.getsockname()[1])


def speak(replica: str, model: str) -> None:
    """Lets vLLM's lines appear in the log of this process and of the engine's others, which inherit the name of their replica."""
    os.environ[REPLICA] = f"{replica} {model}"
    info_lines.speak()
