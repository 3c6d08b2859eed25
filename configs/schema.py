"""The only schema of a herd's config, frozen and inert.

Decides when a config is well formed. Leaves reading files and the environment to `configs.load`, the question whether it fits on GPUs to
`cluster`, and everything that acts to `deployments`. Units stand in the names: `_s` seconds, `_mib` mebibytes, `_tokens` tokens.
"""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, StringConstraints, field_validator, model_validator

from configs.certificates import Certificates
from configs.doorway import Doorway, Listening
from configs.engine_arguments import complaints
from configs.inventory import Inventory
from configs.monitoring import Monitoring
from configs.names import Accelerator, GpuName, Kind, NodeName, Quantization
from configs.observing import Observing
from configs.parallelism import Parallelism as Parallelism
from configs.requests import Requests
from configs.routing import Routing
from configs.scaling import Scaling as Scaling
from configs.scaling import Slo
from configs.site import Ray, Site
from configs.strict import Strict
from configs.token_counts import TokenCount

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
    """Bounds the size, the time and the number of requests."""

    body_mib: float = Field(64, gt=0, le=1024, description="A request's body may have this many MiB.")
    bodies_mib: float = Field(
        1024,
        gt=0,
        le=1 << 20,
        description="The bodies that one gateway holds may have this many MiB together, until their answers end. The first 64 KiB of "
        "each body do not count. The last quarter is kept for client addresses that hold less than a quarter; a proxy in "
        "front of the gateway is one address.",
    )
    body_read_s: float = Field(30, gt=0, le=3600, description="A request's body must arrive within this many seconds.")
    first_byte_s: float = Field(300, gt=0, le=3600, description="An engine must begin its answer within this many seconds.")
    total_s: float = Field(1800, gt=0, le=86400, description="An answer must end within this many seconds of its request's arrival.")
    attempts: int = Field(3, ge=1, le=10, description="A request may fail on this many replicas at one place of its answer.")
    queue_requests: int = Field(
        256, ge=0, le=100_000, description="This many requests may wait for a model whose replicas are full, or not there yet."
    )
    queue_s: float = Field(
        30,
        gt=0,
        le=3600,
        description="A request may wait this long. One that would wait longer gets 429. After half of it, a request that is too late for"
        " `slo.ttft_s` no longer waits behind those that are not.",
    )
    resume_s: float = Field(600, gt=0, le=86400, description="A stream whose engine is lost may wait this many seconds for another engine.")
    start_wait_s: float = Field(
        600,
        gt=0,
        le=86400,
        description="A request for a model that has no replica (`min_replicas: 0`) may wait this many seconds for the first one to start.",
    )
    header_s: float = Field(10, gt=0, le=300, description="A request's head must arrive within this many seconds.")
    write_s: float = Field(60, gt=0, le=86400, description="A client must take 16 KiB of a waiting answer in this time.")

    @model_validator(mode="after")
    def _first_byte_within_total(self) -> Self:
        if self.first_byte_s > self.total_s:
            raise ValueError(f"first_byte_s ({self.first_byte_s:g}) must not be longer than total_s ({self.total_s:g})")
        return self


class RemoteImages(Strict):
    """Images that a request names by `http(s)` address. Nothing is fetched from a host that is not on the list."""

    allowed_hosts: tuple[HostName, ...] = Field(
        (), description="Images are fetched from these hosts only: exact names, or `*.example.com` for all names below example.com."
    )
    fetch_s: float = Field(5, gt=0, le=60, description="The fetch of one image must end within this many seconds.")
    image_mib: float = Field(10, gt=0, le=100, description="A fetched image may have this many MiB.")


