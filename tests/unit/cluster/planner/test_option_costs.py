"""`cluster.planner.option_costs`: what an option takes from the KV cache is told beside what there was."""

from dataclasses import replace

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.checkpoints import BF16, META_FP8
from cluster.catalogue.hardware import GPUS
from cluster.planner.capacity import capacity
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.option_costs import costs
from configs.schema import Parallelism

SCOUT = Engine(shapes.SCOUT, BF16, GPUS["H100"], Parallelism(tensor=8), Settings(131_072))
LLAMA = Engine(shapes.LLAMA_8B, BF16, GPUS["H100"], Parallelism(), Settings(8192))
MAVERICK = Engine(shapes.MAVERICK, META_FP8, GPUS["H200"], Parallelism(tensor=8, data=2, expert=True), Settings(131_072))


def test_who_asks_for_nothing_is_told_nothing() -> None:
    assert not [cost for engine in (SCOUT, LLAMA, MAVERICK) for cost in costs(engine)]


@pytest.mark.parametrize(("engine", "chunked"), [(SCOUT, True), (LLAMA, False)])
def test_a_draft_model_is_told_with_both_pools(engine: Engine, chunked: bool) -> None:
    drafting = replace(engine, settings=replace(engine.settings, drafts=True))
    (cost,) = costs(drafting)
    less, more = capacity(drafting).pool_tokens, capacity(engine).pool_tokens
    assert cost.startswith(f"the draft model leaves {less:,} tokens of KV cache, not {more:,}")
    assert ("hybrid KV manager off" in cost) == chunked
    assert less < more / (2 if chunked else 1)


def test_copies_of_experts_and_deepep_are_told() -> None:
    options = {"redundant_experts": 16, "all_to_all": "deepep_low_latency"}
    copies, buffers = costs(replace(MAVERICK, parallel=MAVERICK.parallel.model_copy(update=options)))
    assert copies.startswith("16 redundant experts leave ")
    assert buffers.startswith("deepep_low_latency needs DeepEP")
