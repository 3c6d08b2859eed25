"""The one place that builds the parts of a gateway, and applies a changed config to them.

Production, tests and benches build a gateway here. Knows no Ray: what only the cluster can say or do is given as functions (`Cluster`).
"""

import asyncio
import secrets
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from pydantic import SecretStr

from cluster.planner.engine_groups import pools
from configs.gateway_config import GatewayConfig
from configs.inventory import Cloud
from configs.schema import LiveSettings
from deployments.gateway.admission import Admission, Coming
from deployments.gateway.attempts import Forward
from deployments.gateway.body.remote_images import Allowed, ImageFetcher, is_public
from deployments.gateway.endpoints import Front, Generated
from deployments.gateway.figures.cluster_figures import ReadCluster
from deployments.gateway.figures.figures import Figures, Gateways
from deployments.gateway.pipeline import Pipeline
from deployments.gateway.readers.reader import Readers
from deployments.gateway.replicas.following import Following
from deployments.gateway.replicas.load_feed import Feed
from deployments.gateway.replicas.load_reporting import PERIOD_S, Keep, LoadReporting
from deployments.gateway.replicas.reclaim_notices import AT, Drain, Notices
from deployments.gateway.replicas.roster import Roster
from deployments.gateway.replicas.sizes import Read, Sizes
from deployments.gateway.replicas.watch import Changed, Discover, Watch
from deployments.gateway.request import Asked, Rules
from deployments.gateway.status.pages import Histories, Sources, StatusPages
from deployments.gateway.status.recording import MINUTE_S, Recording
from deployments.gateway.status.starting import Starting, Starts
from deployments.policy.fleet.events import Kind
from deployments.policy.request.browsers import guests
from deployments.policy.request.pages import Pages
from deployments.policy.request.poison import Poison
from deployments.policy.request.served_models import catalog
from deployments.policy.routing.types import ReplicaView
from deployments.wire.client.certificate import Certificate
from deployments.wire.client.listener import Bounds, Listener, sockets
from deployments.wire.engine.client import Engines
from deployments.wire.sockets import listen
from deployments.wire.types import Address
from monitoring.export import Meter
from monitoring.journal import GATHERED_S
from monitoring.observing.observers import Observers
from monitoring.observing.tracing import BATCH_S

RELEASE = version("llama-herd")
#: Longest time that a stop waits for the requests under way, for a page of metrics, and for a collector to take the last spans.
DRAIN_S, PAGE_S, FLUSH_S = 600.0, 1.0, 5.0


Tell = Callable[[Kind, str, str, str], None]
"""Tells an event: its kind, its words, the model and the replica that it is about. Returns at once."""


def _nobody(*_event: object) -> None: ...


def _nothing(_names: Sequence[str]) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster, as far as only it can tell a gateway something, or do it for one."""

    gateways: Gateways
    generated: Generated
    drain: Drain
    discover: Discover | None = None
    """Finds the replicas of a model. None: they are told to `Serving.roster` from outside, and no replica is asked how it is."""
    changed: Changed | None = None
    """Tells when there may be other replicas of a model. None: they are looked for every `gateway.roster_period_s`."""
    tell: Tell = _nobody
    keep: Keep = _nobody
    """Keeps a text in the cluster's store, where autoscaling reads what gateways tell of the load."""
    read: Read = _nothing
    """Reads texts there. Called in a thread."""
    coming: Coming | None = None
    """Tells how many replicas a model that starts will have. None: as many as are ready."""
    starts: Starts = _nothing
    """Reads the starts of models that are kept. Called in a thread."""
    histories: Histories | None = None
    """Asks all gateways for what they tell of the last hour (`Serving.told`). None: this one is alone."""
    facts: ReadCluster | None = None
    """Reads what metrics show of the cluster. Called in a thread. None: they show what the roster knows."""


@dataclass(frozen=True, slots=True)
class Process:
    """Settings that stay the same for as long as a gateway's process lives."""

    host: str
    port: int
    """0: any free one."""
    metrics_host: str
    """The address at which Prometheus asks for metrics; the port is any free one."""
    pages: Pages
    engine_key: SecretStr
    engine_tls: ssl.SSLContext | None = None
    certificate: Certificate | None = None
    stop_s: float = DRAIN_S
    spans_s: float = BATCH_S
    """Spans wait so long for others that are sent with them."""
    gathered_s: float = GATHERED_S
    """Requests that have ended wait so long for others that are counted and logged with them."""
    told_s: float = PERIOD_S
    """Between two records of a model's load. What was decided on it is looked at five times less often."""
    name: str = field(default_factory=lambda: secrets.token_hex(4))
    """By which other gateways and the engines tell this one's prompts from others'."""
    minute_s: float = MINUTE_S
    """The length of a minute of the last hour's figures."""
    started: int = field(default_factory=lambda: int(time.time()))
    """Seconds since 1970, shown as the models' `created`."""
    fetch_from: Allowed = is_public
    """Whether images may be fetched from an address."""
    readers: Callable[[Asked], Readers] | None = None
    """Makes the readers of the answer to a request. None: no answer has readers."""
    metadata: Mapping[Cloud, str] = field(default_factory=lambda: AT)
    """The metadata server of each cloud."""