class LiveSettings(Doorway, Observing):
    """The fields of `gateway` that a gateway takes over while it runs. A new field stands here, or in `Listening` where it cannot."""

    limits: Limits = Field(Limits(), description="Limits of size, time and number hold for each request.")
    requests: Requests = Field(Requests(), description="Bounds hold for the fields of each request's body.")
    remote_images: RemoteImages = Field(RemoteImages(), description="Images with `http(s)` addresses come from listed hosts.")
    routing: Routing = Field(Routing(), description="Routing chooses the replica that serves a request.")
    auto: tuple[ModelId, ...] = Field(
        (), description="`model: auto` stands for the first of these models that takes the request's images and length. Default: no `auto`."
    )
    roster_period_s: float = Field(
        0.5,
        gt=0,
        le=10,
        description=(
            "A gateway asks this often which engine replicas there are, while something changes with them; else it asks every 10 s."
        ),
    )
    load_period_s: float = Field(
        0.2,
        gt=0,
        le=10,
        description=(
            "An engine replica with requests tells each gateway this often how busy it is, and an idle one once a second;"
            " where there are more than 32 replicas, less often."
        ),
    )


class Gateway(LiveSettings, Listening):
    """The one door: an OpenAI-compatible endpoint on every node."""


class Sampling(Strict):
    """Sampling parameters of requests that do not set them."""

    temperature: float | None = Field(None, ge=0, le=2, description="Requests that do not set `temperature` get this value.")
    top_p: float | None = Field(None, gt=0, le=1, description="Requests that do not set `top_p` get this value.")
    top_k: int | None = Field(None, ge=-1, description="Requests that do not set `top_k` get this value.")
    min_p: float | None = Field(None, ge=0, le=1, description="Requests that do not set `min_p` get this value.")
    repetition_penalty: float | None = Field(None, gt=0, le=2, description="Requests that do not set `repetition_penalty` get this value.")
    max_tokens: int | None = Field(None, ge=1, description="Requests that do not set `max_tokens` get this value.")


class Draft(Strict):
    """A small model that guesses the next tokens, which the engine checks in one step: speculative decoding."""

    checkpoint: str = Field(
        min_length=1, description="The draft model has this Hugging Face id or local path. It must be made for this very model."
    )
    method: Literal["eagle3", "eagle"] = Field("eagle3", description="The draft model guesses by this method.")
    tokens: int = Field(3, ge=1, le=16, description="The draft model guesses this many tokens at a time.")


class Prefill(Strict):
    """Engines that only compute prompts. The model's others take the KV cache from them, and generate: prefill and decode apart."""

    replicas: int = Field(1, ge=1, le=1024, description="The model has this many replicas that only compute prompts.")
    parallel: Parallelism | None = Field(None, description="Each of them is spread over GPUs in this way. Default: as the model's.")
    from_tokens: TokenCount = Field(1024, ge=1, le=10_485_760, description="A prompt of at least about this many tokens is computed there.")


class Canary(Strict):
    """A short greedy generation with a known answer, which goes through every replica before it serves and from then on."""

    prompt: str = Field("1, 2, 3, 4, 5, 6, 7,", min_length=1, max_length=4096, description="The engine continues this text, as it is.")
    answer: str | None = Field(
        None,
        min_length=1,
        max_length=1024,
        description="The engine's answer must begin with this text. Default: the answer of the model's other replicas, else the "
        "replica's own first one.",
    )
    tokens: int = Field(8, ge=1, le=64, description="A canary generates this many tokens.")
    period_s: float = Field(30, gt=0, le=86400, description="A canary is sent once in this many seconds.")
    slow_s: float = Field(5, gt=0, le=3600, description="A canary may always take this long from its first token to its last.")
    slow_times: float = Field(20, ge=2, le=1000, description="A canary is slow beyond `slow_s` and this many times the usual time.")
    stuck_s: float = Field(60, gt=0, le=3600, description="An engine is stuck if it does nothing this long while a canary waits.")
    tolerance: float = Field(1.0, gt=0, le=20, description="An engine's log-probabilities may differ by this many nats.")
    failures: int = Field(
        2, ge=1, le=100, description="A replica is restarted after this many bad canaries in a row, and avoided after this many slow ones."
    )


