"""`deployments.engine.beside_plan`: a replica's report on its engine, from vLLM's own answers to the page that Prometheus reads."""

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from cluster.catalogue.hardware import GIB
from cluster.planner.started.figures import Figures, Report
from deployments.engine import beside_plan
from deployments.engine.load import EngineLoad
from deployments.engine.vllm.engine_state import EngineState
from deployments.engine.vllm.worker_memory import TELL, WorkerMemory, settle
from tests.unit.samples import model

SHAPE = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 256, "tie_word_embeddings": False,
}  # fmt: skip


class Client:
    """vLLM's serving side, whose workers say this."""

    def __init__(self, *said: dict[str, Any], error: Exception | None = None) -> None:
        self.said, self.error, self.asked = list(said), error, list[str]()
        self.vllm_config = SimpleNamespace(
            cache_config=SimpleNamespace(kv_cache_size_tokens=400_000, block_size=16),
            scheduler_config=SimpleNamespace(max_num_seqs=1024, max_num_batched_tokens=8192, policy="fcfs"),
        )

    async def collective_rpc(self, method: str) -> list[dict[str, Any]]:
        self.asked.append(method)
        if self.error is not None:
            raise self.error
        return self.said


def worker(weights_gib: float = 15, kv_gib: float = 50, device: str = "NVIDIA H100 80GB HBM3") -> dict[str, Any]:
    return {"device": device, "weights_bytes": int(weights_gib * GIB), "kv_bytes": int(kv_gib * GIB)}


async def test_worker_that_has_most_speaks_for_the_engine() -> None:
    client = Client(worker(14), worker(15, 49))
    found = await beside_plan.report(EngineState(client), model())
    assert client.asked == [TELL], "once"
    assert found is not None
    assert (found.told.weights_bytes, found.told.kv_bytes, found.told.kv_tokens) == (15 * GIB, 50 * GIB, 400_000)
    assert found.gpu == "H100"


async def test_weights_that_vllm_does_not_measure_are_not_told() -> None:
    found = await beside_plan.report(EngineState(Client(worker(device="cpu") | {"weights_bytes": None})), model())
    assert found is not None
    assert (found.told.weights_bytes, found.told.kv_bytes) == (None, 50 * GIB)


async def test_workers_that_cannot_tell_are_no_reason_not_to_serve() -> None:
    client = Client(error=NotImplementedError("Method 'herd_memory' is not implemented."))
    found = await beside_plan.report(EngineState(client), model())
    assert found is None
    assert beside_plan.shown(found, 12.0, "llama", CollectorRegistry()) == {}


@pytest.mark.parametrize(("written", "gpu"), [(SHAPE, "H100"), ({"model_type": "mystery"}, ""), ([], ""), (None, "")], ids=str)
async def test_checkpoint_in_a_folder_is_planned_by_its_own_file(tmp_path: Path, written: object, gpu: str) -> None:
    if written is not None:
        (tmp_path / "config.json").write_text(json.dumps(written))
    found = await beside_plan.report(EngineState(Client(worker())), model(kind="generic", checkpoint=str(tmp_path), context_tokens=256))
    assert found is not None
    assert found.gpu == gpu
    assert bool(found.no_plan) == (not gpu)


async def test_page_and_report_have_both_figures_and_the_start() -> None:
    registry = CollectorRegistry()
    found = await beside_plan.report(EngineState(Client(worker(18))), model())
    plain = beside_plan.shown(found, 12.5, "llama", registry)
    assert plain["told"]["start_s"] == 12.5
    shown = registry.get_sample_value
    assert shown("herd_engine_weights_bytes", {"model": "llama", "by": "engine"}) == 18 * GIB
    assert shown("herd_engine_weights_bytes", {"model": "llama", "by": "plan"}) == plain["planned"]["weights_bytes"]
    assert shown("herd_engine_start_seconds", {"model": "llama"}) == 12.5


def settled(**engine_kwargs: Any) -> dict[str, Any]:
    config = SimpleNamespace(engine_kwargs=engine_kwargs, update_engine_kwargs=lambda **more: engine_kwargs.update(more))
    settle(config)
    return engine_kwargs


def test_workers_learn_to_tell_unless_the_config_extends_them_itself() -> None:
    assert settled() == {"worker_extension_cls": "deployments.engine.vllm.worker_memory.WorkerMemory"}
    assert settled(worker_extension_cls="mine.Own") == {"worker_extension_cls": "mine.Own"}


def test_worker_has_no_further_name_that_could_meet_one_of_vllms() -> None:
    assert [name for name in dir(WorkerMemory) if not name.startswith("__")] == [TELL]


def test_cost_is_of_all_gpus_and_of_the_cache_where_the_engine_tells_its_size() -> None:
    registry, engine = CollectorRegistry(), CollectorRegistry()
    usage = Gauge("vllm:kv_cache_usage_perc", "usage", registry=engine)
    now = [0.0]
    load = EngineLoad(engine, lambda: now[0])
    usage.set(1.0)
    load.report()
    registry.register(beside_plan.cost(Report("H100", Figures(kv_bytes=5e9)), "scout", 8, time.monotonic() - 100, load))
    now[0] = 10.0
    assert registry.get_sample_value("herd_kv_byte_seconds_total", {"model": "scout"}) == 8 * 5e9 * 10
    assert 800 <= (registry.get_sample_value("herd_gpu_seconds_total", {"model": "scout"}) or 0) < 900
    for found in (None, Report("cpu", Figures())):
        unknown = CollectorRegistry()
        unknown.register(beside_plan.cost(found, "scout", 1, 0.0, load))
        assert unknown.get_sample_value("herd_kv_byte_seconds_total", {"model": "scout"}) is None
