"""The gateway: a Ray Serve deployment whose replicas listen themselves, and together, on the herd's port of their node.

Decides which of its own pages a path means; calls for engines go to the pipeline. Ray Serve places, supervises, scales and replaces the
replicas, and tells them a new config by `reconfigure`, without a restart.
"""

import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import ray
import structlog

from configs.load import environment
from configs.schema import Config
from deployments.edge import JSON, Exchange, edge, listen
from deployments.pipeline import Pipeline, Rules, tell
from deployments.policy.calls import Call, endpoint, request_id
from deployments.policy.catalog import catalog
from deployments.policy.errors import HerdError, UnknownModel, UnknownPath
from deployments.remote_images import ImageFetcher
from deployments.replicas import GATEWAY, Replicas, app_name
from deployments.roster import Roster, Watch
from deployments.upstream import Address, Engines
from monitoring import logs
from monitoring.export import CONTENT_TYPE, Meter

Page = Callable[[Exchange], Awaitable[None]]

#: Longest wait for an engine's generation when `/health?generate=true` asks for one.
GENERATE_S = 35.0
DRAIN_S = 600.0


class Gateway:
    """One gateway process."""

    def __init__(self, host: str, port: int, header_s: float) -> None:
        """Listens; answers from the first `reconfigure` on.

        Raises:
            RuntimeError: the node's environment has no `HERD_SECRET`.
            OSError: the port cannot be listened on.
        """
        logs.configure()
        secret = environment().secret
        if secret is None:
            raise RuntimeError("HERD_SECRET is not set in the environment of this node's Ray: set it where `ray start` runs")
        self._log = structlog.get_logger("herd.gateway")
        self._listen_on = (host, port)
        self._header_s = header_s
        self._started = int(time.time())
        self._replicas = Replicas()
        self._engines = Engines(secret.get_secret_value())
        self._meter = Meter()
        self._roster = Roster(())
        self._watch: Watch | None = None
        self._images: ImageFetcher | None = None
        self._pipeline: Pipeline | None = None
        self._pages: dict[str, Page] = {
            "/health": self._health,
            "/v1/models": self._models,
            "/-/targets": self._targets,
            "/-/status": self._status,
        }

    async def reconfigure(self, settings: dict[str, Any]) -> None:
        """Ray Serve's hook: the config, at the start and whenever it changes."""
        config = Config.model_validate(settings)
        images, self._images = self._images, ImageFetcher(config.gateway.remote_images)
        rules = Rules(catalog(config.models, self._started), config.gateway.limits, self._images)
        self._roster.keep(rules.catalog.ids)
        if self._pipeline is None:
            await self._start(rules, config.gateway.roster_period_s)
        else:
            self._pipeline.rules = rules
        if self._watch is not None:
            self._watch.follow()
        if images is not None:
            await images.close()

    async def _start(self, rules: Rules, roster_period_s: float) -> None:
        self._pipeline = Pipeline(rules, self._roster, self._engines, self._meter)
        self._watch = Watch(self._roster, self._replicas.views, roster_period_s)
        node = ray.util.get_node_ip_address()
        pages = listen(node if self._listen_on[0] != "127.0.0.1" else "127.0.0.1", 0)
        self._metrics_at = Address(*pages.getsockname()[:2])
        self._metrics_server = edge(self._metrics, pages, self._header_s, stop_s=0)
        self._server = edge(self._serve, listen(*self._listen_on, shared=True), self._header_s, stop_s=DRAIN_S)

    async def check_health(self) -> None:
        """Ray Serve replaces the replica when this raises.

        Raises:
            RuntimeError: it no longer listens, or no longer watches its engines.
        """
        if self._watch is not None and not (self._server.alive and self._watch.alive):
            raise RuntimeError("the gateway has stopped listening")

    async def describe(self) -> dict[str, Any]:
        """Where this process shows its metrics."""
        return {"host": self._metrics_at.host, "port": self._metrics_at.port, "node": socket.gethostname()}

    async def __del__(self) -> None:
        """Ray Serve's hook before a replica goes: takes no new connection, and finishes what it has."""
        if self._watch is not None:
            await self._server.stop()
            await self._metrics_server.stop()
            self._watch.stop()
        if self._images is not None:
            await self._images.close()
        self._engines.close()

    async def _serve(self, exchange: Exchange) -> None:
        own = exchange.headers.get(b"x-request-id", b"").decode("ascii", "replace")
        identity = request_id(own, f"req-{uuid.uuid4().hex}")
        try:
            await self._answer(exchange, identity)
        except HerdError as error:
            tell(exchange, error, identity)
        except Exception as error:  # noqa: BLE001 (the edge: whatever is wrong, a client gets an answer and no stack trace)
            self._log.error("defect", request_id=identity, path=exchange.path, exc_info=error)
            tell(exchange, HerdError("The server has a defect; its log has more under this request's id."), identity)

    async def _answer(self, exchange: Exchange, identity: str) -> None:
        page = self._page(exchange)
        if page is not None:
            await page(exchange)
            return
        name = endpoint(exchange.method, exchange.path)
        pipeline = self._pipeline
        if pipeline is None:
            raise UnknownPath(exchange.method, exchange.path)
        limits = pipeline.rules.limits
        body = await exchange.body(limits.body_mib, limits.body_read_s)
        await pipeline.serve(Call(exchange.path, name, identity, body), exchange)

    def _page(self, exchange: Exchange) -> Page | None:
        page = self._pages.get(exchange.path)
        if page is None and exchange.path.startswith("/v1/models/"):
            page = self._model
        if page is not None and exchange.method not in ("GET", "HEAD"):
            raise UnknownPath(exchange.method, exchange.path, allowed=("GET",))
        return page

    @property
    def _catalog(self) -> Any:  # noqa: ANN401
        return self._pipeline.rules.catalog if self._pipeline is not None else catalog((), 0)

    async def _models(self, exchange: Exchange) -> None:
        _reply(exchange, {"object": "list", "data": [dict(model.card) for model in self._catalog.models]})

    async def _model(self, exchange: Exchange) -> None:
        name = exchange.path.removeprefix("/v1/models/")
        served = self._catalog.by_name.get(name)
        if served is None:
            raise UnknownModel(name, self._catalog.ids)
        _reply(exchange, dict(served.card))

    async def _health(self, exchange: Exchange) -> None:
        """Whether every model has a replica that takes requests; with `?generate=true`, whether every replica generates."""
        ready = {model: self._roster.ready(model) for model in self._roster.models}
        healthy = all(ready.values())
        answer: dict[str, Any] = {"status": "ok" if healthy else "degraded", "ready": ready}
        if b"generate=true" in exchange.query:
            answer["generated"] = {model: await self._generated(model) for model in self._roster.models}
            healthy = healthy and all(count == ready[model] for model, count in answer["generated"].items())
        _reply(exchange, answer, 200 if healthy else 503)

    async def _generated(self, model: str) -> int:
        """How many replicas of a model generate a token now."""
        try:
            return len(await self._replicas.ask(app_name(model), "engine", "generate_one", within_s=GENERATE_S))
        except OSError:
            return 0

    async def _status(self, exchange: Exchange) -> None:
        models = {
            model: [
                {"id": one.id, "state": one.state.value, "ongoing": one.ongoing, "address": f"{one.host}:{one.port}"}
                for one in self._roster.replicas(model)
            ]
            for model in self._roster.models
        }
        _reply(exchange, {"models": models})

    async def _targets(self, exchange: Exchange) -> None:
        """Prometheus' HTTP service discovery: every gateway and every engine."""
        groups = [
            {"targets": [f"{one.host}:{one.port}"], "labels": {"job": "engine", "model": model, "replica": one.id}}
            for model in self._roster.models
            for one in self._roster.replicas(model)
        ]
        try:
            gateways = await self._replicas.ask(GATEWAY, GATEWAY, "describe")
        except OSError:  # the head is away: this gateway at least knows itself
            gateways = [await self.describe()]
        groups += [{"targets": [f"{one['host']}:{one['port']}"], "labels": {"job": "gateway", "node": one["node"]}} for one in gateways]
        _reply(exchange, groups)

    async def _metrics(self, exchange: Exchange) -> None:
        if exchange.path != "/metrics":
            exchange.refuse(UnknownPath(exchange.method, exchange.path))
            return
        self._meter.ready((model, self._roster.ready(model)) for model in self._roster.models)
        exchange.reply(200, ((b"content-type", CONTENT_TYPE),), self._meter.text())


def _reply(exchange: Exchange, body: object, status: int = 200) -> None:
    exchange.reply(status, (JSON,), msgspec.json.encode(body))
