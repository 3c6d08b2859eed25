"""The only schema: what an operator may say about a herd, frozen and inert.

Decides what a well-formed herd is. Leaves reading files and the environment to `configs.load`, what fits on which GPU to `cluster`,
and everything that acts to `deployments`. Units stand in the names: `_s` seconds, `_mib` mebibytes, `_tokens` tokens.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, StringConstraints, field_validator, model_validator

from configs.certificates import Certificates
from configs.doorway import Doorway
from configs.engine_arguments import complaints
from configs.inventory import Inventory
from configs.requests import Requests
from configs.routing import Routing
from configs.site import Ray, Site
from configs.strict import Strict

Kind = Literal[
    "llama-4-scout",
    "llama-4-maverick",
    "llama-4-behemoth",
    "llama-3-8b",
    "llama-3-70b",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "llama-3.1-405b",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "llama-3.2-11b-vision",
    "llama-3.2-90b-vision",
    "llama-3.3-70b",
    "llama-guard-3-8b",
    "llama-guard-4-12b",
    "prompt-guard-2-86m",
    "prompt-guard-2-22m",
    "smollm2-135m",
    "llama-4-scout-tiny",
    "llama-4-maverick-tiny",
    "generic",
]
Quantization = Literal["bf16", "fp8", "int8", "int4", "nvfp4"]
Accelerator = Literal["auto", "cpu", "gpu", "H100", "H200", "B200", "A100", "L40S", "MI300X", "A10G", "L4", "H20", "B300", "GB200"]
GpuName = Literal[
    "H100", "H100-PCIe", "H100-NVL", "H200", "H20", "GH200", "B200", "B300", "GB200", "GB10", "A100", "A100-40", "A10G", "A40", "A6000",
    "L4", "L40S", "RTX3090", "RTX4090", "RTX5090", "RTX-PRO-6000", "MI300X", "MI325X",
]  # fmt: skip
NodeName = Literal[
    "dgx-h100",
    "hgx-h100",
    "p5.48xlarge",
    "a3-highgpu-8g",
    "dgx-h200",
    "hgx-h200",
    "p5en.48xlarge",
    "a3-ultragpu-8g",
    "dgx-b200",
    "p6-b200.48xlarge",
    "dgx-a100",
    "p4d.24xlarge",
    "g6e.48xlarge",
    "mi300x-8",
]
#: vLLM's `all2all_backend`; those that are not in this list are for other GPUs, or old names.
AllToAll = Literal[
    "allgather_reducescatter",
    "deepep_high_throughput",
    "deepep_low_latency",
    "deepep_v2",
    "nixl_ep",
    "flashinfer_nvlink_one_sided",
    "flashinfer_nvlink_two_sided",
]
#: Stands behind the id of a model where its engines only compute prompts; no model of a config is called so.
PREFILL = ":prefill"
ModelId = Annotated[str, StringConstraints(pattern=rf"^[A-Za-z0-9][A-Za-z0-9._/-]{{0,95}}({PREFILL})?$")]
HostName = Annotated[str, StringConstraints(pattern=r"^(\*\.)?[A-Za-z0-9][A-Za-z0-9.-]{0,250}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]

#: The name that leaves the choice of a model to the herd.
AUTO = "auto"
#: Meta tested Llama 4 with up to five images a prompt (its model card); vLLM's authors saw good results up to ten.
MOST_IMAGES_PER_PROMPT = 10


class Limits(Strict):
    """What one request may take."""

    body_mib: float = Field(64, gt=0, le=1024, description="Largest request body.")
    bodies_mib: float = Field(
        1024,
        gt=0,
        le=1 << 20,
        description="All bodies that one gateway holds, until their answers end. The first 64 KiB of each do not count, and the last "
        "quarter is for clients' addresses that hold less than a quarter. A proxy in front of the gateway is one address.",
    )
    body_read_s: float = Field(30, gt=0, le=3600, description="Longest time for a request's body to arrive.")
    first_byte_s: float = Field(300, gt=0, le=3600, description="Longest wait for the engine's first byte of an answer.")
    total_s: float = Field(1800, gt=0, le=86400, description="Longest time from a request's arrival to the end of its answer.")
    attempts: int = Field(3, ge=1, le=10, description="Replicas that may fail at one place of an answer, one after the other.")
    queue_requests: int = Field(256, ge=0, le=100_000, description="Requests that may wait for a model whose replicas are all full.")
    queue_s: float = Field(30, gt=0, le=3600, description="Longest such wait. Who would wait longer is refused at once, with 429.")
    resume_s: float = Field(600, gt=0, le=86400, description="Longest wait of a stream whose engine is lost for another one.")
    header_s: float = Field(10, gt=0, le=300, description="Longest time for the head of a request to arrive.")
    write_s: float = Field(60, gt=0, le=86400, description="Longest time in which a client may take next to nothing of its answer.")

    @model_validator(mode="after")
    def _first_byte_within_total(self) -> Self:
        if self.first_byte_s > self.total_s:
            raise ValueError(f"first_byte_s ({self.first_byte_s:g}) must not be longer than total_s ({self.total_s:g})")
        return self


class RemoteImages(Strict):
    """Images that a request names by `http(s)` address. Nothing is fetched from a host that is not on the list."""

    allowed_hosts: tuple[HostName, ...] = Field((), description="Exact host names, or `*.example.com` for all below example.com.")
    fetch_s: float = Field(5, gt=0, le=60, description="Longest time to fetch one image.")
    image_mib: float = Field(10, gt=0, le=100, description="Largest image.")


class Gateway(Doorway):
    """The one door: an OpenAI-compatible endpoint on every node."""

    limits: Limits = Limits()
    requests: Requests = Requests()
    remote_images: RemoteImages = RemoteImages()
    routing: Routing = Routing()
    auto: tuple[ModelId, ...] = Field(
        (), description="What `model: auto` may mean: the first of these that takes the request's images and length. Default: no `auto`."
    )
    roster_period_s: float = Field(0.5, gt=0, le=10, description="How often a gateway asks Ray which engine replicas there are.")
    load_period_s: float = Field(0.2, gt=0, le=10, description="How often a gateway asks each engine replica how busy it is.")


class Parallelism(Strict):
    """How one engine is spread over GPUs."""

    auto: bool = Field(False, description="The planner chooses; `parallel: auto` says the same.")
    tensor: int = Field(1, ge=1, le=64, description="Tensor parallel size.")
    pipeline: int = Field(1, ge=1, le=64, description="Pipeline parallel size.")
    data: int = Field(1, ge=1, le=64, description="Data-parallel attention: ranks that share the experts, each with its own KV cache.")
    expert: bool = Field(False, description="Whole experts per GPU (expert parallel) instead of a slice of each.")
    redundant_experts: int | None = Field(
        None,
        ge=0,
        le=1024,
        description="Expert parallel load balancing (EPLB): experts move to where there is room, and so many of each layer's busiest have "
        "a copy. Default: experts stay where they are.",
    )
    all_to_all: AllToAll | None = Field(None, description="How tokens come to experts on other data-parallel ranks. Default: vLLM's.")

    @model_validator(mode="before")
    @classmethod
    def _auto_is_a_word(cls, value: Any) -> Any:  # noqa: ANN401 (whatever the YAML says)
        return {"auto": True} if value == "auto" else value

    @model_validator(mode="after")
    def _chosen_by_one(self) -> Self:
        if self.auto and self != Parallelism.model_construct(auto=True):
            raise ValueError("say either auto or the sizes, not both")
        return self

    @property
    def gpus(self) -> int:
        """GPUs of one replica.

        Raises:
            ValueError: the planner has not chosen yet.
        """
        if self.auto:
            raise ValueError("parallel: auto has no size before the planner has chosen one")
        return self.tensor * self.pipeline * self.data


class Scaling(Strict):
    """A range of replicas to move in."""

    min_replicas: int = Field(1, ge=1, le=1024)
    max_replicas: int = Field(1, ge=1, le=1024)
    target_ongoing_requests: float = Field(32, gt=0, le=4096, description="Requests in flight that one replica should carry.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) must not be above max_replicas ({self.max_replicas})")
        return self


class Sampling(Strict):
    """Sampling defaults, for requests that do not say otherwise."""

    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    max_tokens: int | None = Field(None, ge=1)


class Draft(Strict):
    """A small model that guesses the next tokens, which the engine checks in one step: speculative decoding."""

    checkpoint: str = Field(min_length=1, description="A Hugging Face id or a local path, of a draft model made for this very model.")
    method: Literal["eagle3", "eagle"] = "eagle3"
    tokens: int = Field(3, ge=1, le=16, description="Tokens that it guesses at a time.")


class Prefill(Strict):
    """Engines that only compute prompts. The model's others take the KV cache from them, and generate: prefill and decode apart."""

    replicas: int = Field(1, ge=1, le=1024)
    parallel: Parallelism | None = Field(None, description="Default: the model's own.")
    from_tokens: int = Field(
        1024,
        ge=1,
        le=10_485_760,
        description="A prompt shorter than this (about: the gateway has no tokenizer) is computed where its answer is.",
    )


