"""Says a model entry in vLLM's own words: the engine's arguments and the environment of its processes.

Decides which arguments the herd always sets, which the catalogue advises, and which the config may change. Where an engine is placed is
`deployments.lifecycle.applications`'s.
"""

from pathlib import Path
from typing import Any

from cluster.catalogue.models import CATALOGUE, images_per_prompt
from cluster.catalogue.weights import source_of
from configs.load import REPLICA
from configs.names import Accelerator
from configs.schema import Model

#: vLLM reads it on the engine's node, where this package is installed as here.
TEMPLATES = Path(__file__).parents[1] / "engine" / "chat_templates"
#: An engine core has one backend for grammars, that of its first request. With vLLM's own `auto` the serving side would go on choosing one
#: for each request, and accept what the core's backend then fails on. This one knows vLLM's tool calls.
GRAMMARS = {"backend": "xgrammar"}


def engine_arguments(model: Model) -> dict[str, Any]:
    """Returns vLLM's arguments. Fields of the config override the catalogue's advice, and the config's `engine` overrides both."""
    entry = CATALOGUE[model.kind]
    arguments: dict[str, Any] = {
        **entry.engine,
        **_revision(model),
        "max_model_len": model.context_tokens,
        "tensor_parallel_size": model.parallel.tensor,
        "pipeline_parallel_size": model.parallel.pipeline,
        "enable_expert_parallel": model.parallel.expert,
        **({} if model.parallel.data == 1 else {"data_parallel_size": model.parallel.data}),
        **_options(model),
        "disable_log_stats": False,
        "use_tqdm_on_load": False,  # a bar that is drawn over itself, in a log
        "scheduling_policy": "priority",
    }
    if entry.chat_template is not None:
        arguments["chat_template"] = str(TEMPLATES / f"{entry.chat_template}.jinja")
    if "image" in entry.modalities:
        arguments["limit_mm_per_prompt"] = {"image": images_per_prompt(model)}
    sampling = model.sampling.model_dump(exclude_none=True)
    if sampling:
        arguments["override_generation_config"] = {
            ("max_new_tokens" if name == "max_tokens" else name): value for name, value in sampling.items()
        }
    return arguments | model.engine | {"structured_outputs_config": GRAMMARS | model.engine.get("structured_outputs_config", {})}


def _options(model: Model) -> dict[str, Any]:
    """Returns the arguments for options of a model beside its shape; none for options that it does not name."""
    found: dict[str, Any] = {}
    if model.parallel.redundant_experts is not None:
        found |= {"enable_eplb": True, "eplb_config": {"num_redundant_experts": model.parallel.redundant_experts}}
    if model.parallel.all_to_all is not None:
        found["all2all_backend"] = model.parallel.all_to_all
    if model.async_scheduling is not None:
        found["async_scheduling"] = model.async_scheduling
    if model.draft is not None:
        draft = {"method": model.draft.method, "model": model.draft.checkpoint, "num_speculative_tokens": model.draft.tokens}
        found["speculative_config"] = draft
    return found


def _revision(model: Model) -> dict[str, str]:
    """Returns vLLM's arguments for the revision that a checkpoint names; for the tokenizer too, unless that has its own repository."""
    source = source_of(model.checkpoint)
    if source is None or "@" not in model.checkpoint:
        return {}
    return {"revision": source.revision} | ({} if "tokenizer" in model.engine else {"tokenizer_revision": source.revision})


def engine_environment(model: Model, accelerator: Accelerator) -> dict[str, str]:
    """Returns the environment of a model's engine processes."""
    common = {
        # vLLM's logging set-up closes Ray Serve's handlers, and a head that comes back then takes the replica for broken.
        "VLLM_CONFIGURE_LOGGING": "0",
        # Processes of an engine on other nodes say in their logs of which replica they are, and keep kernels where the first one does.
        "VLLM_RAY_EXTRA_ENV_VARS_TO_COPY": ",".join((REPLICA, "FLASHINFER_WORKSPACE_BASE", "TRITON_HOME")),
        "VLLM_NO_USAGE_STATS": "1",
        # Bars of libraries are drawn over themselves, which a log cannot be.
        "TQDM_DISABLE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        # The gateway refuses a larger image already; the engine's own limit is the second wall.
        "VLLM_MAX_IMAGE_PIXELS": str(round(model.image_mpx * 1e6)),
    }
    if (collector := model.engine.get("otlp_traces_endpoint")) is not None:
        common |= _tracing(str(collector))
    return common | ({"VLLM_CPU_OMP_THREADS_BIND": "nobind"} if accelerator == "cpu" else {})


def _tracing(collector: str) -> dict[str, str]:
    """Returns the environment of engine processes that send spans to a collector."""
    # Gateways choose the requests whose spans are sent. Without this an engine would send those of all others and of canaries too.
    variables = {"OTEL_SERVICE_NAME": "llama-herd-engine", "OTEL_TRACES_SAMPLER": "parentbased_always_off"}
    if collector.rstrip("/").endswith("/v1/traces"):  # OTLP's path over HTTP, where gateways send theirs; vLLM alone takes any URL for gRPC
        variables["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"
    return variables