class Model(Strict):
    """One model of the herd and the engines that serve it."""

    id: ModelId = Field(description="Clients ask for the model by this name.")
    aliases: tuple[ModelId, ...] = Field((), description="Clients may ask for the model by these names too.")
    kind: Kind = Field(description="The model is this one of the catalogue.")
    checkpoint: str = Field(
        min_length=1,
        description="The weights come from here: a Hugging Face id (with @ a branch, tag or commit), a local path (/…), s3://…, gs://…, "
        "or small:NAME for a small model that is built here.",
    )
    quantization: Quantization = Field("bf16", description="The checkpoint stores its weights in this format.")
    accelerator: Accelerator = Field("auto", description="Engines run on this. `auto`: a GPU if vLLM is built for one, else the CPU.")
    parallel: Parallelism = Field(Parallelism(), description="An engine is spread over GPUs in this way.")
    context_tokens: TokenCount = Field(
        ge=16, le=10_485_760, description="A prompt and its answer may have this many tokens together: 131072, 128K or 1M."
    )
    images_per_prompt: int | None = Field(
        None,
        ge=0,
        le=MOST_IMAGES_PER_PROMPT,
        description="A prompt may have this many images. Default: as many as the model's card was tested with.",
    )
    image_mpx: float = Field(20, ge=0.1, le=178, description="An image may have this many megapixels (10^6 pixels).")
    replicas: int | None = Field(None, ge=1, le=1024, description="The model has this many replicas. Or give `scaling`. Default: 1.")
    scaling: Scaling | None = Field(None, description="The number of replicas follows the load within this range. Or give `replicas`.")
    slo: Slo | None = Field(
        None, description="Answers should keep to these objectives, which autoscaling buys replicas for. Default: those of its fields."
    )
    sampling: Sampling = Field(Sampling(), description="Requests that do not set these sampling parameters get these values.")
    fallbacks: tuple[ModelId, ...] = Field(
        (), description="These models answer in its place while it is full or has no replica, the first that can. The answer says so."
    )
    stopped: bool = Field(
        False,
        description="The model has no engines if this is true: its GPUs are free, and clients are told that it is stopped.",
    )
    stop_s: float = Field(600, ge=0, le=86400, description="A replica that must stop may go on with its requests for this many seconds.")
    surge: bool | None = Field(
        None,
        description="A new replica starts before an old one stops on an upgrade if this is true, and after it if this is false. Default:"
        " before it if there is room.",
    )
    canary: Canary = Field(Canary(), description="Canaries, short generations with a known answer, go through every replica.")
    draft: Draft | None = Field(None, description="A small model guesses the next tokens (speculative decoding). Default: none.")
    prefill: Prefill | None = Field(None, description="Replicas of their own compute long prompts. Default: none.")
    async_scheduling: bool | None = Field(
        None, description="The engine schedules its next step while this one computes if this is true. Default: if vLLM finds it possible."
    )
    engine: dict[str, Any] = Field(default_factory=dict, description="Further arguments go to vLLM's engine, under vLLM's own names.")

    @field_validator("engine")
    @classmethod
    def _engine_arguments_exist(cls, value: dict[str, Any]) -> dict[str, Any]:
        if wrong := list(complaints(value)):
            raise ValueError("; ".join(wrong))
        return value

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> Self:
        if self.replicas is not None and self.scaling is not None:
            raise ValueError("give either replicas or scaling, not both; over another file, null takes its one away")
        if self.prefill is not None and "kv_transfer_config" in self.engine:
            raise ValueError("prefill hands the KV cache over by NIXL: take kv_transfer_config out of engine")
        if self.prefill is not None and self.prefill.parallel is not None and self.prefill.parallel.auto:
            raise ValueError("prefill.parallel cannot be auto: give the sizes, or leave it out for the model's own shape")
        if self.prefill is not None and self.on_demand:
            raise ValueError("prefill has replicas of its own, which stay: give scaling.min_replicas at least 1, or leave prefill out")
        return self

    @property
    def on_demand(self) -> bool:
        """Returns whether the model may have no replica while nobody asks for it."""
        return self.scaling is not None and self.scaling.min_replicas == 0

    @property
    def scale(self) -> Scaling:
        """Returns the range of replicas, whether `replicas` or `scaling` gives it."""
        if self.scaling is not None:
            return self.scaling
        count = 1 if self.replicas is None else self.replicas
        return Scaling(min_replicas=count, max_replicas=count)


