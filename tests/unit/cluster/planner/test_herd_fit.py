"""`cluster.planner.herd_fit`: a herd on its cluster, and what `parallel: auto` becomes. The project's own configs are checked here."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue import sizes as shapes
from cluster.catalogue.checkpoints import BF16, Stored
from cluster.catalogue.hardware import GPUS, Cluster, Node
from cluster.planner.config_problems import problems
from cluster.planner.engine_groups import pools
from cluster.planner.herd_fit import NoShape, assess, chosen, known_cluster, nodes_for
from cluster.planner.legality import handover_refusal
from cluster.planner.memory.said import settings_of
from configs.load import read
from configs.schema import Config, Model
from tests.unit.machines import ROOT
from tests.unit.samples import config, model, raw, scout

CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
ON_GPUS = [path for path in CONFIGS if not path.stem.startswith("local")]
DGX = Cluster(Node(GPUS["H100"]), 1)
MAVERICK: dict[str, Any] = {
    "id": "maverick",
    "kind": "llama-4-maverick",
    "checkpoint": "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
    "quantization": "fp8",
    "accelerator": "H100",
}


def maverick(**fields: Any) -> Model:
    return Model.model_validate({"context_tokens": 131_072, **MAVERICK, **fields})


@pytest.mark.parametrize("path", ON_GPUS, ids=lambda path: path.name)
def test_config_that_comes_with_the_project_fits_its_hardware(path: Path) -> None:
    herd = read(path, problems)
    assert herd.hardware is not None
    known = known_cluster(herd)
    found = assess(chosen(herd, known), known)
    assert (found.refusals, found.shortages) == ((), ())
    assert all(one.capacity for one in found.verdicts)


def test_configs_are_those_that_were_promised() -> None:
    assert {path.stem for path in ON_GPUS} == {
        "scout-h100",
        "scout-fp8-2xh100",
        "scout-fp8-h200",
        "scout-1m-8xh100",
        "scout-10m-8xh200",
        "maverick-dgx",
        "maverick-1m-dgx-h200",
        "maverick-2xdgx",
        "maverick-2xdgx-dp",
        "maverick-2xdgx-h200-tuned",
        "maverick-2xdgx-h200-prefill",
        "maverick-2xdgx-onprem",
        "maverick-2xp5en",
        "maverick-3xdgx-onprem",
        "maverick-2xa3-ultra",
        "herd",
        "llama-3.3-70b",
    }


def test_herd_without_a_gpu_is_checked_for_legality_only() -> None:
    herd = read(CONFIGS[[path.stem for path in CONFIGS].index("local")], problems)
    found = assess(herd, known_cluster(herd))
    assert (found.gpus, found.nodes, found.shortages, found.refusals) == (0, 0, (), ())
    assert not any(one.capacity or one.problems for one in found.verdicts)


@pytest.mark.parametrize(
    ("herd", "gpu"),
    [
        (config(model()), None),
        (config(model(accelerator="H100"), scout(accelerator="gpu")), "H100"),
        (config(model(accelerator="H100"), scout(accelerator="H200")), None),
        (config(model(accelerator="H100"), hardware={"gpu": "L40S"}), "L40S"),
    ],
)
def test_hardware_is_what_the_config_says(herd: Config, gpu: str | None) -> None:
    found = known_cluster(herd)
    assert (found and found.node.gpu.name) == gpu


def test_every_gpu_kind_takes_nodes_of_its_own() -> None:
    found = assess(config(model(accelerator="H100"), scout(accelerator="H200", parallel={"tensor": 4})), None)
    assert (found.gpus, found.nodes, found.shortages) == (5, 2, ())


def test_engines_that_only_prefill_take_their_gpus_and_both_kinds_say_what_it_costs() -> None:
    apart = maverick(parallel={"tensor": 8}, prefill={"replicas": 2})
    found = assess(config(apart), Cluster(Node(GPUS["H200"]), 3))
    assert (found.gpus, found.nodes, found.shortages) == (24, 3, ())
    assert [cost.partition(" leaves ")[0] for cost in found.costs] == ["maverick: prefill apart", "maverick:prefill: prefill apart"]
    assert not assess(config(model(prefill={}, accelerator="H100")), None).costs, "Llama 3 has no chunked layers"
    assert not assess(config(maverick(prefill={}, engine={"disable_hybrid_kv_cache_manager": False})), None).costs, (
        "as the engines are told"
    )


@pytest.mark.parametrize(
    ("prefill", "decode", "refused"),
    [(8, 8, None), (4, 8, None), (8, 4, None), (40, 8, "40 GPUs keep copies of the 8 KV heads"), (8, 20, "one must divide the other")],
)
def test_a_kv_cache_goes_between_sizes_that_divide_each_other(prefill: int, decode: int, refused: str | None) -> None:
    """Llama 4 has 40 heads and 8 KV heads."""
    reason = handover_refusal(shapes.MAVERICK, prefill, decode)
    assert (reason is None) if refused is None else (refused in str(reason))


def test_sizes_that_cannot_hand_over_are_refused_by_name() -> None:
    apart = maverick(parallel={"tensor": 8}, prefill={"parallel": {"tensor": 20}})
    found = assess(config(apart), Cluster(Node(GPUS["H200"]), 9)).refusals
    assert "maverick: prefill.parallel.tensor: a KV cache cannot go from 20 GPUs to 8: one must divide the other" in found


@pytest.mark.parametrize(
    ("models", "nodes", "shortage"),
    [
        ([maverick(parallel={"tensor": 8}), model(accelerator="H100")], 1, "the herd takes 9 GPUs on 2 nodes of 8; there are 1"),
        ([maverick(parallel={"tensor": 8}), model(accelerator="H100")], 2, None),
        ([maverick(parallel={"tensor": 8}, replicas=3)], 2, "the herd takes 24 GPUs on 3 nodes of 8; there are 2"),
        ([maverick(parallel={"tensor": 4})], 1, "maverick: the weights take 97.0 GiB on each GPU, 72.9 GiB are usable"),
    ],
)
def test_shortage_is_told(models: list[Model], nodes: int, shortage: str | None) -> None:
    found = assess(config(*models), Cluster(Node(GPUS["H100"]), nodes)).shortages
    assert found == (() if shortage is None else (shortage,))


def test_gpu_that_is_not_there_and_one_that_cannot_compute_are_refused() -> None:
    older = replace(GPUS["MI300X"], name="MI250", fp8_flops=None)
    found = assess(config(maverick(parallel={"tensor": 8}, engine={"kv_cache_dtype": "fp8"})), Cluster(Node(older), 1))
    assert found.refusals == (
        "maverick: it asks for H100, the cluster has MI250",
        "maverick: an fp8 KV cache needs a GPU with FP8 arithmetic; MI250 has none",
    )


def test_checkpoint_on_this_machine_is_believed_before_the_catalogue() -> None:
    herd = config(model(accelerator="H100", parallel={"tensor": 4}))
    stored = {"llama": Stored(shapes.SMOLLM2, BF16)}
    found = assess(herd, None, stored)
    assert found.refusals == ("llama: parallel.tensor: 4 does not divide the 9 attention heads; allowed: 1, 3",)
    (verdict,) = found.verdicts
    assert verdict.engine is not None
    assert verdict.engine.architecture is shapes.SMOLLM2


def test_base_checkpoint_has_the_base_models_positions() -> None:
    (verdict,) = assess(
        config(scout(checkpoint="meta-llama/Llama-4-Scout-17B-16E", accelerator="H100", parallel={"tensor": 8})), None
    ).verdicts
    assert verdict.engine is not None
    assert verdict.engine.max_positions == 262_144


def test_model_on_the_cpu_is_not_planned_for_the_clusters_gpus() -> None:
    (verdict,) = assess(config(model(accelerator="cpu")), DGX).verdicts
    assert (verdict.engine, verdict.capacity) == (None, None)


def test_kind_without_an_engine_is_not_planned() -> None:
    guard = model(kind="prompt-guard-2-86m", accelerator="H100", context_tokens=512)
    (verdict,) = assess(config(guard), DGX).verdicts
    assert verdict.engine is None


@pytest.mark.parametrize(
    ("engine", "settings"),
    [
        ({}, ("bf16", True, 0.92, None, None, None)),
        ({"kv_cache_dtype": "fp8_e4m3", "max_num_seqs": 64, "max_num_batched_tokens": 4096}, ("fp8", True, 0.92, 64, 4096, None)),
        ({"disable_hybrid_kv_cache_manager": True, "gpu_memory_utilization": 0.9}, ("bf16", False, 0.9, None, None, None)),
        ({"speculative_config": {"method": "eagle3"}}, ("bf16", True, 0.92, None, None, None)),
        ({"hf_overrides": {"text_config": {"max_position_embeddings": 8192}}}, ("bf16", True, 0.92, None, None, 8192)),
        ({"hf_overrides": {"max_position_embeddings": 8192}}, ("bf16", True, 0.92, None, None, 8192)),
        ({"hf_overrides": {"text_config": 3}, "max_num_seqs": None}, ("bf16", True, 0.92, None, None, None)),
    ],
)
def test_settings_are_read_from_vllms_own_arguments(engine: dict[str, Any], settings: tuple[Any, ...]) -> None:
    found = settings_of(model(engine=engine))
    said = (
        found.kv_dtype,
        found.hybrid_kv,
        found.gpu_memory_utilization,
        found.max_num_seqs,
        found.max_num_batched_tokens,
        found.max_positions,
    )
    assert said == settings
    assert found.drafts == ("speculative_config" in engine)


def test_a_named_draft_model_is_planned_for() -> None:
    assert settings_of(model(draft={"checkpoint": "org/draft"})).drafts


@given(st.dictionaries(st.integers(1, 8), st.integers(0, 1 << 20), max_size=8))
def test_pieces_share_nodes_and_none_is_split(pieces: dict[int, int]) -> None:
    nodes, gpus = nodes_for(pieces, 8), sum(size * count for size, count in pieces.items())
    assert -(-gpus // 8) <= nodes <= sum(pieces.values())
    assert nodes <= max(1, 2 * -(-gpus // 8))  # two nodes that are both half empty would have been one
    assert nodes_for({**pieces, 8: pieces.get(8, 0) + 1}, 8) == nodes + 1


@given(st.dictionaries(st.sampled_from((1, 2, 4, 8)), st.integers(0, 1000), max_size=4))
def test_powers_of_two_leave_no_gap(pieces: dict[int, int]) -> None:
    assert nodes_for(pieces, 8) == -(-sum(size * count for size, count in pieces.items()) // 8)


@pytest.mark.parametrize(
    ("asked", "cluster", "tensor", "engine"),
    [
        (maverick(parallel="auto"), DGX, 8, {}),
        (maverick(parallel="auto"), None, 8, {}),
        (
            maverick(parallel="auto", engine={"kv_cache_dtype": "fp8", "max_num_seqs": 32}),
            DGX,
            8,
            {"kv_cache_dtype": "fp8", "max_num_seqs": 32},
        ),
        (model(parallel="auto", accelerator="cpu"), None, 1, {}),
        (model(parallel={"tensor": 2}), None, 2, {}),
    ],
)
def test_auto_becomes_a_shape_that_fits(asked: Model, cluster: Cluster | None, tensor: int, engine: dict[str, Any]) -> None:
    (found,) = chosen(config(asked), cluster).models
    assert (found.parallel.auto, found.parallel.tensor, found.engine) == (False, tensor, engine)


def test_auto_lowers_what_leaves_too_little() -> None:
    asked = scout(
        parallel="auto",
        accelerator="H100",
        quantization="int4",
        checkpoint="RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16",
        context_tokens=98_304,
    )
    (found,) = chosen(config(asked), Cluster(Node(GPUS["H100"], 1), 1)).models
    assert found.engine == {"max_num_seqs": 16, "hf_overrides": {"text_config": {"max_position_embeddings": 131_072}}}


@pytest.mark.parametrize(
    ("asked", "cluster", "sentence"),
    [
        (model(parallel="auto"), None, "llama: parallel: auto needs a GPU to choose for; name it in hardware or as the accelerator"),
        (maverick(parallel="auto", context_tokens=1_048_576), Cluster(Node(GPUS["H100"], 4), 1), "maverick FP8"),
    ],
)
def test_auto_that_cannot_be_is_refused(asked: Model, cluster: Cluster | None, sentence: str) -> None:
    with pytest.raises(NoShape, match=sentence):
        chosen(config(asked), cluster)


def test_model_on_an_unknown_gpu_has_no_notes() -> None:
    assert [one.notes for one in assess(config(model()), None).verdicts] == [()]


@given(raw(Config))
def test_any_herd_is_assessed_or_has_no_shape(value: dict[str, Any]) -> None:
    herd = Config.model_validate(value)
    known = known_cluster(herd)
    try:
        settled = chosen(herd, known)
    except NoShape:
        return
    found = assess(settled, known)
    assert len(found.verdicts) == len(pools(herd.models))
    assert not any(one.parallel.auto for one in settled.models)


def generic(**fields: Any) -> Model:
    return model(kind="generic", checkpoint="/models/qwen", accelerator="H100", context_tokens=32_768, **fields)


def test_another_model_is_planned_from_its_own_config_and_else_takes_its_gpus_with_a_warning() -> None:
    stored = {"llama": Stored(shapes.LLAMA_3_2_3B, BF16)}
    known = assess(config(generic()), None, stored)
    assert (known.gpus, known.shortages, known.refusals, known.costs) == (1, (), (), ())
    unknown = assess(config(generic(parallel={"tensor": 2})), Cluster(Node(GPUS["H100"]), 1))
    assert (unknown.gpus, unknown.shortages) == (2, ())
    assert unknown.costs == (
        "llama: the planner does not know its shape (no config.json of it is on this machine): its memory is not checked",
    )


def test_shape_of_another_model_is_chosen_where_its_config_is_read() -> None:
    (found,) = chosen(config(generic(parallel="auto")), DGX, {"llama": Stored(shapes.LLAMA_3_2_3B, BF16)}).models
    assert found.parallel.tensor == 1
    with pytest.raises(NoShape, match="needs the model's shape, which is not known: say the sizes"):
        chosen(config(generic(parallel="auto")), DGX)


def test_arguments_that_are_not_counted_are_said_with_the_costs() -> None:
    found = assess(config(model(accelerator="H100", engine={"enable_sleep_mode": True})), None)
    assert found.costs == ("llama: engine.enable_sleep_mode changes the memory, and is not counted here",)


def test_fine_tune_is_stored_as_its_name_says_where_that_agrees_with_the_entry() -> None:
    def stored_as(checkpoint: str, quantization: str) -> str:
        (verdict,) = assess(config(model(accelerator="H100", checkpoint=checkpoint, quantization=quantization)), None).verdicts
        assert verdict.engine is not None
        return verdict.engine.layout.name

    assert stored_as("org/Llama-3.1-8B-Instruct-bnb-4bit", "int4") == "bitsandbytes (nf4)"
    assert stored_as("org/Llama-3.1-8B-Instruct-AWQ", "fp8") == "fp8 (all linear layers)"


def test_nvfp4_on_a_gpu_without_it_is_told() -> None:
    asked = model(accelerator="H100", checkpoint="org/Llama-3.1-8B-NVFP4", quantization="nvfp4")
    (cost,) = assess(config(asked), None).costs
    assert "unpacked to bf16 on H100" in cost


def test_model_at_zero_takes_no_gpus_and_one_replica_of_it_must_fit() -> None:
    zero = {"min_replicas": 0, "max_replicas": 2}
    herd = config(maverick(parallel={"tensor": 8}, scaling=zero), model(accelerator="H100", scaling={"max_replicas": 4}))
    found = assess(herd, DGX)
    assert (found.gpus, found.most_gpus, found.nodes, found.shortages) == (1, 20, 1, ())
    wide = assess(config(maverick(parallel={"tensor": 8, "pipeline": 2}, scaling=zero)), DGX)
    assert wide.gpus == 0
    assert wide.shortages == ("maverick can never start: a replica takes 16 GPUs on 2 nodes of 8; there are 1",)
    assert assess(config(model(accelerator="cpu", scaling=zero)), DGX).shortages == ()