class Canary(Strict):
    """A short greedy generation through every replica, before it serves and from then on, whose answer is known."""

    prompt: str = Field("1, 2, 3, 4, 5, 6, 7,", min_length=1, max_length=4096, description="What the engine is to go on with, as it is.")
    answer: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="What it must begin its answer with. Default: what the model's other replicas said, else its own first answer.",
    )
    tokens: int = Field(8, ge=1, le=64, description="Tokens to generate.")
    period_s: float = Field(30, gt=0, le=86400, description="How often.")
    slow_s: float = Field(5, gt=0, le=3600, description="From its first token to its last it may always take so long.")
    slow_times: float = Field(20, ge=2, le=1000, description="And so many times of what it usually takes, where that is longer.")
    stuck_s: float = Field(60, gt=0, le=3600, description="Longest wait for its first token while the engine does nothing else either.")
    tolerance: float = Field(1.0, gt=0, le=20, description="In nats: how far the same engine's log-probabilities may be apart.")
    failures: int = Field(2, ge=1, le=100, description="Bad ones in a row: the replica is restarted. Slow ones: it is avoided.")


class Model(Strict):
    """One model of the herd and the engines that serve it."""

    id: ModelId = Field(description="The name that clients ask for.")
    aliases: tuple[ModelId, ...] = ()
    kind: Kind = Field(description="Which model of the catalogue this is.")
    checkpoint: str = Field(
        min_length=1,
        description="A Hugging Face id (with @ a branch, tag or commit), a local path (/…), s3://…, gs://…, "
        "or small:NAME for a small model that is built here.",
    )
    quantization: Quantization = Field("bf16", description="How the checkpoint stores its weights.")
    accelerator: Accelerator = Field("auto", description="`auto`: GPU where the installed vLLM is built for one, else CPU.")
    parallel: Parallelism = Parallelism()
    context_tokens: int = Field(ge=16, le=10_485_760, description="Longest prompt and answer together.")
    images_per_prompt: int | None = Field(None, ge=0, le=MOST_IMAGES_PER_PROMPT, description="Default: what its card was tested with.")
    image_mpx: float = Field(20, ge=0.1, le=178, description="Megapixels (10^6 pixels) that one image may have.")
    replicas: int | None = Field(None, ge=1, le=1024, description="A fixed number of replicas. Or give `scaling`. Default: 1.")
    scaling: Scaling | None = Field(None, description="A range of replicas. Or give `replicas`.")
    sampling: Sampling = Sampling()
    fallbacks: tuple[ModelId, ...] = Field(
        (), description="Models that answer in its place, the first that can, while it is full or has no replica. The answer says so."
    )
    stop_s: float = Field(600, ge=0, le=86400, description="How long a replica that must go may finish what it has.")
    surge: bool | None = Field(
        None,
        description="On an upgrade: true starts a new replica before an old one stops, false stops first. Default: as there is room.",
    )
    canary: Canary = Canary()
    draft: Draft | None = None
    prefill: Prefill | None = Field(None, description="Default: every engine computes its own prompts.")
    async_scheduling: bool | None = Field(
        None, description="Whether the next step is scheduled while this one computes. Default: as vLLM finds it possible."
    )
    engine: dict[str, Any] = Field(default_factory=dict, description="Further arguments of vLLM's engine, by vLLM's own names.")

    @field_validator("engine")
    @classmethod
    def _engine_arguments_exist(cls, value: dict[str, Any]) -> dict[str, Any]:
        if wrong := list(complaints(value)):
            raise ValueError("; ".join(wrong))
        return value

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if self.replicas is not None and self.scaling is not None:
            raise ValueError("give either replicas or scaling, not both")
        if self.prefill is not None and "kv_transfer_config" in self.engine:
            raise ValueError("prefill hands the KV cache over by NIXL: take kv_transfer_config out of engine")
        if self.prefill is not None and self.prefill.parallel is not None and self.prefill.parallel.auto:
            raise ValueError("prefill.parallel: say the sizes here, or leave it out for the model's own shape")
        return self

    @property
    def scale(self) -> Scaling:
        """The range of replicas, however it was said."""
        if self.scaling is not None:
            return self.scaling
        count = 1 if self.replicas is None else self.replicas
        return Scaling(min_replicas=count, max_replicas=count)


