"""What public logs and reports say of vLLM, beside the engines that they speak of. The data lie beside this file, each with its source."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from cluster.catalogue import checkpoints, sizes
from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import Layout
from cluster.catalogue.config_shape import architecture_from
from cluster.catalogue.hardware import GIB, GPUS, Gpu
from cluster.planner.capacity import capacity, concurrent_requests
from cluster.planner.memory.engine import Engine, Settings, version_of
from cluster.planner.speed import Load, speed
from configs.schema import Parallelism
from tests.unit.published import VLLM_FIGURE

FOLDER = Path(__file__).parent
#: The checkpoint of July 2024 kept each KV head twice.
SHAPES = {"LLAMA_405B_JULY_2024": replace(sizes.LLAMA_405B, kv_heads=16)}


def rows(name: str) -> Iterator[dict[str, str]]:
    """The rows of a file of this folder."""
    with (FOLDER / name).open(encoding="utf-8") as lines:
        yield from csv.DictReader(line for line in lines if not line.startswith("#"))


@dataclass(frozen=True)
class Point:
    """One thing that somebody has reported, and what the planner says."""

    id: str
    what: str
    vllm: str
    reported: float
    planned: float
    source: str

    @property
    def error(self) -> float:
        return self.planned / self.reported - 1


def _shape(row: dict[str, str]) -> Architecture:
    named: Architecture = SHAPES.get(row["shape"]) or other_shapes().get(row["shape"]) or getattr(sizes, row["shape"])
    return named


def _gpu(row: dict[str, str]) -> Gpu:
    gpu = next(gpu for name, gpu in GPUS.items() if name == row["gpu"])
    memory = row.get("memory_gib")
    return replace(gpu, memory_gib=float(memory)) if memory else gpu


def engine_of(row: dict[str, str]) -> Engine:
    """The engine that a row speaks of."""
    layout: Layout = getattr(checkpoints, row["layout"])
    settings = Settings(
        context_tokens=int(row.get("context") or int(row.get("prompt") or 0) + int(row.get("answer") or 0)),
        kv_dtype="fp8" if row.get("kv_dtype") == "fp8" else "bf16",
        hybrid_kv=row.get("hybrid") != "no",
        gpu_memory_utilization=float(row.get("utilisation") or 0.9),
        max_num_seqs=int(row["sequences"]) if row.get("sequences") else None,
        max_num_batched_tokens=int(row["tokens"]) if row.get("tokens") else None,
        eager=row.get("eager") == "yes",
        loads_first_bytes=float(row["loads_first"]) if row.get("loads_first") else None,
        vllm=version_of(row["vllm"]),
    )
    parallel = Parallelism(tensor=int(row["tensor"]), pipeline=int(row.get("pipeline") or 1))
    return Engine(_shape(row), layout, _gpu(row), parallel, settings)


def _what(row: dict[str, str], engine: Engine) -> str:
    pipeline = f" PP{engine.parallel.pipeline}" if engine.parallel.pipeline > 1 else ""
    memory = f" ({row['memory_gib']} GiB)" if row.get("memory_gib") else ""
    return f"{row['shape']} {row['layout']} {row['gpu']}{memory} TP{engine.parallel.tensor}{pipeline}"


def memory_points() -> list[Point]:
    """The KV cache of one GPU: in tokens where the log has them, else in GiB."""
    found = []
    for row in rows("memory.csv"):
        engine = engine_of(row)
        held = capacity(engine)
        in_tokens = bool(row["pool_tokens"])
        reported = float(row["pool_tokens"] or row["kv_gib"])
        planned = held.pool_tokens if in_tokens else held.kv_bytes / GIB
        found.append(Point(row["id"], _what(row, engine), row["vllm"], reported, planned, row["source"]))
    return found


#: The models of the startup logs whose shape the catalogue has, and how they are stored.
LOGGED = {
    "meta-llama/Llama-3.1-8B-Instruct": ("LLAMA_8B", "BF16"),
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": ("LLAMA_8B", "LINEAR_INT4"),
    "RedHatAI/Llama-3.3-70B-Instruct-fp8-dynamic": ("LLAMA_70B", "LINEAR_FP8"),
    "redhatai/Llama-3.3-70B-Instruct-quantized.w8a8": ("LLAMA_70B", "LINEAR_INT8"),
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": ("SCOUT", "BF16"),
}


def log_points() -> list[Point]:
    """The pools of the startup logs of vLLM 0.19, each model in every setting that it was started with."""
    found = []
    others = other_shapes()
    for number, row in enumerate(rows("startup_logs.csv")):
        if row["model"] not in LOGGED.keys() | others.keys() or not row["kv_cache_tokens"]:
            continue
        shape, layout = LOGGED.get(row["model"], (row["model"], "BF16"))
        wide = row["dtype"] == "torch.float32"
        asked = {"shape": shape, "layout": layout, "gpu": "H100", "tensor": row["tp"], "pipeline": row["pp"], "vllm": "0.19"}
        asked |= {"kv_dtype": row["kv_cache_dtype"], "context": row["max_model_len"], "utilisation": row["gpu_memory_utilization"]}
        engine = in_float32(engine_of(asked)) if wide else engine_of(asked)
        what = f"{_what(asked, engine)} {row['dtype'].removeprefix('torch.')}, KV {row['kv_cache_dtype']}, {row['max_model_len']}"
        planned = capacity(engine).pool_tokens
        found.append(Point(f"L{number}", what, "0.19", float(row["kv_cache_tokens"]), planned, "llm-d-planner"))
    return found


@cache
def other_shapes() -> dict[str, Architecture]:
    """Models that the catalogue does not have, read as any folder's `config.json` is."""
    found = {}
    for row in rows("shapes.csv"):
        words = {"model_type": row["model_type"], "tie_word_embeddings": row["tie_word_embeddings"] == "true"}
        sizes_of = {name: int(value) for name, value in row.items() if value.isdigit()}
        found[row["model"]] = architecture_from(words | sizes_of)
    return found


