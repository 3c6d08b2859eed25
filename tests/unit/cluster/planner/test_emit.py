"""`cluster.planner.emit` and `cluster.planner.explain`.

A plan as a config that validates and means the plan again, and as lines for people.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.hardware import GPUS, Cluster, Node, cluster_of, custom
from cluster.planner.config_problems import problems
from cluster.planner.emit import argued, emitted
from cluster.planner.explain import explain
from cluster.planner.herd_fit import assess, engine_of
from cluster.planner.memory.engine import Settings
from cluster.planner.search import Wish, plans
from configs.load import as_yaml, parse
from configs.names import GpuName, Kind
from configs.schema import CustomGpu
from tests.unit.cluster.planner.test_search import KINDS, machines, subject

WISHES = st.builds(
    Wish,
    context_tokens=st.none() | st.integers(8192, 131_072),
    hybrid_kv=st.booleans(),
    gpu_memory_utilization=st.sampled_from((0.9, 0.92)),
    max_num_seqs=st.none() | st.sampled_from((8, 256)),
)


@given(st.sampled_from(KINDS), st.sampled_from(list(GPUS)), WISHES, st.sampled_from((1, 2)))
def test_every_emitted_config_validates_and_is_the_plan_again(kind: Kind, gpu: GpuName, wish: Wish, nodes: int) -> None:
    cluster = machines(gpu, nodes=nodes)
    for plan in plans(subject(kind), cluster, wish)[:6]:
        if not plan.fits:
            continue
        herd = parse(as_yaml(emitted(kind, plan, cluster)), "emitted.yaml", problems)
        assert herd.hardware is not None
        (model,) = herd.models
        again = engine_of(model, cluster_of(herd.hardware).node.gpu)
        assert again == plan.engine
        found = assess(herd, cluster_of(herd.hardware))
        assert (found.refusals, found.shortages) == ((), ())


def test_custom_gpu_is_emitted_with_its_numbers() -> None:
    gpu = custom(CustomGpu(name="X", memory_gib=95, bandwidth_gb_s=4000, bf16_tflops=900, fp8_tflops=1800))
    cluster = Cluster(Node(gpu, 4))
    best = plans(subject("llama-3.1-8b"), cluster, Wish())[0]
    herd = parse(as_yaml(emitted("llama-3.1-8b", best, cluster)), "emitted.yaml", problems)
    assert herd.hardware is not None
    assert cluster_of(herd.hardware).node.gpu == gpu
    assert (herd.models[0].accelerator, herd.hardware.nodes) == ("gpu", None)


def test_known_gpu_is_emitted_by_its_name() -> None:
    cluster = machines("H200", nodes=2)
    hardware = emitted("llama-3.1-8b", plans(subject("llama-3.1-8b"), cluster, Wish())[0], cluster)["hardware"]
    assert hardware == {"gpu": "H200", "gpus_per_node": 8, "nodes": 2}


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        (Settings(8192), {}),
        (
            Settings(8192, kv_dtype="fp8", hybrid_kv=False, gpu_memory_utilization=0.9, max_num_seqs=8, max_positions=131_072),
            {
                "kv_cache_dtype": "fp8",
                "disable_hybrid_kv_cache_manager": True,
                "gpu_memory_utilization": 0.9,
                "max_num_seqs": 8,
                "hf_overrides": {"text_config": {"max_position_embeddings": 131_072}},
            },
        ),
    ],
)
def test_only_what_differs_from_vllms_defaults_is_said(settings: Settings, arguments: dict[str, Any]) -> None:
    assert argued(settings) == arguments


def test_explanation_tells_every_quantity_with_a_source() -> None:
    best = plans(subject("llama-4-maverick"), machines(), Wish(quantization="fp8", tensor=8))[0]
    lines = {line.what: line for line in explain(best, Wish().load)}
    assert (lines["weights"].value, lines["rope cache"].value, lines["communication"].value) == ("388.01 GiB", "0.25 GiB", "2.41 GiB")
    assert {part.rule.name for part in best.capacity.parts} <= lines.keys()
    assert lines["KV per token"].value == "6.0 KiB"
    assert lines["replica"].value == "3,300 tok/s ±20 %"
    assert (lines["limit of context"].value, lines["limit of requests"].value) == ("model", "KV pool")
    assert all(line.how and line.source for line in lines.values())


def test_plan_that_does_not_fit_is_explained_without_speed() -> None:
    worst = plans(subject("llama-4-maverick"), machines(), Wish(quantization="bf16"))[0]
    lines = {line.what: line for line in explain(worst, Wish().load)}
    assert "replica" not in lines
    assert lines["limit of start"].value == "weights"
