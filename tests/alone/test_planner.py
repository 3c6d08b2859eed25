"""The planner beside vLLM itself: the shapes that its models assert, the pool that its own functions compute, and small checkpoints."""

from typing import Any, get_args

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import Stored
from cluster.catalogue.models import CATALOGUE
from cluster.planner.kv_cache import kv_cache
from cluster.planner.legality import refusals
from cluster.planner.memory.engine import KV_BYTES, KvDtype
from configs.load import environment
from configs.names import Kind
from configs.schema import Parallelism
from deployments import small_models
from deployments.lifecycle.fit import stored_in
from tests.alone import vllm_itself


def test_legal_tensor_parallel_sizes_are_those_that_vllms_models_assert() -> None:
    architectures = [entry.decoder for entry in CATALOGUE.values() if entry.decoder]
    sizes = [*range(1, 17), 32, 40, 64]
    allowed = iter(vllm_itself.ask("assertions", [_for_vllm(one) for one in architectures], sizes))
    for architecture in architectures:
        for size in sizes:
            refused = "tensor" in dict(refusals(architecture, Parallelism(tensor=size)))
            assert next(allowed) == (not refused), (architecture, size)


def test_no_legal_shape_is_refused_by_vllms_own_check() -> None:
    asked = [
        (architecture, Parallelism(tensor=tensor, pipeline=pipeline, expert=expert))
        for architecture in (entry.decoder for entry in CATALOGUE.values() if entry.decoder)
        for tensor in (1, 2, 3, 4, 5, 8, 16)
        for pipeline in (1, 2, 4)
        for expert in (False, True)
    ]
    cases = [
        {"heads": one.heads, "experts": one.experts, **parallel.model_dump(include={"tensor", "pipeline", "expert"})}
        for one, parallel in asked
    ]
    accepted = vllm_itself.ask("verified", cases)
    assert set(accepted) == {True, False}
    for answer, (architecture, parallel) in zip(accepted, asked, strict=True):
        assert answer or list(refusals(architecture, parallel)), (architecture, parallel)


def _for_vllm(one: Architecture) -> dict[str, Any]:
    widths = [one.intermediate] if len(one.moe_layers) < one.layers else []
    widths += [one.expert_intermediate] if one.moe_layers else []
    widths += [one.vision.intermediate] if one.vision else []
    sizes = {name: getattr(one, name) for name in ("hidden", "heads", "kv_heads", "head_dim", "vocab")}
    return sizes | {"widths": widths, "vision": one.vision and [one.vision.hidden, one.vision.heads]}


def _cases() -> list[tuple[Architecture, Parallelism, KvDtype, bool, int, int]]:
    shapes_of = [shapes.SCOUT, shapes.MAVERICK, shapes.LLAMA_70B, shapes.LLAMA_405B, shapes.SMOLLM2, shapes.SCOUT_TINY, shapes.GUARD_4]
    return [
        (shape, parallel, dtype, hybrid, min(context, shape.max_positions), kv_gib << 30)
        for shape in shapes_of
        for parallel in (Parallelism(), Parallelism(tensor=8), Parallelism(tensor=2, pipeline=2), Parallelism(tensor=16, pipeline=4))
        for dtype in ("bf16", "fp8")
        for hybrid in (True, False)
        for context, kv_gib in ((8192, 1), (131_072, 10), (1_048_576, 40))
        if shape.heads % parallel.tensor == 0
    ]


def test_pool_and_refusal_are_those_of_vllms_own_functions() -> None:
    asked = [
        (shape, kv_cache(shape, parallel, KV_BYTES[dtype], hybrid=hybrid, in_flight_tokens=16_384), parallel, dtype, hybrid, context, size)
        for shape, parallel, dtype, hybrid, context, size in _cases()
    ]
    cases = [
        {
            "layers": shape.layers,
            "chunked": shape.chunked_layers,
            "chunk_tokens": shape.chunk_tokens,
            "heads": max(1, shape.kv_heads // parallel.tensor),
            "head_dim": shape.head_dim,
            "bytes": KV_BYTES[dtype],
            "block_tokens": cache.block_tokens,
            "pipeline": parallel.pipeline,
            "hybrid": hybrid,
            "context_tokens": context,
            "in_flight_tokens": 16_384,
            "kv_bytes": size,
        }
        for shape, cache, parallel, dtype, hybrid, context, size in asked
    ]
    found = vllm_itself.ask("pool", cases)
    assert len(found) == len(cases) > 100
    assert any(answer is None for answer in found)
    for answer, (shape, cache, parallel, _, _, context, size) in zip(found, asked, strict=True):
        blocks = cache.pool_blocks((size,) * parallel.pipeline)
        fits = cache.longest_request(blocks, shape.max_positions) >= context
        assert answer == ([blocks, cache.pool_tokens(blocks, context)] if fits else None)


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind.endswith("-tiny") or kind == "smollm2-135m"])
def test_a_checkpoint_has_the_weights_that_were_planned(kind: Kind) -> None:
    folder = small_models.ensure({"smollm2-135m": "smollm2-135m-instruct"}.get(kind, kind), environment().models)
    stored = stored_in(folder)
    assert stored is not None
    assert stored == Stored(CATALOGUE[kind].architecture, stored.layout)  # type: ignore[arg-type]
    weights = (folder / "model.safetensors").stat().st_size
    assert stored.layout.weight_bytes(stored.architecture) == pytest.approx(weights, rel=0.01)
