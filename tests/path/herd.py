"""A gateway as production builds it, but for Ray: its roster is told the replicas by the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import SecretStr

from configs.gateway_config import GatewayConfig, gateway_config
from configs.monitoring import Monitoring
from configs.schema import Config, Gateway, Limits, LiveSettings, Model
from deployments.gateway.admission import Coming
from deployments.gateway.assembly import Cluster, Process, Serving
from deployments.gateway.body.remote_images import Allowed, is_public
from deployments.gateway.figures.cluster_figures import ReadCluster
from deployments.gateway.status.recording import MINUTE_S
from deployments.policy.fleet.reclaim_notices import Notice
from deployments.policy.records.starts import Start
from deployments.policy.request.pages import Pages
from deployments.policy.routing.types import ReplicaState, ReplicaView
from deployments.wire.client.certificate import Certificate
from tests.path.fake_engine import WAIT_S, FakeEngine

SECRET = "the-secret-of-the-cluster"
LLAMA, SCOUT = "herd/llama", "scout"
MODELS = (
    Model(id=LLAMA, aliases=("llama", "gpt-4o"), kind="llama-3.1-8b", checkpoint="small:x", context_tokens=2048),
    Model(id=SCOUT, kind="llama-4-scout", checkpoint="small:y", context_tokens=2048),
)
OPEN = Pages()
CHAT = "/v1/chat/completions"
#: What production gathers for seconds, a test waits for.
SOON_S = 0.02

#: Gateways whose test is over.
STOPPING: list[asyncio.Task[None]] = []


def asking(model: str = LLAMA, stream: bool = False, **more: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream, **more}


@dataclass
class Herd:
    """A gateway and what it is made of."""

    serving: Serving
    config: GatewayConfig
    http: httpx.AsyncClient
    gateways: list[Mapping[str, Any]] = field(default_factory=list)
    generated: dict[str, int] = field(default_factory=dict)
    asked_to_generate: list[str] = field(default_factory=list)
    """Models whose replicas were asked to generate, in order."""
    generates_when: asyncio.Event = field(default_factory=asyncio.Event)
    """They do when this is set, as it is at first."""
    kept: dict[str, str] = field(default_factory=dict)
    """What the gateway has had kept in the cluster's store."""
    starts: dict[str, list[Start]] = field(default_factory=dict)
    """The starts of models that are kept there."""
    histories: list[bytes] = field(default_factory=list)
    """What other gateways tell of the last hour."""

    def __post_init__(self) -> None:
        self.port, self.metrics_port = self.serving.address.port, self.serving.metrics_address.port
        self.roster, self.meter, self.server = self.serving.roster, self.serving.meter, self.serving.server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def apply(self, models: Sequence[Model] | None = None, **changed: Any) -> None:
        """The config changes: its models, or these fields of its `gateway`."""
        gateway = LiveSettings.model_validate({**dict(self.config.gateway), **changed})
        changed_to = {"gateway": gateway, "models": self.config.models if models is None else tuple(models)}
        self.config = self.config.model_copy(update=changed_to)
        self.serving.apply(self.config)

    def apply_limits(self, **changed: Any) -> None:
        """The config changes: these fields of `gateway.limits`."""
        self.apply(limits=self.config.gateway.limits.model_copy(update=changed))

    def has(self, *engines: FakeEngine, model: str = LLAMA, state: ReplicaState = ReplicaState.READY) -> None:
        """These are now the replicas of a model."""
        self.roster.update(model, [ReplicaView(f"replica-{engine.port}", model, "127.0.0.1", engine.port, state, 0) for engine in engines])

    def state(self, engine: FakeEngine, model: str = LLAMA) -> ReplicaState:
        """What the roster takes a replica for."""
        return next(one.state for one in self.roster.replicas(model) if one.port == engine.port)

    async def chat(self, headers: Mapping[str, str] | None = None, **body: Any) -> httpx.Response:
        """A chat request and its whole answer."""
        return await self.http.post(CHAT, json=asking(**body), headers=headers)

    def count(self, name: str, **labels: str) -> float:
        """A metric's value; nothing counted is nothing."""
        return self.meter.registry.get_sample_value(name, labels) or 0.0

    def ended(self, outcome: str, model: str = LLAMA) -> float:
        """Requests that ended so."""
        return self.count("herd_requests_total", model=model, outcome=outcome)

    @property
    def open_now(self) -> tuple[float, float]:
        """Requests and streams under way."""
        return self.count("herd_requests_open", model=LLAMA), self.count("herd_streams_open", model=LLAMA)

    async def has_ended(self, outcome: str, times: int = 1) -> None:
        """Waits until so many requests ended so: what follows from a client that has gone, nobody tells the client."""
        await until(lambda: self.ended(outcome) >= times)
        assert self.ended(outcome) == times
        assert self.open_now == (0, 0)


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what sets no event."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 (a counter sets no event)
            await asyncio.sleep(0.005)


