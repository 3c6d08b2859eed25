"""`cluster.planner.kv_cache`: vLLM's groups, blocks and pool. `tests/alone/test_planner.py` holds it against running engines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture, every
from cluster.catalogue.models import CATALOGUE
from cluster.planner.kv_cache import KvCache, kv_cache, stages
from configs.schema import Parallelism

GIB = 2**30
DECODERS = st.sampled_from([entry.decoder for entry in CATALOGUE.values() if entry.decoder])


def scout(hybrid: bool = True, tensor: int = 8, pipeline: int = 1) -> KvCache:
    return kv_cache(shapes.SCOUT, Parallelism(tensor=tensor, pipeline=pipeline), 2, hybrid=hybrid, in_flight_tokens=16_384)


@pytest.mark.parametrize(
    ("layers", "pipeline", "sizes"), [(48, 1, (48,)), (48, 2, (24, 24)), (126, 4, (31, 32, 32, 31)), (30, 4, (7, 8, 8, 7)), (5, 2, (3, 2))]
)
def test_stages_are_vllms(layers: int, pipeline: int, sizes: tuple[int, ...]) -> None:
    found = stages(layers, pipeline)
    assert tuple(map(len, found)) == sizes
    assert [layer for stage in found for layer in stage] == list(range(layers))


def test_llama_4_has_a_group_of_global_layers_and_three_of_chunked() -> None:
    groups = scout().groups
    assert [(len(group.layers), group.chunked) for group in groups] == [(12, False), (12, True), (12, True), (12, True)]
    assert sorted(layer for group in groups for layer in group.layers) == list(range(48))
    assert [len(group.layers) for group in scout(hybrid=False).groups] == [48]
    assert scout(pipeline=2).widest == (6, 6)


def test_nearly_equal_kinds_of_layers_make_two_groups() -> None:
    shape = Architecture(5, 64, 4, 4, 16, 64, 64, 64, chunk_tokens=16, global_layers=(1, 3))
    found = kv_cache(shape, Parallelism(), 2, hybrid=True, in_flight_tokens=0)
    assert [(group.layers, group.chunked) for group in found.groups] == [((1, 3), False), ((0, 4), True), ((2,), True)]
    even = kv_cache(
        Architecture(4, 64, 4, 4, 16, 64, 64, 64, chunk_tokens=16, global_layers=every(4, 2)),
        Parallelism(),
        2,
        hybrid=True,
        in_flight_tokens=0,
    )
    assert [len(group.layers) for group in even.groups] == [2, 2]


def test_layers_that_are_all_chunked_make_one_group() -> None:
    found = kv_cache(Architecture(4, 64, 4, 4, 16, 64, 64, 64, chunk_tokens=16), Parallelism(), 2, hybrid=True, in_flight_tokens=0)
    assert [(len(group.layers), group.chunked) for group in found.groups] == [(4, True)]
    assert found.bytes_per_token == 0


@pytest.mark.parametrize(("hybrid", "kib"), [(False, 192), (True, 48)])
def test_bytes_per_token_of_scout(hybrid: bool, kib: int) -> None:
    assert scout(hybrid).bytes_per_token * 8 == kib * 1024
    assert scout(hybrid, tensor=1).bytes_per_token == kib * 1024


def test_kv_heads_are_copied_and_not_split_further_than_one() -> None:
    sixteen = kv_cache(shapes.LLAMA_70B, Parallelism(tensor=16), 2, hybrid=True, in_flight_tokens=0)
    eight = kv_cache(shapes.LLAMA_70B, Parallelism(tensor=8), 2, hybrid=True, in_flight_tokens=0)
    assert sixteen.page_bytes == eight.page_bytes


def test_request_holds_a_chunk_and_what_is_in_flight() -> None:
    cache = scout()
    assert cache.blocks(8192) == 4 * 512
    assert cache.blocks(1_048_576) == 65_536 + 3 * (8192 + 16_384) // 16
    assert cache.blocks(1_048_576, in_flight_tokens=0) == 65_536 + 3 * 512


@given(DECODERS, st.booleans(), st.integers(0, 1 << 22), st.integers(16, 1 << 20))
def test_longest_request_fits_and_one_more_token_does_not(shape: Architecture, hybrid: bool, blocks: int, most: int) -> None:
    cache = kv_cache(shape, Parallelism(), 2, hybrid=hybrid, in_flight_tokens=4096)
    longest = cache.longest_request(blocks, most)
    assert longest == 0 or cache.blocks(longest) <= blocks - 1
    assert longest == most or cache.blocks(longest + 1) > blocks - 1


@given(DECODERS, st.booleans(), st.integers(0, 1 << 22), st.integers(1, 1 << 20), st.integers(1, 1 << 20))
def test_more_blocks_and_shorter_requests_never_fit_fewer(shape: Architecture, hybrid: bool, blocks: int, more: int, tokens: int) -> None:
    cache = kv_cache(shape, Parallelism(), 2, hybrid=hybrid, in_flight_tokens=4096)
    assert cache.pool_tokens(blocks + more, tokens) >= cache.pool_tokens(blocks, tokens)
    assert cache.concurrent_requests(blocks + more, tokens) >= cache.concurrent_requests(blocks, tokens)
    assert cache.concurrent_requests(blocks, tokens) >= cache.concurrent_requests(blocks, 2 * tokens)


def test_stage_with_least_memory_decides() -> None:
    cache = scout(pipeline=2)
    assert cache.pool_blocks((10 * GIB, 5 * GIB)) == 5 * GIB // cache.block_bytes(1)
    assert cache.pool_blocks((10 * GIB, -GIB)) == 0


def test_stages_without_layers_hold_nothing() -> None:
    """An illegal shape, which is refused elsewhere; here it must only not fail."""
    cache = kv_cache(shapes.SCOUT_TINY, Parallelism(pipeline=8), 2, hybrid=False, in_flight_tokens=0)
    assert cache.pool_blocks((GIB,) * 8) == GIB // cache.page_bytes
