"""What vLLM itself says, and Ray's layer over it, for the tests here to ask: the import takes ten seconds, and leaves threads.

`python -m tests.alone.vllm_itself NAME`, a list of arguments (on the standard input) and the answer (the last line) in JSON.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

LONGEST_S = 300


class Passed(Exception):
    """The sizes were accepted: what comes next are the weights."""


def _stop(*_args: Any, **_named: Any) -> None:
    raise Passed


def _allowed(build: Callable[[], object]) -> bool:
    try:
        build()
    except Passed:
        return True
    except (AssertionError, ValueError):
        return False
    return True


def assertions(shapes: list[dict[str, Any]], sizes: list[int]) -> list[bool]:
    """Whether vLLM's models accept each tensor parallel size for each shape: they are built up to their first layer of weights."""
    from vllm.distributed.utils import divide
    from vllm.model_executor.layers.vocab_parallel_embedding import pad_vocab_size
    from vllm.model_executor.models import llama, llama4, mllama4

    for module in (llama, llama4, mllama4):
        module.QKVParallelLinear = _stop
    mllama4.MMEncoderAttention = _stop
    mllama4.is_vit_use_data_parallel = lambda: False

    def text(shape: dict[str, Any]) -> None:
        config = SimpleNamespace(head_dim=shape["head_dim"], no_rope_layers=[1], use_qk_norm=False, attn_temperature_tuning=True)
        attention = llama4.Llama4Attention if shape["vision"] else llama.LlamaAttention
        attention(config, shape["hidden"], shape["heads"], shape["kv_heads"], prefix="model.layers.0.self_attn")

    def vision(shape: dict[str, Any]) -> None:
        hidden, heads = shape["vision"]
        mllama4.Llama4VisionAttention(SimpleNamespace(hidden_size=hidden, num_attention_heads=heads, attention_dropout=0), None, "")

    def answers() -> Iterator[bool]:
        for shape in shapes:
            widths = (*shape["widths"], pad_vocab_size(shape["vocab"]))
            for size in sizes:
                for module in (llama, llama4, mllama4):
                    module.get_tensor_model_parallel_world_size = partial(int, size)
                split = all(_allowed(partial(divide, width, size)) for width in widths)
                seen = not shape["vision"] or _allowed(partial(vision, shape))
                yield split and seen and _allowed(partial(text, shape))

    return list(answers())


def verified(cases: list[dict[str, Any]]) -> list[bool]:
    """Whether vLLM's check of a model's config against its parallel config passes."""
    from vllm.config import ModelConfig

    def verify(case: dict[str, Any]) -> None:
        model = SimpleNamespace(
            model_arch_config=SimpleNamespace(total_num_attention_heads=case["heads"]),
            is_moe=case["experts"] > 0,
            registry=SimpleNamespace(is_pp_supported_model=lambda *_: True),
            architectures=[],
            multimodal_config=None,
        )
        model._verify_with_expert_parallelism = partial(ModelConfig._verify_with_expert_parallelism, model)
        parallel = SimpleNamespace(
            tensor_parallel_size=case["tensor"],
            pipeline_parallel_size=case["pipeline"],
            enable_expert_parallel=case["expert"],
            decode_context_parallel_size=1,
        )
        ModelConfig.verify_with_parallel_config(model, parallel)

    return [_allowed(partial(verify, case)) for case in cases]


def pool(cases: list[dict[str, Any]]) -> list[list[int] | None]:
    """Blocks and tokens that vLLM's own functions make of layers and bytes; none where they refuse."""
    return [_pool(case) for case in cases]


def _pool(case: dict[str, Any]) -> list[int] | None:
    import torch
    from vllm.distributed.utils import get_pp_indices
    from vllm.v1.core import kv_cache_utils
    from vllm.v1.kv_cache_interface import ChunkedLocalAttentionSpec, FullAttentionSpec

    common = {
        "block_size": case["block_tokens"],
        "num_kv_heads": case["heads"],
        "head_size": case["head_dim"],
        "dtype": {1.0: torch.uint8, 2.0: torch.bfloat16}[case["bytes"]],
    }

    def spec(layer: int) -> Any:
        if layer in case["chunked"]:
            return ChunkedLocalAttentionSpec(attention_chunk_size=case["chunk_tokens"], **common)
        return FullAttentionSpec(**common)

    stages = [range(*get_pp_indices(case["layers"], rank, case["pipeline"])) for rank in range(case["pipeline"])]
    config = _config(case)
    try:
        found = kv_cache_utils.get_kv_cache_configs(
            config, [{f"layers.{layer}": spec(layer) for layer in stage} for stage in stages], [case["kv_bytes"]] * len(stages)
        )
    except ValueError as error:
        if "KV cache" not in str(error):
            raise
        return None
    return [found[0].num_blocks, kv_cache_utils.get_kv_cache_capacity(config, found[0])[0]]


