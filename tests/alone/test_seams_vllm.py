"""What vLLM does not document and the herd relies on is in the vLLM that is installed, as each of our files takes it.

A new version of vLLM fails here in seconds, with the name of the file to look at. `test_seams_events.py` holds its bytes.
"""

from pathlib import Path

import pytest

from deployments.engine.vllm.kept_starts import PORTS, folders
from deployments.lifecycle.engine_arguments import engine_environment
from tests.alone import vllm_itself
from tests.alone.seams import ROOT, Seam, imported, unlisted
from tests.unit.samples import scout

Found = dict[str, dict[str, list[str]] | None]

#: Both of vLLM's model runners for GPUs know them.
KEYS = "tests.alone.vllm_keys"
MEMORY = ("kv_caches", "model_memory_usage")
SEAMS = [
    # The serving side goes on with an answer.
    Seam(
        "engine/vllm/resume",
        "vllm.v1.engine.async_llm:AsyncLLM._add_request",
        takes=("self", "request", "prompt", "parent_req", "index", "queue"),
    ),
    Seam("engine/vllm/resume", "vllm.v1.engine.async_llm:AsyncLLM.check_admission", takes=("self", "n", "request_id")),
    Seam("engine/vllm/resume", "vllm.v1.engine.async_llm:AsyncLLM", has=("output_processor", "engine_core")),
    Seam("engine/vllm/resume", "vllm.v1.engine.core_client:AsyncMPClient.add_request_async", takes=("self", "request")),
    Seam(
        "engine/vllm/resume",
        "vllm.v1.engine.output_processor:OutputProcessor.add_request",
        takes=("self", "request", "prompt", "parent_req", "request_index", "queue"),
    ),
    Seam("engine/vllm/resume", "vllm.v1.engine.output_processor:OutputProcessor.has_request", takes=("self", "request_id")),
    Seam("engine/vllm/resume", "vllm.v1.engine.output_processor:OutputProcessor.process_outputs", has=("engine_core_outputs",)),
    Seam("engine/vllm/resume", "vllm.v1.engine.output_processor:OutputProcessor", has=("request_states", "tracing_enabled")),
    Seam("engine/vllm/resume", "vllm.v1.engine.output_processor:OutputProcessorOutput", has=("request_outputs",)),
    Seam("engine/vllm/resume", "vllm.v1.engine.output_processor:RequestState", has=("queue", "is_prefilling")),
    Seam("engine/vllm/resume", "vllm.v1.engine.output_processor:RequestOutputCollector.get_nowait", takes=("self",)),
    Seam("engine/vllm/resume", "vllm.v1.engine.parallel_sampling:ParentRequest"),
    Seam("engine/vllm/resume", "vllm.v1.engine:EngineCoreOutput", has=("request_id", "new_token_ids", "finish_reason", "stop_reason")),
    Seam("engine/vllm/resume", "vllm.v1.engine:EngineCoreRequest", has=("request_id", "prompt_token_ids", "sampling_params")),
    Seam("engine/vllm/resume", "vllm.v1.engine:FinishReason", has=("STOP", "LENGTH")),
    Seam("engine/vllm/resume", "vllm.outputs:RequestOutput"),
    Seam("engine/vllm/resume", "vllm.sampling_params:SamplingParams", has=("extra_args", "max_tokens", "min_tokens", "clone")),
    # A tokenizer is read once in each process.
    Seam(
        "engine/vllm/one_tokenizer",
        "transformers.processing_utils:ProcessorMixin._load_tokenizer_from_pretrained",
        takes=("sub_processor_type", "pretrained_model_name_or_path", "subfolder", "kwargs"),
    ),
    Seam(
        "engine/vllm/one_tokenizer",
        "vllm.transformers_utils.processor:cached_get_processor_without_dynamic_kwargs",
        takes=("processor_name", "args", "revision", "trust_remote_code", "processor_cls", "kwargs"),
    ),
    Seam("engine/vllm/one_tokenizer", "vllm.tokenizers.detokenizer_utils:_get_leading_space_marker", takes=("tokenizer",)),
    # A stream that may call tools gets one token in each output.
    *(
        Seam("engine/vllm/token_by_token", f"vllm.entrypoints.openai.{name}", has=("tools", "tool_choice", "stream"))
        for name in ("chat_completion.protocol:ChatCompletionRequest", "responses.protocol:ResponsesRequest")
    ),
    Seam(
        "engine/vllm/token_by_token",
        "vllm.entrypoints.openai.chat_completion.protocol:ChatCompletionRequest.to_sampling_params",
        takes=("self", "max_tokens", "default_sampling_params"),
    ),
    Seam(
        "engine/vllm/token_by_token",
        "vllm.entrypoints.openai.responses.protocol:ResponsesRequest.to_sampling_params",
        takes=("self", "default_max_tokens", "default_sampling_params"),
    ),
    Seam("engine/vllm/token_by_token", "vllm.sampling_params:SamplingParams", has=("extra_args", "output_kind")),
    Seam("engine/vllm/token_by_token", "vllm.sampling_params:RequestOutputKind", has=("DELTA",)),
    Seam(
        "engine/vllm/token_by_token",
        "vllm.v1.engine.output_processor:OutputProcessor.add_request",
        takes=("self", "request", "prompt", "parent_req", "request_index", "queue"),
    ),
    Seam(
        "engine/vllm/token_by_token",
        "vllm.v1.engine.output_processor:OutputProcessor.process_outputs",
        takes=("self", "engine_core_outputs", "engine_core_timestamp", "iteration_stats"),
    ),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine.output_processor:OutputProcessor", has=("request_states",)),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine.output_processor:OutputProcessorOutput"),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine.output_processor:RequestState", has=("queue", "stream_interval")),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine.output_processor:RequestOutputCollector.put", takes=("self", "output")),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine.output_processor:RequestOutputCollector.get", takes=("self",)),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine.output_processor:RequestOutputCollector.get_nowait", takes=("self",)),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine.output_processor:RequestOutputCollector.close", takes=("self",)),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine.output_processor:RequestOutputCollector", has=("ready",)),
    # Each of its fields goes with one token, or with all.
    Seam(
        "engine/vllm/token_by_token",
        "vllm.v1.engine:EngineCoreOutput",
        takes=(
            *("request_id", "new_token_ids", "new_logprobs", "new_prompt_logprobs_tensors", "pooling_output", "finish_reason"),
            *("stop_reason", "events", "kv_transfer_params", "ec_transfer_params", "trace_headers", "prefill_stats", "routed_experts"),
            *("num_nans_in_logits", "mm_cache_miss_hashes", "new_sampling_mask", "spec_decode_metrics"),
        ),
    ),
    Seam("engine/vllm/token_by_token", "vllm.v1.engine:EngineCoreRequest", has=("request_id", "sampling_params")),
    Seam("engine/vllm/token_by_token", "vllm.v1.outputs:LogprobsLists.slice_request", takes=("self", "req_idx", "num_positions")),
    Seam("engine/vllm/token_by_token", "vllm.outputs:RequestOutput"),
    # The engine core goes on with a grammar.
    Seam("engine/vllm/grammar", "vllm.v1.structured_output:StructuredOutputManager._create_grammar", takes=("self", "request")),
    Seam(
        "engine/vllm/grammar",
        "vllm.v1.structured_output.backend_xgrammar:has_xgrammar_unsupported_json_features",
        takes=("schema",),
    ),
    Seam(
        "engine/vllm/grammar",
        "vllm.v1.structured_output.backend_xgrammar:XgrammarGrammar.accept_tokens",
        takes=("self", "request_id", "tokens"),
    ),
    Seam("engine/vllm/grammar", "vllm.v1.request:Request", has=("request_id", "sampling_params")),
    Seam("engine/vllm/grammar", "vllm.config:StructuredOutputsConfig", has=("backend",)),
    # The benchmark client.
    Seam("engine/vllm/benchmark_client", "vllm.benchmarks.serve:add_cli_args", takes=("parser",)),
    Seam("engine/vllm/benchmark_client", "vllm.benchmarks.serve:main", takes=("args",)),
    Seam("engine/vllm/benchmark_client", "vllm.utils.argparse_utils:FlexibleArgumentParser", has=("parse_args",)),
    # An image on CPU.
    Seam("engine/vllm/cpu_images", "vllm.platforms:current_platform", has=("is_cpu",)),
    Seam("engine/vllm/cpu_images", "vllm.model_executor.models.mllama4:Llama4UnfoldConvolution.forward", takes=("self", "hidden_states")),
    Seam("engine/vllm/cpu_images", "vllm.model_executor.models.mllama4:Llama4UnfoldConvolution", has=("linear", "unfold")),
    # Readers of images.
    Seam("engine/vllm/image_formats", "PIL.Image:init", takes=()),
    Seam("engine/vllm/image_formats", "PIL.Image:ID"),
    # Refusals.
    Seam(
        "engine/vllm/refusals",
        "vllm.entrypoints.serve.exception_handling.error_response:create_error_response",
        takes=("message", "err_type", "status_code", "param"),
    ),
    Seam("engine/vllm/refusals", "vllm.entrypoints.serve.exception_handling.error_response:sanitize_message", takes=("message",)),
    Seam("engine/vllm/refusals", "vllm.exceptions:VLLMError"),
    Seam("engine/vllm/refusals", "vllm.exceptions:VLLMServerError"),
    Seam("engine/vllm/refusals", "vllm.v1.engine.exceptions:EngineDeadError"),
    Seam("engine/vllm/refusals", "vllm.v1.engine.exceptions:EngineGenerateError"),
    Seam("engine/vllm/refusals", "fastapi.routing:APIRoute", has=("dependant",)),
    Seam("engine/vllm/refusals", "fastapi.dependencies.models:Dependant", has=("body_params",)),
    Seam("engine/vllm/refusals", "fastapi._compat.v2:ModelField", has=("_type_adapter",)),
    Seam("engine/vllm/refusals", "pydantic:TypeAdapter", has=("validator", "core_schema")),
    Seam("engine/vllm/refusals", "fastapi:FastAPI", has=("middleware_stack", "exception_handler")),
    # How an engine is made.
    Seam("engine/vllm/engine_state", "vllm.v1.engine.async_llm:AsyncLLM", has=("vllm_config", "engine_core")),
    Seam("engine/vllm/engine_state", "vllm.config:VllmConfig", has=("cache_config", "scheduler_config")),
    Seam("engine/vllm/engine_state", "vllm.config:CacheConfig", has=("kv_cache_size_tokens",)),
    Seam("engine/vllm/engine_state", "vllm.config:SchedulerConfig", has=("max_num_seqs", "max_num_batched_tokens", "policy")),
    Seam("engine/vllm/engine_state", "vllm.config:CacheConfig", has=("block_size",)),
    Seam(
        "engine/vllm/engine_state",
        "vllm.v1.engine.async_llm:AsyncLLM.collective_rpc",
        takes=("self", "method", "timeout", "args", "kwargs"),
    ),
    # A start leaves its code and its measures for the next one.
    Seam("engine/vllm/kept_starts", "vllm.envs:compile_factors", takes=()),
    Seam(
        "engine/vllm/kept_starts",
        "vllm.v1.worker.startup_plan:compute_plan_fingerprint",
        takes=("vllm_config", "rank", "world_size"),
    ),
    Seam("engine/vllm/kept_starts", "vllm.config:VllmConfig", has=("cache_config", "model_config")),
    Seam("engine/vllm/kept_starts", "vllm.config:CacheConfig", has=("gpu_memory_utilization",)),
    Seam("engine/vllm/kept_starts", "vllm.config.multimodal:MultiModalConfig", has=("language_model_only", "limit_per_prompt")),
    # The memory that workers tell.
    Seam("engine/vllm/worker_memory", "vllm.config:ParallelConfig", has=("worker_extension_cls",)),
    Seam("engine/vllm/worker_memory", "vllm.platforms:current_platform", has=("get_device_name",)),
    Seam("engine/vllm/worker_memory", "vllm.v1.worker.gpu_worker:Worker", has=("device", "model_runner")),
    Seam("engine/vllm/worker_memory", "vllm.v1.worker.cpu_worker:CPUWorker", has=("device", "model_runner")),
    Seam("engine/vllm/worker_memory", "vllm.v1.worker.gpu_model_runner:GPUModelRunner", has=MEMORY),
    Seam("engine/vllm/worker_memory", "vllm.v1.worker.gpu.model_runner:GPUModelRunner", has=MEMORY),
    Seam("engine/vllm/worker_memory", "vllm.v1.worker.cpu_model_runner:CPUModelRunner", has=("kv_caches",)),
    Seam("engine/vllm/engine_state", "vllm.v1.engine.core_client:AsyncMPClient.dp_engines_running", takes=("self",)),
]


