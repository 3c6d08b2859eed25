"""The gateway: a Ray Serve deployment whose replicas listen themselves, and together, on the herd's port of their node.

Decides nothing about requests: that is `deployments.gateway.endpoints`'s. Ray Serve places, supervises, scales and replaces the replicas,
and tells them a new config by `reconfigure`, without a restart.
"""

import asyncio
import gc
import secrets
import socket
import time
from typing import Any

import ray

from cluster.planner.engine_groups import pools
from configs.doorway import Tls
from configs.load import environment
from configs.schema import Config
from configs.schema import Gateway as GatewayConfig
from configs.site import Site
from deployments.gateway.attempts import Forward
from deployments.gateway.body.remote_images import ImageFetcher
from deployments.gateway.endpoints import Front
from deployments.gateway.pipeline import Pipeline, Rules
from deployments.gateway.replicas.load_feed import Feed
from deployments.gateway.replicas.reclaim_notices import Notices
from deployments.gateway.replicas.roster import Roster, Watch
from deployments.policy.fleet.reclaim_notices import Notice
from deployments.policy.request.browsers import guests, on_loopback
from deployments.policy.request.pages import Pages
from deployments.policy.request.served_models import catalog
from deployments.policy.routing.poison import Poison
from deployments.ray_calls.broadcast import Replicas
from deployments.ray_calls.drain import drain
from deployments.ray_calls.names import ENGINE, GATEWAY, app_name
from deployments.ray_calls.ray_guard import refuse_open
from deployments.wire.client.certificate import Certificate
from deployments.wire.client.listener import Bounds, Listener, sockets
from deployments.wire.engine import tls as engine_tls
from deployments.wire.engine.client import Engines
from deployments.wire.sockets import listen
from deployments.wire.types import Address
from monitoring import logs
from monitoring.export import Meter

#: Longest wait for an engine's generation when `/health?generate=true` asks for one.
GENERATE_S = 35.0
DRAIN_S = 600.0


class Gateway:
    """One gateway process."""

    def __init__(self, host: str, port: int, tls: dict[str, str] | None, site: Site) -> None:
        """Listens and answers from the first `reconfigure` on.

        Raises:
            RuntimeError: the node's environment has no keys, its Ray asks for no token, or the files for TLS do not do.
        """
        logs.configure()
        refuse_open(site)
        key, pages_key = environment().key("door"), environment().key("pages")
        self._listen_on = (host, port)
        self._pages = Pages(None if on_loopback(host) else pages_key.get_secret_value(), engines_speak_tls=site.engine_tls is not None)
        self._certificate = Certificate(Tls.model_validate(tls)) if tls is not None else None
        self._started = int(time.time())
        self._replicas = Replicas()
        self._engines = Engines(key.get_secret_value(), tls=engine_tls.client(site.engine_tls))
        self._meter = Meter()
        self._roster = Roster(())
        self._name = secrets.token_hex(4)
        self._roster.listen_for_sick(lambda view: self._meter.sick(view.model, view.canary))
        self._watch: Watch | None = None
        self._images: ImageFetcher | None = None
        self._pipeline: Pipeline | None = None
        self._notices: Notices | None = None

    async def reconfigure(self, settings: dict[str, Any]) -> None:
        """Ray Serve's hook: the config, at the start and whenever it changes.

        Raises:
            OSError: at the start: the port cannot be listened on.
        """
        config = Config.model_validate(settings)
        if self._images is None:
            self._images = ImageFetcher(config.gateway.remote_images)
        self._images.rules = config.gateway.remote_images
        wanted = config.gateway
        rules = Rules(catalog(config.models, self._started, wanted.auto), wanted.limits, self._images, guests(wanted), wanted.requests)
        self._roster.keep([pool.id for pool in pools(config.models)], config.gateway.routing)
        if self._pipeline is None:
            self._start(rules, config.gateway)
        else:
            self._pipeline.rules = rules
            for server in (self._server, self._metrics_server):
                server.change(_bounds(config.gateway))
        if self._watch is not None:
            self._watch.follow()
        if self._notices is None and (cloud := config.cluster and config.cluster.cloud):
            self._notices = Notices(cloud, _leave)

    def _start(self, rules: Rules, wanted: GatewayConfig) -> None:
        refused = Poison()
        forward = Forward(self._roster, self._engines, self._meter, self._name, refused)
        self._pipeline = Pipeline(rules, forward, self._meter)
        self._watch = Watch(self._roster, self._replicas.views, wanted.roster_period_s)
        self._feed = Feed(self._roster, self._engines, self._name, wanted.load_period_s, refused, forward.demand)
        front = Front(self._roster, self._pipeline, self._meter, self._gateways, self._generated, self._pages)
        node = ray.util.get_node_ip_address()
        pages = listen("127.0.0.1" if on_loopback(self._listen_on[0]) else node, 0)
        self._metrics_at = Address(*pages.getsockname()[:2])
        bounds = _bounds(wanted)
        self._metrics_server = Listener(front.metrics, [pages], bounds, stop_s=1)
        self._server = Listener(front.serve, sockets(*self._listen_on), bounds, DRAIN_S, self._certificate)
        # What is loaded by now stays: a collection need not walk through it while streams wait.
        gc.collect()
        gc.freeze()

    async def check_health(self) -> None:
        """Ray Serve replaces the replica when this raises.

        Raises:
            RuntimeError: it no longer listens, or no longer watches its engines.
        """
        if self._watch is not None and not (self._server.alive and self._watch.alive and self._feed.alive):
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
            self._feed.stop()
        if self._notices is not None:
            self._notices.stop()
        if self._images is not None:
            await self._images.close()
        self._engines.close()

    async def _gateways(self) -> list[dict[str, Any]]:
        try:
            return await self._replicas.ask(GATEWAY, GATEWAY, "describe")
        except OSError:  # the head is away: this gateway at least knows itself
            return [await self.describe()]

    async def _generated(self, model: str) -> int:
        try:
            async with asyncio.timeout(GENERATE_S):  # to find the replicas may take as long as Ray's head is away
                return len(await self._replicas.ask(app_name(model), ENGINE, "generate_one", within_s=GENERATE_S))
        except (OSError, TimeoutError):
            return 0


def _bounds(wanted: GatewayConfig) -> Bounds:
    limits = wanted.limits
    return Bounds(limits.header_s, wanted.keep_alive_s, limits.write_s, wanted.connections, wanted.connections_per_address)


def _leave(notice: Notice) -> str | None:
    """This node will be taken away: everything on it should go elsewhere before. Why Ray would not, if so."""
    return drain(ray.get_runtime_context().get_node_id(), notice.why, notice.within_s)