def limits(**changed: float) -> Limits:
    """Short enough for a test, long enough for a slow machine where the test is not about them."""
    return Limits.model_validate(
        {"body_mib": 64, "body_read_s": 30, "first_byte_s": 30, "total_s": 60, "header_s": 30, "queue_s": 0.2, "resume_s": 0.2, **changed}
    )


@contextlib.asynccontextmanager
async def herd_of(
    engines: Iterable[FakeEngine],
    wanted: Limits,
    stop_s: float = WAIT_S,
    models: Sequence[Model] = MODELS,
    shown: Pages = OPEN,
    fetch_from: Allowed = is_public,
    key: str = SECRET,
    coming: Coming | None = None,
    minute_s: float = MINUTE_S,
    facts: ReadCluster | None = None,
    monitoring: Monitoring | None = None,
    spans_s: float = SOON_S,
    gathered_s: float = SOON_S,
    told_s: float = SOON_S,
    **doorway: Any,
) -> AsyncIterator[Herd]:
    """A gateway in front of these engines, all of the model `LLAMA`; `doorway` are further fields of the config's `gateway`."""
    gateway = Gateway.model_validate({"allowed_hosts": ["herd"], "limits": wanted, **doorway})
    gateways: list[Mapping[str, Any]] = []
    generated: dict[str, int] = {}

    async def others() -> list[Mapping[str, Any]]:
        return gateways

    generates_when, asked_to_generate = asyncio.Event(), list[str]()
    generates_when.set()

    async def generates(model: str) -> int:
        asked_to_generate.append(model)
        await generates_when.wait()
        return generated.get(model, 0)

    kept: dict[str, str] = {}
    starts, histories = dict[str, list[Start]](), list[bytes]()

    async def hours() -> list[bytes]:
        return [serving.told(), *histories]

    def keep(name: str, text: str | None) -> None:
        if text is None:
            kept.pop(name, None)
        else:
            kept[name] = text

    process = Process(
        host=gateway.host,
        port=0,
        metrics_host="127.0.0.1",
        pages=shown,
        engine_key=SecretStr(key),
        certificate=None if gateway.tls is None else Certificate(gateway.tls),
        stop_s=stop_s,
        spans_s=spans_s,
        gathered_s=gathered_s,
        told_s=told_s,
        minute_s=minute_s,
        name="own",
        started=1,
        fetch_from=fetch_from,
    )
    config = gateway_config(Config(gateway=gateway, models=tuple(models), monitoring=monitoring or Monitoring()))
    serving = Serving(
        config,
        process,
        Cluster(
            others,
            generates,
            drain=_no_notice,
            keep=keep,
            read=lambda names: {name: kept[name] for name in names if name in kept},
            coming=coming,
            starts=lambda names: {name: starts.get(name, []) for name in names},
            histories=hours,
            facts=facts,
        ),
    )
    try:
        url, told = f"http://127.0.0.1:{serving.address.port}", {"content-type": "application/json"}
        async with httpx.AsyncClient(base_url=url, headers=told, timeout=WAIT_S, trust_env=False, verify=False) as http:
            herd = Herd(serving, config, http, gateways, generated, asked_to_generate, generates_when, kept, starts, histories)
            herd.has(*engines)
            yield herd
    finally:
        STOPPING.append(asyncio.create_task(serving.stop()))


def _no_notice(notice: Notice) -> str | None:
    raise AssertionError(f"no cloud takes this machine away: {notice}")