class Serving:
    """A gateway that serves, from its making until `stop`. It needs a running event loop."""

    def __init__(self, config: GatewayConfig, process: Process, cluster: Cluster) -> None:
        """Listens, and answers from now on.

        Raises:
            OSError: the port or the address cannot be listened on.
        """
        wanted = config.gateway
        doors, page = sockets(process.host, process.port), listen(process.metrics_host, 0)
        self.address, self.metrics_address = (Address(*one.getsockname()[:2]) for one in (doors[0], page))
        self._process, self._tell = process, cluster.tell
        self.meter = Meter()
        self.roster = Roster(
            _groups(config), wanted.routing, on_sick=self._count_sick, on_gone=self._tell_gone, on_demand=_on_demand(config)
        )
        self.engines = Engines(process.engine_key.get_secret_value(), tls=process.engine_tls)
        self._images = ImageFetcher(wanted.remote_images, process.fetch_from)
        poison = Poison()
        self._admission = Admission(self.roster, self.meter, coming=cluster.coming)
        attempts = Forward(self.roster, self.engines, self._admission, process.name, poison)
        self._observers = Observers(wanted, process.name, asyncio.get_running_loop().call_later, process.spans_s, process.gathered_s)
        self.pipeline = Pipeline(self._rules(config), attempts, self._observers.journal(self.meter))
        self._figures = Figures(config, self.roster, self.meter, cluster.gateways, cluster.facts)
        front = Front(self.roster, self.pipeline, self.meter, self._figures, cluster.generated, process.pages)
        self._metrics_server = Listener(front.metrics, [page], _bounds(wanted), PAGE_S)
        self.server = Listener(front.serve, doors, _bounds(wanted), process.stop_s, process.certificate)
        self.server.listen(lambda error: self.meter.refused(error.reason))
        self._load = LoadReporting(
            process.name, self.roster.replicas, lambda model, seen: attempts.load(model, RELEASE, seen), cluster.keep, process.told_s
        )
        self._sizes = Sizes(cluster.read, self.meter, 5 * process.told_s)
        self._status = self._status_pages(cluster, front)
        self._follow_load(config)
        self._notices = Notices(cluster.drain, process.metadata)
        self._notices.follow(config.cloud)
        self._following: Following | None = None
        if cluster.discover is not None:
            feed = Feed(self.roster, self.engines, process.name, wanted.load_period_s, poison)
            watch = Watch(self.roster, cluster.discover, wanted.roster_period_s, cluster.changed)
            self._following = Following(watch, feed)

    def _status_pages(self, cluster: Cluster, front: Front) -> StatusPages:
        minute_s = self._process.minute_s
        recording = Recording(self.meter, self.roster, self.pipeline.waiting, minute_s)
        starting = Starting(cluster.starts, cluster.coming, self.roster)
        pages = StatusPages(Sources(self.roster, self.pipeline, self._sizes, starting, recording, cluster.histories, minute_s))
        front.show(pages.by_path)
        return pages

    def told(self) -> bytes:
        """Writes what this gateway tells the others of its last hour."""
        return self._status.told_text()

    def apply(self, config: GatewayConfig) -> None:
        """Serves by this config from now on. Requests under way are finished, and no part is stopped or made anew."""
        wanted = config.gateway
        self._images.apply(wanted.remote_images)
        self.roster.keep(_groups(config), wanted.routing, _on_demand(config))
        self.pipeline.apply(self._rules(config))
        self._observers.apply(wanted)
        self._figures.apply(config)
        for server in (self.server, self._metrics_server):
            server.change(_bounds(wanted))
        if self._following is not None:
            self._following.apply(wanted)
        self._notices.follow(config.cloud)
        self._follow_load(config)

    def _follow_load(self, config: GatewayConfig) -> None:
        self._load.follow(_scaled(config))
        self._sizes.follow(_scaled(config))

    @property
    def alive(self) -> bool:
        """It still listens, and still follows its replicas."""
        listening = self.server.alive and self._metrics_server.alive
        return listening and self._figures.alive and (self._following is None or self._following.alive)

    async def stop(self) -> None:
        """Takes no new connection, finishes the requests under way, and leaves no task or socket behind."""
        await self.server.stop()
        await self._metrics_server.stop()
        await self._admission.stop()
        if self._following is not None:
            await self._following.stop()
        await self._load.stop()
        await self._sizes.stop()
        await self._status.stop()
        await self._figures.stop()
        await self._notices.stop()
        await self._images.close()
        self.engines.close()
        self.meter.settle()
        await asyncio.to_thread(self._observers.stop, FLUSH_S)

    def _rules(self, config: GatewayConfig) -> Rules:
        wanted = config.gateway
        models = catalog(config.models, self._process.started, wanted.auto)
        return Rules(models, wanted.limits, self._images, guests(self._process.host, wanted), wanted.requests, self._process.readers)

    def _tell_gone(self, replica: ReplicaView) -> None:
        self._tell(Kind.DEATH, f"it is gone from {replica.host} without a word", replica.model, replica.id)

    def _count_sick(self, replica: ReplicaView) -> None:
        self.meter.sick(replica.model, replica.canary)


def _groups(config: GatewayConfig) -> list[str]:
    """Returns the ids of all groups of engines."""
    return [pool.id for pool in pools(config.models)]


def _scaled(config: GatewayConfig) -> list[str]:
    """Returns the ids of the models whose number of replicas follows the load."""
    return [model.id for model in config.models if model.scale.min_replicas != model.scale.max_replicas]


def _on_demand(config: GatewayConfig) -> dict[str, float]:
    """Returns the models that may have no replica while nobody asks for them, and the seconds that the config takes a start to last."""
    return {model.id: model.scale.start_s for model in config.models if model.on_demand}


def _bounds(wanted: LiveSettings) -> Bounds:
    limits = wanted.limits
    return Bounds(limits.header_s, wanted.keep_alive_s, limits.write_s, wanted.connections, wanted.connections_per_address)
