"""`cluster.planner.started.beside`: the plan for the GPU that a started engine really has, or for what can be compared without one."""

import pytest

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import BF16, Stored
from cluster.catalogue.hardware import GIB, GPUS
from cluster.catalogue.models import CATALOGUE
from cluster.planner.capacity import capacity
from cluster.planner.herd_fit import engine_of
from cluster.planner.started.beside import CPU, Started, beside_plan
from cluster.planner.started.figures import Figures, differences
from tests.unit.samples import model, scout

H100 = "NVIDIA H100 80GB HBM3"


def started(device: str = H100, **figures: float) -> Started:
    return Started(device, Figures(**figures), batch_tokens=8192 if device != CPU else 2048, block_tokens=16 if device != CPU else 128)


def test_engine_is_planned_for_the_gpu_that_it_has() -> None:
    report = beside_plan(model(accelerator="auto"), started())
    engine = engine_of(model(), GPUS["H100"])
    assert engine is not None
    found = capacity(engine)
    assert (report.gpu, report.no_plan) == ("H100", "")
    assert report.planned.weights_bytes == found.weights_bytes + found.rope_bytes
    assert report.planned.kv_bytes == pytest.approx(found.kv_bytes, rel=1e-3)
    assert report.planned.kv_tokens == found.pool_tokens


def test_engine_that_is_as_planned_is_told_without_a_sentence() -> None:
    plan = beside_plan(scout(parallel={"tensor": 4}), started()).planned
    report = beside_plan(
        scout(parallel={"tensor": 4}),
        started(weights_bytes=plan.weights_bytes or 0, kv_bytes=plan.kv_bytes or 0, kv_tokens=plan.kv_tokens or 0),
    )
    assert differences(report) == ()
    assert report.utilization == pytest.approx(0.92, abs=0.001)


def test_name_that_the_driver_gives_goes_before_the_one_in_the_config() -> None:
    assert beside_plan(model(accelerator="H100"), started("NVIDIA H100 PCIe")).gpu == "H100-PCIe"
    assert beside_plan(model(accelerator="H100"), started("NVIDIA Of-Tomorrow")).gpu == "H100", "a driver's name that nobody knows yet"


def test_utilisation_is_the_one_that_leaves_what_the_engine_has() -> None:
    plan = beside_plan(model(), started()).planned
    report = beside_plan(model(), started(kv_bytes=(plan.kv_bytes or 0) - 10 * GIB))
    assert report.utilization is not None
    again = beside_plan(model(engine={"gpu_memory_utilization": report.utilization}), started()).planned
    assert again.kv_bytes == pytest.approx((plan.kv_bytes or 0) - 10 * GIB, rel=1e-3)


@pytest.mark.parametrize("argument", [{"kv_cache_memory_bytes": 10 * GIB}, {"num_gpu_blocks_override": 1000}])
def test_engine_that_is_told_its_cache_has_no_utilisation(argument: dict[str, int]) -> None:
    report = beside_plan(model(engine=argument), started(kv_bytes=10 * GIB))
    assert report.utilization is None
    blocks = argument.get("num_gpu_blocks_override")
    assert report.planned.kv_bytes == pytest.approx(blocks * 16 * 131_072 if blocks else 10 * GIB, rel=1e-3)


def test_tokens_are_those_of_one_rank_as_the_engine_counts_them() -> None:
    one = beside_plan(scout(parallel={"data": 8, "expert": True}), started("NVIDIA B200")).planned
    engine = engine_of(scout(parallel={"data": 8, "expert": True}), GPUS["B200"])
    assert engine is not None
    assert one.kv_tokens == capacity(engine).pool_tokens / 8


def test_sizes_are_those_of_the_stage_that_has_most() -> None:
    staged = model(parallel={"pipeline": 2})
    engine = engine_of(staged, GPUS["H100"])
    assert engine is not None
    planned = beside_plan(staged, started()).planned
    assert planned.weights_bytes is not None
    assert planned.weights_bytes >= capacity(engine).weights_bytes


@pytest.mark.parametrize(
    ("device", "why"), [(CPU, "this engine has no GPU"), ("Quantum 9", "the planner does not know this GPU (Quantum 9)")]
)
def test_without_a_known_gpu_weights_and_the_tokens_of_the_pool_are_planned(device: str, why: str) -> None:
    report = beside_plan(model(accelerator="auto"), started(device, kv_bytes=GIB, kv_tokens=8192))
    assert why in report.no_plan
    assert report.planned.kv_bytes is None
    assert report.planned.kv_tokens == pytest.approx(GIB / 131_072, rel=0.02)
    assert report.planned.weights_bytes == pytest.approx(14.99 * GIB, rel=0.01)


def test_without_a_gpu_and_without_a_pool_only_the_weights_are_planned() -> None:
    assert beside_plan(model(), started(CPU)).planned.kv_tokens is None


def test_float32_on_a_cpu_doubles_weights_and_halves_tokens() -> None:
    half, whole = (beside_plan(model(engine=engine), started(CPU, kv_bytes=4 * GIB)).planned for engine in ({}, {"dtype": "float32"}))
    assert whole.weights_bytes == pytest.approx(2 * (half.weights_bytes or 0), rel=0.01)
    assert whole.kv_tokens == pytest.approx((half.kv_tokens or 0) / 2, rel=0.02)


def test_model_of_an_unknown_shape_has_no_plan_until_its_folder_was_read() -> None:
    other = model(kind="generic", checkpoint="/models/other")
    assert beside_plan(other, started(weights_bytes=1.0)).no_plan == "no plan: the planner does not know the shape of this model"
    shape = CATALOGUE["llama-3.1-8b"].decoder
    assert isinstance(shape, Architecture)
    assert beside_plan(other, started(), Stored(shape, BF16)).gpu == "H100"
