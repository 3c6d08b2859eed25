"""`cluster.planner.memory.weights`: what an engine is told changes what its GPUs hold."""

from dataclasses import replace

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.checkpoints import BF16
from cluster.catalogue.hardware import GIB, GPUS
from cluster.planner.capacity import capacity
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.memory.weights import rope_bytes, stage_weight_bytes
from configs.schema import Parallelism

PLAIN = Engine(shapes.LLAMA_8B, BF16, GPUS["H100"], Parallelism(), Settings(8192))


def told(**said: object) -> Engine:
    return replace(PLAIN, settings=replace(PLAIN.settings, **said))  # type: ignore[arg-type]


def test_offloaded_weights_are_not_on_the_gpu_and_never_below_nothing() -> None:
    (whole,), (rest,) = stage_weight_bytes(PLAIN), stage_weight_bytes(told(cpu_offload_bytes=4 * GIB))
    assert whole - rest == 4 * GIB
    assert stage_weight_bytes(told(cpu_offload_bytes=40 * GIB)) == (0.0,)


def test_float32_doubles_weights_and_rope_cache() -> None:
    wide = replace(told(element_bytes=4.0), layout=replace(BF16, plain_bytes=4.0))
    assert stage_weight_bytes(wide)[0] == 2 * stage_weight_bytes(PLAIN)[0]
    assert rope_bytes(wide) == 2 * rope_bytes(PLAIN)


def test_pinned_kv_cache_is_what_it_is_told_and_pinned_blocks_are_the_pool() -> None:
    pinned = capacity(told(kv_cache_memory_bytes=10 * GIB))
    assert (pinned.kv_bytes, pinned.pool_tokens, pinned.problems) == (10 * GIB, 81_920, ())
    assert capacity(told(num_gpu_blocks_override=1000)).pool_tokens == pytest.approx(16_000, rel=0.01)