class CustomGpu(Strict):
    """A GPU that the planner does not know."""

    name: str = Field(min_length=1, description="The planner shows the GPU under this name.")
    memory_gib: float = Field(gt=0, le=10_000, description="The GPU has this many GiB of memory, as torch sees it.")
    bandwidth_gb_s: float = Field(gt=0, le=1_000_000, description="The GPU's memory moves this many GB per second.")
    bf16_tflops: float = Field(gt=0, le=1_000_000, description="The GPU does this many dense TFLOP/s in bf16.")
    fp8_tflops: float | None = Field(None, gt=0, le=1_000_000, description="The GPU does this many dense TFLOP/s in FP8, if it can.")
    fp4_tflops: float | None = Field(None, gt=0, le=1_000_000, description="The GPU does this many dense TFLOP/s in FP4, if it can.")
    link_gb_s: float = Field(64, gt=0, le=1_000_000, description="Another GPU of the node is reached at this speed, both ways together.")


class Hardware(Strict):
    """The nodes of the cluster, for the planner. All are of one kind."""

    node: NodeName | None = Field(None, description="The nodes are of this kind. Or give `gpu`, or `custom_gpu`.")
    gpu: GpuName | None = Field(None, description="The nodes have GPUs of this kind.")
    custom_gpu: CustomGpu | None = Field(None, description="The nodes have GPUs that the planner does not know, described here.")
    gpus_per_node: int = Field(8, ge=1, le=64, description="A node has this many GPUs, where `gpu` or `custom_gpu` is given.")
    nodes: int | None = Field(None, ge=1, le=4096, description="The cluster has this many nodes. Default: as many as the herd takes.")
    elastic: bool = Field(
        False,
        description="Ray's own autoscaler adds nodes while replicas wait for GPUs, up to `nodes`, if this is true. Autoscaling then "
        "counts with GPUs that are not there yet.",
    )

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

    name: Name = Field("herd", description="Herds on the same machine are told apart by this name.")
    ray: Ray = Field(Ray(), description="The herd runs on this Ray cluster.")
    hardware: Hardware | None = Field(
        None, description="The planner counts with this hardware. Default: the GPUs that the models' accelerators name, in nodes of 8."
    )
    cluster: Inventory | None = Field(
        None,
        description="The machines are described here, for `herd cluster emit`. Gateways are told their cloud, and nothing else of it.",
    )
    gateway: Gateway = Field(Gateway(), description="A gateway on every node answers clients as this section says.")
    engine_tls: Certificates | None = Field(
        None,
        description="Gateways and engines use TLS with these certificates. Default: plain HTTP. A change makes new engines and gateways.",
    )
    monitoring: Monitoring = Field(Monitoring(), description="Exporters of nodes, which gateways list for Prometheus, listen here.")
    models: tuple[Model, ...] = Field(description="The herd serves these models.")

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
                    raise ValueError(f"models[{index}] uses the name {name!r}, which is reserved for engines that only compute prompts")
                if name in seen:
                    raise ValueError(f"models[{index}] uses the name {name!r}, which {seen[name]} already has")
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
                    raise ValueError(f"{path} names {name!r}, which is not the id of a model; the ids are: {', '.join(ids)}")
        for index, model in enumerate(self.models):
            if model.id in model.fallbacks:
                raise ValueError(f"models[{index}].fallbacks names the model itself")
        return self
