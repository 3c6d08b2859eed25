"""`cluster.planner.memory.parts`: each part of a GPU's memory, in the versions that have it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import BF16, META_FP8
from cluster.catalogue.hardware import GIB, GPUS
from cluster.planner.memory.engine import Engine, Loras, Settings, Version
from cluster.planner.memory.parts import CACHED, GRAPHS, WORKSPACE, graph_bytes, loading_bytes, outside_bytes, parts
from configs.names import GpuName
from configs.schema import Parallelism
from tests.unit.engines import engines


def engine(architecture: Architecture = shapes.LLAMA_8B, gpu: GpuName = "H100", parallel: Any = None, **said: Any) -> Engine:
    return Engine(architecture, BF16, GPUS[gpu], Parallelism(**(parallel or {})), Settings(8192, **said))


def sizes(asked: Engine, stage: int = 0) -> dict[str, float]:
    """GiB of each part, by its name."""
    return {part.rule.name: part.size_bytes / GIB for part in parts(asked, stage)}


@pytest.mark.parametrize(
    ("vllm", "names"),
    [
        ((0, 29), {"sampler", "activations", "non-torch", "CUDA graphs"}),
        ((0, 21), {"activations", "non-torch", "CUDA graphs"}),
        ((0, 19), {"activations", "non-torch"}),
        ((0, 11), {"activations", "non-torch"}),
        ((0, 5), {"activations", "non-torch", "cached by torch"}),
    ],
)
def test_version_has_its_own_parts(vllm: Version, names: set[str]) -> None:
    assert sizes(engine(vllm=vllm)).keys() == names


@pytest.mark.parametrize(("vllm", "gib"), [((0, 29), 0.95), ((0, 19), 1.88), ((0, 16), 4.76), ((0, 7), 0.95)])
def test_activations_of_8b_are_those_of_the_version(vllm: Version, gib: float) -> None:
    """1.89 GiB in the logs of 0.19, 4.76 in those of 0.11."""
    assert sizes(engine(vllm=vllm))["activations"] == pytest.approx(gib, abs=0.02)


def test_sequences_count_where_the_sampler_is_the_widest_moment_and_tokens_where_the_step_is() -> None:
    few, many = (sizes(engine(vllm=(0, 19), max_num_seqs=count))["activations"] for count in (16, 1024))
    assert few < many
    short, long = (sizes(engine(vllm=(0, 19), max_num_seqs=16, max_num_batched_tokens=count))["activations"] for count in (2048, 8192))
    assert short < long
    sampling = [sizes(engine(vllm=(0, 19), max_num_batched_tokens=count))["activations"] for count in (2048, 8192)]
    assert sampling[1] - sampling[0] < 0.05


def test_only_the_last_stage_samples_and_only_the_first_sees_images() -> None:
    scout = engine(shapes.SCOUT, parallel={"tensor": 4, "pipeline": 2})
    assert "images" in sizes(scout, 0)
    assert "images" not in sizes(scout, 1)
    assert "sampler" not in sizes(scout, 0)
    assert "sampler" in sizes(scout, 1)
    assert "pipeline" in sizes(scout, 0)


@pytest.mark.parametrize(
    ("gpu", "parallel", "gib"),
    [
        ("H100", {}, 0.25),
        ("H100", {"tensor": 2}, 2.08),
        ("H100", {"tensor": 4}, 2.19),
        ("H100", {"pipeline": 2}, 0.07),
        ("L40S", {"tensor": 2}, 0.55),
    ],
)
def test_talking_to_other_gpus_takes_memory(gpu: GpuName, parallel: dict[str, int], gib: float) -> None:
    found = sizes(engine(gpu=gpu, parallel=parallel, vllm=(0, 19)))
    assert found.get("non-torch", 0) + found.get("communication", 0) == pytest.approx(gib, abs=0.01)


def test_experts_workspaces_are_kept_since_0_17_and_in_the_step_before() -> None:
    scout, older = (engine(shapes.SCOUT, parallel={"tensor": 4}, vllm=vllm) for vllm in ((0, 19), (0, 11)))
    assert sizes(scout)["experts"] == pytest.approx(0.156, abs=0.001)
    assert "experts" not in sizes(older)
    assert WORKSPACE.versions == "0.17 on"
    whole = engine(shapes.SCOUT, parallel={"tensor": 4, "expert": True})
    assert sizes(whole)["experts"] > sizes(scout)["experts"]


def test_day_0_of_llama_4_took_what_its_log_says() -> None:
    maverick = Engine(shapes.MAVERICK, META_FP8, GPUS["H100"], Parallelism(tensor=8), Settings(131_072, vllm=(0, 8), hybrid_kv=False))
    assert sum(part.size_bytes for part in parts(maverick)) / GIB == pytest.approx(12.5, abs=0.1)


def test_graphs_are_counted_by_layers_and_sizes_and_not_where_none_are_captured() -> None:
    usual = engine()
    assert graph_bytes(usual) / GIB == pytest.approx(0.84, abs=0.01)
    assert graph_bytes(engine(max_num_seqs=16)) < graph_bytes(usual) < graph_bytes(engine(gpu="B200"))
    assert GRAPHS.name not in sizes(engine(eager=True))
    assert GRAPHS.name in sizes(engine(gpu="MI300X"))
    assert GRAPHS.name not in sizes(engine(gpu="MI300X", vllm=(0, 21)))


def test_memory_beside_the_budget_is_the_context_and_before_0_21_the_graphs() -> None:
    now, before, old, eager = (
        engine(vllm=vllm, eager=eager) for vllm, eager in (((0, 29), False), ((0, 19), False), ((0, 11), False), ((0, 19), True))
    )
    assert outside_bytes(now) == outside_bytes(eager) == 0.51 * GIB
    assert outside_bytes(before) == pytest.approx(outside_bytes(now) + graph_bytes(before))
    assert outside_bytes(old) / GIB == pytest.approx(0.91)
    assert outside_bytes(engine(parallel={"tensor": 2})) > outside_bytes(engine(gpu="L40S", parallel={"tensor": 2})) > outside_bytes(now)


def test_int8_activations_copy_the_rope_cache() -> None:
    """5.00 GiB for the 10,485,760 positions of Llama Guard 4."""
    plain = engine(shapes.GUARD_4, max_num_seqs=4, max_num_batched_tokens=2048)
    copied = replace(plain, layout=replace(BF16, int8_activations=True))
    assert sizes(copied)["rope copy"] == 5.0
    assert "rope copy" not in sizes(plain)


def test_adapters_take_room_whether_or_not_one_is_loaded() -> None:
    one, four = (sizes(engine(loras=Loras(slots, 64)))["adapters"] for slots in (1, 4))
    assert four == pytest.approx(4 * one)
    assert one == pytest.approx(0.31, abs=0.02)
    assert "adapters" in sizes(engine(shapes.SCOUT, parallel={"tensor": 8}, loras=Loras()))


def test_weights_that_are_quantised_on_the_way_are_larger_while_they_are_loaded() -> None:
    assert loading_bytes(engine()) == 0
    assert loading_bytes(engine(loads_first_bytes=2.0)) / GIB == pytest.approx(14.99, abs=0.01)


@given(engines())
def test_every_part_has_a_size_and_a_source(asked: Engine) -> None:
    for stage in range(asked.parallel.pipeline):
        for part in parts(asked, stage):
            assert part.size_bytes > 0
            assert part.rule.how
            assert part.rule.source
    assert CACHED.versions == "all, before 0.6"
