"""`configs.schema`: what is allowed, what is refused, and that nothing changes on its way as JSON."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from pydantic import ValidationError

from configs.schema import Config, Gateway, Hardware, Limits, Model, Parallelism, RemoteImages, Scaling
from tests.unit.samples import MODEL, model, raw


@given(raw(Config))
def test_config_survives_the_way_as_json(value: dict[str, Any]) -> None:
    config = Config.model_validate(value)
    assert Config.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config


@given(raw(Model))
def test_range_of_replicas_is_never_empty(value: dict[str, Any]) -> None:
    scale = Model.model_validate(value).scale
    assert 0 <= scale.min_replicas <= scale.max_replicas
    assert scale.max_replicas >= 1


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({}, (1, 1)),
        ({"replicas": 3}, (3, 3)),
        ({"scaling": {"max_replicas": 4}}, (1, 4)),
        ({"scaling": {"min_replicas": 2, "max_replicas": 5}}, (2, 5)),
    ],
)
def test_replicas_are_a_number_or_a_range(fields: dict[str, Any], scale: tuple[int, int]) -> None:
    found = model(**fields).scale
    assert (found.min_replicas, found.max_replicas) == scale


def test_gpus_of_a_replica() -> None:
    assert Parallelism(tensor=8, pipeline=2).gpus == 16
    assert Parallelism(tensor=8, data=2).gpus == 16


def test_auto_is_a_word_and_has_no_size() -> None:
    chosen_later = model(parallel="auto").parallel
    assert chosen_later == Parallelism(auto=True)
    with pytest.raises(ValueError, match="no size before the planner has chosen one"):
        _ = chosen_later.gpus
    with pytest.raises(ValidationError, match="give either auto or the sizes, not both"):
        model(parallel={"auto": True, "tensor": 2})


@pytest.mark.parametrize("said", [{}, {"gpu": "H100", "node": "dgx-h100"}])
def test_hardware_is_of_one_kind(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="give one of node, gpu and custom_gpu"):
        Hardware.model_validate(said)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"replicas": 1, "scaling": {}}, "give either replicas or scaling, not both"),
        ({"scaling": {"hour_price": 5}}, "hour_price needs gpu_hour_price"),
        ({"scaling": {"headroom": 0.5}}, "headroom needs a range"),
        (
            {"scaling": {"max_replicas": 2, "schedules": [{"begins": "08:00", "ends": "18:00", "min_replicas": 3}]}},
            "schedules[0].min_replicas (3) must not be above max_replicas (2)",
        ),
        ({"engine": {"max-num-seqs": 4}}, "vLLM has no engine argument 'max-num-seqs'; did you mean 'max_num_seqs'?"),
        ({"engine": {"structured_outputs_config": {"backend": "auto"}}}, "must name one backend"),
        ({"engine": {"structured_outputs_config": "xgrammar"}}, "must name one backend"),
        ({"engine": {"sse_keep_alive_interval": 5}}, "would be taken for the token"),
        ({"engine": {"model": "x"}}, "'model' is not set here: use checkpoint"),
        ({"engine": {"tensor_parallel_size": 8, "nope": 1}}, "use parallel.tensor"),
        ({"engine": {"tensor_parallel_size": 8, "nope": 1}}, "no engine argument 'nope'"),
        ({"engine": {"max_num_seqs": "lots"}}, "'max_num_seqs' must be a whole number (got 'lots')"),
        ({"engine": {"max_num_seqs": True}}, "'max_num_seqs' must be a whole number (got True)"),
        ({"engine": {"max_num_seqs": 0}}, "'max_num_seqs' must not be below 1 (got 0)"),
        ({"engine": {"gpu_memory_utilization": 9}}, "'gpu_memory_utilization' must not be above 1 (got 9)"),
        ({"engine": {"gpu_memory_utilization": 0}}, "'gpu_memory_utilization' must be above 0 (got 0)"),
        ({"engine": {"gpu_memory_utilization": "0.9"}}, "'gpu_memory_utilization' must be a number (got '0.9')"),
        ({"engine": {"kv_cache_dtype": "fp7"}}, "'kv_cache_dtype' must be one of auto, float16,"),
        ({"engine": {"kv_cache_dtype": None}}, "'kv_cache_dtype' must be one of auto, float16,"),
        ({"engine": {"enforce_eager": 1}}, "'enforce_eager' must be true or false (got 1)"),
        ({"engine": {"tokenizer": 7}}, "'tokenizer' must be text (got 7)"),
        ({"engine": {"hf_overrides": []}}, "'hf_overrides' must be a mapping (got [])"),
        ({"engine": {"cudagraph_capture_sizes": 8}}, "'cudagraph_capture_sizes' must be a list (got 8)"),
        ({"engine": {"allowed_origins": ["*"]}}, "use gateway.cors"),
        ({"engine": {"ssl_keyfile": "/k"}}, "use gateway.tls for clients, and engine_tls"),
        ({"engine": {"root_path": "/llm"}}, "let the proxy in front of them take a prefix away"),
        ({"engine": {"lora_modules": ["a=/b"]}}, "the gateway knows no adapters"),
        ({"engine": {"api_key": ["k"]}}, "engines ask for the herd's own key"),
        ({"engine": {"uvicorn_log_level": "debug"}}, "an engine's server is the herd's"),
        ({"engine": {"nnodes": 2}}, "use parallel.data"),
        ({"engine": {"tokens_only": True}}, "cannot serve"),
        ({"engine": {"max_log_len": 5}}, "never logged"),
        ({"engine": {"hf_overrides": date(2026, 1, 1)}}, "'hf_overrides' must be a JSON value"),
        ({"engine": {"hf_overrides": {"a": [float("nan")]}}}, "'hf_overrides' must be a JSON value"),
        ({"engine": {"hf_overrides": float("inf")}}, "'hf_overrides' must be a JSON value"),
        ({"engine": {"hf_overrides": {1: 2}}}, "'hf_overrides' must be a JSON value"),
        ({"images_per_prompt": 11}, "less than or equal to 10"),
        ({"kind": "llama-5"}, "Input should be 'llama-4-scout'"),
        ({"id": "a b"}, "String should match pattern"),
        ({"colour": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_model_refuses(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        model(**fields)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "engine",
    [
        {"max_num_seqs": None, "gpu_memory_utilization": 1, "kv_cache_dtype": "fp8", "mm_processor_cache_type": None},
        {"chat_template": "/templates/own.jinja", "seed": -1, "watermark": 0.5, "enable_prefix_caching": None},
        {"tokenizer_mode": "auto", "attention_backend": "FLASH_ATTN", "ignore_patterns": ["a"]},
    ],
)
def test_engine_arguments_that_vllm_takes_are_taken(engine: dict[str, Any]) -> None:
    assert model(engine=engine).engine == engine


def test_engine_argument_that_holds_itself_is_refused() -> None:
    circle: dict[str, Any] = {}
    circle["again"] = circle
    with pytest.raises(ValidationError, match="must be a JSON value"):
        model(engine={"hf_overrides": circle})


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ([], "must name at least one model"),
        ([MODEL, MODEL], r"models\[1\] uses the name 'llama', which models\[0\] already has"),
        ([{**MODEL, "aliases": ["llama"]}], r"models\[0\] uses the name 'llama', which models\[0\] already has"),
        ([{**MODEL, "aliases": ["b"]}, {**MODEL, "id": "b"}], r"models\[1\] uses the name 'b', which models\[0\] already has"),
    ],
)
def test_config_refuses(models: list[dict[str, Any]], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Config.model_validate({"models": models})


@pytest.mark.parametrize(
    ("auto", "first", "sentence"),
    [
        (["x"], {}, "gateway.auto names 'x', which is not the id of a model; the ids are: llama, b"),
        (["l"], {"aliases": ["l"]}, "gateway.auto names 'l', which is not the id of a model"),
        ([], {"fallbacks": ["x"]}, r"models\[0\].fallbacks names 'x', which is not the id of a model"),
        ([], {"fallbacks": ["b", "llama"]}, r"models\[0\].fallbacks names the model itself"),
        (["b"], {"aliases": ["auto"]}, r"models\[0\] uses the name 'auto', which gateway.auto already has"),
    ],
)
def test_models_that_are_named_again_must_be_there(auto: list[str], first: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Config.model_validate({"gateway": {"auto": auto}, "models": [{**MODEL, **first}, {**MODEL, "id": "b"}]})


def test_ranges_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"min_replicas \(3\) must not be above max_replicas \(2\)"):
        Scaling(min_replicas=3, max_replicas=2)
    with pytest.raises(ValidationError, match="max_replicas"):
        Scaling(min_replicas=0, max_replicas=0)
    with pytest.raises(ValidationError, match=r"first_byte_s \(20\) must not be longer than total_s \(10\)"):
        Limits(first_byte_s=20, total_s=10)


def test_model_may_have_no_replica_while_nobody_asks_for_it() -> None:
    model = {**MODEL, "scaling": {"min_replicas": 0, "max_replicas": 2}}
    assert [one.on_demand for one in Config.model_validate({"models": [model, {**MODEL, "id": "b"}]}).models] == [True, False]
    with pytest.raises(ValidationError, match="replicas"):
        Config.model_validate({"models": [{**MODEL, "replicas": 0}]})
    with pytest.raises(ValidationError, match=r"prefill has replicas of its own, which stay: give scaling\.min_replicas at least 1"):
        Config.model_validate({"models": [{**model, "prefill": {}}]})


@pytest.mark.parametrize("host", ["example.com", "a", "10.0.0.1", "*.example.com"])
def test_host_names(host: str) -> None:
    assert RemoteImages(allowed_hosts=(host,)).allowed_hosts == (host,)


@pytest.mark.parametrize("host", ["", "*", "*.", "*example.com", "a.*.com", "http://example.com", "example.com/a", "-a", "a" * 254])
def test_what_would_never_match_is_no_host_name(host: str) -> None:
    with pytest.raises(ValidationError):
        RemoteImages(allowed_hosts=(host,))


def test_config_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Gateway(), "port", 1)  # noqa: B010 (mypy knows that it is frozen)