def _config(case: dict[str, Any]) -> SimpleNamespace:
    from vllm.v1.kv_cache_layout import KVCacheLayout

    return SimpleNamespace(
        scheduler_config=SimpleNamespace(disable_hybrid_kv_cache_manager=not case["hybrid"]),
        cache_config=SimpleNamespace(
            num_gpu_blocks_override=None,
            prefix_cache_retention_interval=None,
            get_resolved_kv_cache_layout=lambda: next(iter(KVCacheLayout)),
        ),
        model_config=SimpleNamespace(max_model_len=case["context_tokens"], original_max_model_len=case["context_tokens"]),
        parallel_config=SimpleNamespace(decode_context_parallel_size=1),
        speculative_config=None,
        kv_transfer_config=None,
        max_in_flight_tokens=case["in_flight_tokens"],
    )


def options(asked: list[tuple[dict[str, Any], Any]]) -> list[dict[str, Any]]:
    """What Ray's own builder tells Ray Serve of an engine's deployment: where it is placed, and in which environment."""
    from ray.serve.llm import LLMConfig
    from ray.serve.llm.deployment import DPServer, LLMServer

    from configs.schema import Model
    from deployments.lifecycle.applications import engine_config

    def theirs(model: Model, accelerator: Any) -> dict[str, Any]:
        server = LLMServer if model.parallel.data == 1 else DPServer
        found = told(server.get_deployment_options(LLMConfig(**engine_config(model, accelerator))))
        # On CPUs Ray says that a replica has no GPU.
        return found | {"bundles": [{name: count for name, count in bundle.items() if count} for bundle in found["bundles"]]}

    return [theirs(Model.model_validate(model), accelerator) for model, accelerator in asked]


def told(options: dict[str, Any]) -> dict[str, Any]:
    """Of a deployment's options, where it is placed, and in which environment; as JSON says it."""
    gang = options.get("gang_scheduling_config")
    return {
        "bundles": options["placement_group_bundles"],
        "strategy": options.get("placement_group_strategy"),
        "gang": gang and gang.model_dump(mode="json"),
        "environment": options["ray_actor_options"]["runtime_env"]["env_vars"],
    }


def media(requests: list[tuple[str, dict[str, Any]]]) -> list[list[tuple[str, Any]] | None]:
    """What vLLM reads as media in the body of each request, by its endpoint's short name; None where it refuses the body."""
    return [_media(endpoint, body) for endpoint, body in requests]


def _media(endpoint: str, body: dict[str, Any]) -> list[tuple[str, Any]] | None:
    from vllm.entrypoints.chat_utils import _parse_chat_message_content_part
    from vllm.exceptions import VLLMValidationError

    found: list[tuple[str, Any]] = []

    class Reader:
        """Takes down what it should read, in place of vLLM's own."""

        model_config = SimpleNamespace(enable_prompt_embeds=False)

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda content, *_more: found.append((name, content))

    try:
        for message in _messages(endpoint, body):
            content = message.get("content") if isinstance(message, dict) else None
            for part in content if content and not isinstance(content, str) else ():
                _parse_chat_message_content_part(part, Reader(), wrap_dicts=True, interleave_strings=False)
    except (VLLMValidationError, ValueError, TypeError, KeyError, AttributeError):  # answered with a status of 400 or more
        return found or None
    return found


def _messages(endpoint: str, body: dict[str, Any]) -> list[Any]:
    """The messages that vLLM's templates get."""
    from vllm.entrypoints.anthropic.protocol import AnthropicMessagesRequest
    from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
    from vllm.entrypoints.openai.responses.utils import construct_input_messages

    match endpoint:
        case "chat":
            return list(ChatCompletionRequest.model_validate(body).messages)
        case "messages":
            asked = AnthropicMessagesRequest.model_validate({"max_tokens": 1, **body})
            return list(AnthropicServingMessages.to_chat_completion_request(asked).messages)
        case _:
            return list(construct_input_messages(request_input=ResponsesRequest.model_validate(body).input))


def images(urls: list[str]) -> list[list[int] | None]:
    """The size that vLLM's loader makes of each image, under the herd's plugin; none where it refuses."""
    from PIL import Image
    from vllm.multimodal.media import ImageMediaIO, MediaConnector

    from deployments.engine.vllm.image_formats import mend

    mend()

    def size(url: str) -> list[int] | None:
        try:
            return list(MediaConnector().load_from_url(url, ImageMediaIO()).media.size)
        except (ValueError, NotImplementedError, Image.DecompressionBombError):
            return None

    return [size(url) for url in urls]