@pytest.fixture(scope="module")
def found() -> Found:
    names = [seam.name for seam in SEAMS]
    return dict(zip(names, vllm_itself.ask("seams", names), strict=True))


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: f"{seam.name}-{seam.used_by}")
def test_vllm_still_has(found: Found, seam: Seam) -> None:
    assert seam.wrong(found[seam.name]) is None


@pytest.mark.parametrize("package", ["vllm", "PIL"])
def test_every_import_of_vllm_in_its_room_is_held_here(package: str) -> None:
    # `error_response` is a module; its function is held.
    assert unlisted(SEAMS, imported("engine/vllm", package)) <= {("engine/vllm/image_formats", "PIL:Image")}


def test_every_seam_is_in_a_file_of_ours() -> None:
    assert all((ROOT / "deployments" / f"{seam.used_by}.py").exists() for seam in SEAMS)


def test_vllm_reads_the_variables_that_its_processes_are_started_with() -> None:
    """`deployments/lifecycle/engine_arguments.py` and `deployments/engine/replica.py`."""
    names = [*engine_environment(scout(), "cpu"), *folders(Path("/cache"))]
    asked = [*(name for name in names if name.startswith("VLLM_")), *sorted(PORTS)]
    assert vllm_itself.ask("reads_variables", asked) == dict.fromkeys(asked, True)


def test_port_of_a_start_is_not_in_the_key_of_its_compiled_code() -> None:
    """The first pair is vLLM's own: where it is one key, our mend can go."""
    (theirs, another), (ours, again) = vllm_itself.ask("keys_of_code", [20001, 20002], module=KEYS)
    assert theirs != another
    assert ours == again


def test_memory_plan_is_another_one_with_another_share_of_the_memory_and_other_images() -> None:
    """The first three are vLLM's own, from one engine with 0.9 of the memory, with 0.5, and with 0.9 and two images: one key for all."""
    theirs, ours = vllm_itself.ask("keys_of_memory", [[0.9, 1], [0.5, 1], [0.9, 2]], module=KEYS)
    assert len(set(theirs)) == 1
    assert len(set(ours)) == 3


def test_worker_tells_a_pool_that_four_layers_share_once() -> None:
    assert vllm_itself.ask("worker_memory") == {"device": "cpu", "weights_bytes": None, "kv_bytes": 1024, "taken": []}