def in_float32(engine: Engine) -> Engine:
    """The same engine told `dtype: float32`."""
    settings = replace(engine.settings, element_bytes=4.0, kv_dtype="float32")
    return replace(engine, layout=replace(engine.layout, plain_bytes=4.0), settings=settings)


@dataclass(frozen=True)
class Fit:
    """One engine that ran, or did not."""

    id: str
    what: str
    vllm: str
    ran: bool
    problems: tuple[str, ...]
    source: str

    @property
    def right(self) -> bool:
        return self.ran == (not self.problems)


def fit_points() -> list[Fit]:
    """Engines that ran, or ran out of memory."""
    found = []
    for row in rows("fits.csv"):
        engine = engine_of(row)
        found.append(Fit(row["id"], _what(row, engine), row["vllm"], row["fits"] == "yes", capacity(engine).problems, row["source"]))
    return found


def speed_points() -> list[Point]:
    """Speeds of vLLM."""
    found = []
    for row in rows("speed.csv"):
        engine = engine_of(row)
        load = Load(int(row["concurrency"]), int(row["prompt"]), int(row["answer"]))
        running = concurrent_requests(engine, capacity(engine).pool_blocks, load.prompt_tokens + load.answer_tokens // 2)
        told = speed(engine, load, running)
        planned = {"replica": told.replica_tokens_s, "user": told.user_tokens_s, "ttft": told.ttft_s}[row["what"]]
        what = f"{_what(row, engine)}, {load.concurrency} at once, {load.prompt_tokens}:{load.answer_tokens}, {row['what']}"
        found.append(Point(row["id"], what, row["vllm"], float(row["value"]), planned, row["source"]))
    return found


def figure_points() -> list[Point]:
    """The figure of vLLM's post on Llama 4, on which efficiencies with experts are fitted."""
    found = []
    for number, row in enumerate(VLLM_FIGURE):
        load = row.load
        running = concurrent_requests(row.engine, capacity(row.engine).pool_blocks, load.prompt_tokens + load.answer_tokens // 2)
        what = f"{row.what} TP8, {load.concurrency} at once, {load.prompt_tokens}:{load.answer_tokens}, replica"
        planned = speed(row.engine, load, running).replica_tokens_s
        found.append(Point(f"V{number + 1}", what, "0.8", float(row.tokens_s), planned, row.source))
    return found