class CustomGpu(Strict):
    """A GPU that the planner does not know."""

    name: str = Field(min_length=1)
    memory_gib: float = Field(gt=0, le=10_000, description="As torch sees it.")
    bandwidth_gb_s: float = Field(gt=0, le=1_000_000, description="Of its memory.")
    bf16_tflops: float = Field(gt=0, le=1_000_000, description="Dense.")
    fp8_tflops: float | None = Field(None, gt=0, le=1_000_000, description="Leave out where it has no FP8 arithmetic.")
    fp4_tflops: float | None = Field(None, gt=0, le=1_000_000, description="Leave out where it has no FP4 arithmetic.")
    link_gb_s: float = Field(64, gt=0, le=1_000_000, description="To another GPU of its node, both directions together.")


class Hardware(Strict):
    """What the cluster is made of, for the planner: one kind of node."""

    node: NodeName | None = Field(None, description="A node that the planner knows. Or give `gpu`, or `custom_gpu`.")
    gpu: GpuName | None = None
    custom_gpu: CustomGpu | None = None
    gpus_per_node: int = Field(8, ge=1, le=64, description="For `gpu` and `custom_gpu`.")
    nodes: int | None = Field(None, ge=1, le=4096, description="How many there are. Default: as many as the herd takes.")

    @field_validator("gpu", "node", mode="before")
    @classmethod
    def _whatever_the_case(cls, value: object) -> object:
        known = {str(name).lower(): name for name in (*get_args(GpuName), *get_args(NodeName))}
        return known.get(value.lower(), value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(one is not None for one in (self.node, self.gpu, self.custom_gpu)) != 1:
            raise ValueError("give one of node, gpu and custom_gpu")
        return self


class Config(Strict):
    """One herd."""

    name: Name = Field("herd", description="Tells herds on the same machine apart.")
    ray: Ray = Ray()
    hardware: Hardware | None = Field(None, description="Default: what the models' accelerators name, in nodes of 8.")
    cluster: Inventory | None = Field(None, description="The machines, for `herd cluster emit`. Serving needs it not.")
    gateway: Gateway = Gateway()
    engine_tls: Certificates | None = Field(
        None, description="TLS between gateways and engines. Default: plain HTTP. A change makes new engines and gateways."
    )
    models: tuple[Model, ...]

    @property
    def site(self) -> Site:
        """Returns the settings that every gateway and engine gets when it starts."""
        return Site(require_token=self.ray.require_token, engine_tls=self.engine_tls)

    @field_validator("models")
    @classmethod
    def _not_empty(cls, value: tuple[Model, ...]) -> tuple[Model, ...]:
        if not value:
            raise ValueError("must name at least one model")
        return value

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen = {AUTO: "gateway.auto"} if self.gateway.auto else {}
        for index, model in enumerate(self.models):
            for name in (model.id, *model.aliases):
                if name.endswith(PREFILL):
                    raise ValueError(f"models[{index}] uses the name {name!r}, which is kept for the engines of a model's own prefill")
                if name in seen:
                    raise ValueError(f"models[{index}] uses the name {name!r}, which {seen[name]} has already")
                seen[name] = f"models[{index}]"
        return self

    @model_validator(mode="after")
    def _named_models_exist(self) -> Self:
        ids = [model.id for model in self.models]
        named = {"gateway.auto": self.gateway.auto} | {
            f"models[{index}].fallbacks": model.fallbacks for index, model in enumerate(self.models)
        }
        for path, names in named.items():
            for name in names:
                if name not in ids:
                    raise ValueError(f"{path} names {name!r}, which is no model's id; there are: {', '.join(ids)}")
        for index, model in enumerate(self.models):
            if model.id in model.fallbacks:
                raise ValueError(f"models[{index}].fallbacks names the model itself")
        return self
