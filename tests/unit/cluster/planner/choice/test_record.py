"""`cluster.planner.choice.record`, `herds` and `sentences`: plans as rows with stable keys, and what is said above them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cluster.catalogue.hardware import Cluster
from cluster.planner.choice.herds import herd_in_words, herd_records
from cluster.planner.choice.kinds import rows
from cluster.planner.choice.recommend import Choice, recommended
from cluster.planner.choice.record import KEYS_OF_HERDS, KEYS_OF_PLANS, Asked, records
from cluster.planner.choice.sentences import asked_for, best_plan
from cluster.planner.herd_fit import assess
from cluster.planner.memory.engine import VLLM
from cluster.planner.search import Wish, plans
from cluster.planner.speed import Load
from configs.schema import Model
from tests.unit.cluster.planner.test_herd_fit import maverick
from tests.unit.cluster.planner.test_search import asked, machines, subject
from tests.unit.samples import config, model

LOAD = Wish().load


def test_rows_have_the_keys_that_scripts_know_and_the_recommended_one_is_first() -> None:
    found = asked("llama-4-scout")
    choice = recommended(found, Wish())
    assert choice is not None
    made = records(found, choice, rows(found, choice, Wish()), Asked(LOAD, 2.0))
    assert len(made) == len(found)
    assert all(tuple(row) == KEYS_OF_PLANS for row in made)
    assert [row["recommended"] for row in made] == [True] + [False] * (len(made) - 1)
    assert (made[0]["reason"], made[0]["kinds"], made[1]["reason"]) == (choice.reason, ["best"], None)
    assert json.loads(json.dumps(made)) == made


def test_values_are_those_of_the_plan() -> None:
    (plan,) = asked("llama-4-scout", quantization="fp8", tensor=2, kv_dtype="bf16", data=1, max_num_seqs=128)
    choice = Choice(plan, "it is")
    (row,) = records([plan], choice, (), Asked(LOAD, 2.0))
    assert plan.speed is not None
    assert row | {"limits": [], "parts_gib_per_gpu": {}} == {
        "recommended": True,
        "reason": "it is",
        "kinds": [],
        "fits": True,
        "checkpoint": "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic",
        "gpu": "H100",
        "gpus": 2,
        "shape": "TP 2",
        "parallel": {"tensor": 2, "pipeline": 1, "data": 1, "expert": False},
        "quantization": "fp8",
        "kv_dtype": "bf16",
        "context_tokens": 131_072,
        "max_num_seqs": 128,
        "max_num_batched_tokens": 8192,
        "max_positions": 10_485_760,
        "hybrid_kv": True,
        "gpu_memory_utilization": 0.92,
        "vllm": "0.29",
        "weights_gib_per_gpu": 53.372,
        "rope_gib_per_gpu": 2.5,
        "parts_gib_per_gpu": {},
        "kv_gib_per_gpu": round(plan.capacity.kv_bytes / 2**30, 3),
        "memory_gib_per_gpu": 79.19,
        "kv_pool_tokens": plan.capacity.pool_tokens,
        "max_context_tokens": plan.capacity.max_context_tokens,
        "concurrent": dict(plan.capacity.concurrent),
        "load": {"concurrency": 64, "prompt_tokens": 1000, "answer_tokens": 1000},
        "running": 64,
        "tokens_s": round(plan.speed.replica_tokens_s, 1),
        "user_tokens_s": round(plan.speed.user_tokens_s, 2),
        "ttft_s": round(plan.speed.ttft_s, 4),
        "gpu_hour_tokens": round(plan.speed.gpu_hour_tokens),
        "speed_spread": 0.2,
        "gpu_hour_price": 2.0,
        "cost_per_million_tokens": round(plan.speed.cost_per_million_tokens(2.0), 4),
        "limited_by": "bandwidth",
        "limits": [],
        "problems": [],
    }
    assert row["parts_gib_per_gpu"].keys() >= {"activations", "CUDA graphs"}
    assert {one["of"] for one in row["limits"]} == {"context", "requests", "speed"}


def test_plan_that_does_not_fit_has_no_speed_and_no_price() -> None:
    found = asked("llama-4-maverick", quantization="bf16")
    made = records(found, None, (), Asked(LOAD, 2.0))
    assert all(row["tokens_s"] is row["cost_per_million_tokens"] is row["running"] is None and not row["recommended"] for row in made)
    assert made[0]["limits"][0]["of"] == "start"
    (unnamed,) = records([replace(found[0], checkpoint=replace(found[0].checkpoint, repository=""))], None, (), Asked(LOAD))
    assert (unnamed["checkpoint"], unnamed["gpu_hour_price"]) == (None, None)


def herd(*models: Model, cluster: Cluster | None) -> tuple[str, list[dict[str, Any]]]:
    asked_of = Asked(LOAD)
    found = assess(config(*models), cluster)
    return herd_in_words("herd", cluster, found, asked_of, VLLM), herd_records(found, asked_of)


def test_herd_has_a_row_for_each_model() -> None:
    said, (large,) = herd(maverick(parallel={"tensor": 8, "expert": True}), cluster=machines())
    assert said == (
        "herd fits on 8×H100, vLLM 0.29: it takes 8 GPUs on 1 node; there are 8. "
        "Speeds are those of one replica for 64 requests at once, 1,000 tokens in and 1,000 out."
    )
    assert set(large) == set(KEYS_OF_HERDS)
    assert (large["model"], large["verdict"], large["fits"], large["running"]) == ("maverick", "fits", True, 64)


def test_herd_that_does_not_fit_says_so() -> None:
    said, (row,) = herd(maverick(parallel={"tensor": 4}), cluster=machines())
    assert said.startswith("herd does not fit on 8×H100")
    assert (row["verdict"], row["fits"], row["tokens_s"], row["limited_by"]) == ("does not fit", False, None, "weights")
    assert "the weights take 97.0 GiB" in row["problems"][0]
    crowded, (each,) = herd(maverick(replicas=2, parallel={"tensor": 8, "expert": True}), cluster=machines())
    assert "it takes 16 GPUs on 2 nodes; there are 8" in crowded
    assert (each["verdict"], each["fits"]) == ("fits", False), "one alone would"


def test_herd_with_ranges_says_how_many_gpus_it_may_come_to() -> None:
    said, (row,) = herd(
        maverick(scaling={"min_replicas": 0, "max_replicas": 1}, parallel={"tensor": 8, "expert": True}), cluster=machines()
    )
    assert said.startswith("herd fits on 8×H100, vLLM 0.29: it takes 0 GPUs on 0 nodes, and up to 8 as its load grows; there are 8. ")
    assert (row["replicas"], row["verdict"]) == (0, "fits")


def test_model_that_no_plan_can_be_made_of_has_a_row_without_values() -> None:
    said, (row,) = herd(model(), cluster=None)
    assert said == "herd takes no GPUs that are known: its memory is not checked."
    assert set(row) == set(KEYS_OF_HERDS)
    assert (row["verdict"], row["fits"], row["tokens_s"], row["parallel"]["tensor"]) == ("no GPU known", None, None, 1)
    generic = model(kind="generic", accelerator="H100", quantization="bf16", checkpoint="org/x")
    unlimited, (other,) = herd(generic, cluster=replace(machines(), nodes=None))
    assert other["verdict"] == "not checked"
    assert "it takes 1 GPU on 1 node" in unlimited


@pytest.mark.parametrize(
    ("wish", "price", "said"),
    [
        (Wish(), None, "Llama 4 Scout on 8×H100, vLLM 0.29, for 64 requests at once, 1,000 tokens in and 1,000 out."),
        (
            Wish(context_tokens=1_048_576, load=Load(1, 10, 20), quantization="fp8", kv_dtype="bf16", tensor=8, pipeline=1, data=1),
            2.5,
            "for 1 request at once, 10 tokens in and 20 out; context 1M; weights FP8; KV cache BF16; TP 8; PP 1; DP 1; a GPU-hour 2.5.",
        ),
        (
            Wish(expert=True, hybrid_kv=False, gpu_memory_utilization=0.9, max_num_seqs=8, cheapest=True, engine={"enforce_eager": True}),
            None,
            "; whole experts yes; hybrid KV no; utilisation 0.9; sequences 8; enforce_eager=True; cheapest tokens first.",
        ),
        (Wish(expert=False), None, "; whole experts no."),
    ],
)
def test_what_was_asked_is_said(wish: Wish, price: float | None, said: str) -> None:
    assert asked_for(subject("llama-4-scout"), machines(), wish, price).endswith(said)


def test_best_plan_is_said_in_one_sentence() -> None:
    wish = Wish()
    choice = recommended(plans(subject("llama-4-scout"), machines(), wish), wish)
    assert choice is not None
    assert best_plan(choice, wish.load) == (
        "Best: 2×H100, TP 2, FP8, holds 315K tokens, about 1,800 tok/s (±20 %) at 64 users; because fewer GPUs do not run all 64 at once "
        "and take 128K of context with weights of 8 bits or more: 1×H100 fits INT4 weights only."
    )
    assert ", 0.62 for a million tokens; because" in best_plan(choice, wish.load, 2.0)
    few = recommended(asked("llama-4-scout", machines(gpus=1)), wish)
    assert few is not None
    assert "INT4 with FP8 KV cache, holds 164K tokens, about 1,100 tok/s (±20 %) at 43 of 64 users, the others wait" in best_plan(few, LOAD)
    assert "at 1 user;" in best_plan(choice, Load(1, 1000, 1000))


def test_plan_without_a_speed_is_told_without_one() -> None:
    worst = asked("llama-4-maverick", quantization="bf16")[0]
    assert best_plan(Choice(worst, "it was asked for"), LOAD).endswith("holds 0 tokens; because it was asked for.")