def request_fields() -> dict[str, list[str]]:
    """The fields of each endpoint's request classes, with their aliases."""
    from typing import get_args

    from vllm.entrypoints.anthropic.protocol import AnthropicCountTokensRequest, AnthropicMessagesRequest
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
    from vllm.entrypoints.pooling.embed.protocol import EmbeddingRequest
    from vllm.entrypoints.serve.tokenize.protocol import DetokenizeRequest, TokenizeRequest

    classes = {
        "chat": (ChatCompletionRequest,),
        "completions": (CompletionRequest,),
        "responses": (ResponsesRequest,),
        "messages": (AnthropicMessagesRequest,),
        "count_tokens": (AnthropicCountTokensRequest,),
        "embeddings": get_args(get_args(EmbeddingRequest)[0]),
        "tokenize": get_args(TokenizeRequest),
        "detokenize": (DetokenizeRequest,),
    }

    def names(kind: Any) -> Iterator[str]:
        for name, field in kind.model_fields.items():
            yield field.alias or name

    return {endpoint: sorted({name for kind in kinds for name in names(kind)}) for endpoint, kinds in classes.items()}


def second_doors() -> dict[str, list[str]]:
    """What vLLM takes beside its fields: arguments of chat templates, types of the items of `/v1/responses`, and limits of its samplers."""
    import inspect
    import typing

    from pydantic import BaseModel
    from transformers import PreTrainedTokenizerBase
    from vllm import envs, sampling_params
    from vllm.entrypoints.openai.responses.protocol import ResponseInputOutputItem
    from vllm.v1.worker.gpu.sample import logit_bias

    def words(kind: Any) -> set[str]:
        if typing.get_origin(kind) is typing.Literal:
            return set(typing.get_args(kind))
        return {word for inner in typing.get_args(kind) for word in words(inner)}

    def types_of(kind: Any) -> set[str]:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return words(kind.model_fields["type"].annotation)
        if isinstance(kind, type):
            return words(typing.get_type_hints(kind, include_extras=True).get("type"))
        return {word for inner in typing.get_args(kind) for word in types_of(inner)}

    parameters = inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters.values()
    return {
        "template_arguments": [one.name for one in parameters if one.name != "self" and one.kind is not one.VAR_KEYWORD],
        "item_types": sorted(types_of(ResponseInputOutputItem)),
        "limits": [
            str(number)
            for number in (
                logit_bias.MAX_NUM_ALLOWED_TOKEN_IDS,
                logit_bias.MAX_NUM_LOGIT_BIAS_TOKENS,
                logit_bias.MAX_NUM_STOP_TOKEN_IDS,
                sampling_params.MAX_LOGPROB_TOKEN_IDS,
                envs.VLLM_MAX_STOP_STRINGS,
                envs.VLLM_MAX_BAD_WORDS_TOTAL_TOKENS,
                envs.VLLM_MAX_NUM_BAD_WORDS,
            )
        ],
    }


def worker_memory() -> dict[str, Any]:
    """What a worker on a CPU with a pool of a known size tells of its memory, and names of ours that vLLM's workers have already."""
    import torch
    from vllm.v1.worker.cpu_worker import CPUWorker
    from vllm.v1.worker.gpu_worker import Worker

    from deployments.engine.vllm.worker_memory import WorkerMemory

    class Ours(WorkerMemory):
        device = torch.device("cpu")
        pool = torch.zeros(4, 256, dtype=torch.int8)
        model_runner = SimpleNamespace(kv_caches=list(pool))

    taken = [name for name in dir(WorkerMemory) if not name.startswith("__") and any(hasattr(one, name) for one in (Worker, CPUWorker))]
    return Ours().herd_memory() | {"taken": taken}


def seams(names: list[str]) -> list[dict[str, list[str]] | None]:
    """What each of these names takes and has."""
    from tests.alone.seams import told as seams_told

    return seams_told(names)


def argument_kinds() -> dict[str, str]:
    """What vLLM's annotations say that each argument of its engine may be."""
    from dataclasses import fields

    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.cli_args import FrontendArgs

    return {one.name: str(one.type) for kind in (AsyncEngineArgs, FrontendArgs) for one in fields(kind)}


def reads_variables(names: list[str]) -> dict[str, bool]:
    """Whether vLLM reads each of these variables of the environment."""
    from vllm import envs

    return {name: name in envs.environment_variables for name in names}


def ask(what: str, *arguments: Any, module: str = "tests.alone.vllm_itself") -> Any:
    """An answer of a function of this module, or of another one that answers as this one does, in a process of its own."""
    command = [sys.executable, "-m", module, what]
    ran = subprocess.run(
        command, input=json.dumps(arguments), capture_output=True, text=True, timeout=LONGEST_S, check=False, cwd=Path(__file__).parents[2]
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    return json.loads(ran.stdout.splitlines()[-1])


if __name__ == "__main__":
    answered = globals()[sys.argv[1]](*json.load(sys.stdin))
    print(f"\n{json.dumps(answered)}")
