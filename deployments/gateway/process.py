"""The gateway: a Ray Serve deployment whose replicas listen themselves, and together, on the herd's port of their node.

Has Ray's hooks, and nothing else: `deployments.gateway.assembly` builds the gateway. Ray Serve places, supervises, scales and replaces the
replicas, and tells them a new config by `reconfigure`, without a restart.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import serve

from configs.addresses import on_loopback
from configs.doorway import Tls
from configs.gateway_config import GatewayConfig
from configs.load import environment
from configs.site import Site
from deployments.gateway.assembly import Cluster, Process, Serving
from deployments.policy.fleet.events import Kind
from deployments.policy.fleet.reclaim_notices import Notice
from deployments.policy.monitoring.cluster_facts import ClusterFacts
from deployments.policy.records.starts import Start
from deployments.policy.request.pages import Pages
from deployments.policy.routing.types import ReplicaView
from deployments.ray_calls import cluster_store
from deployments.ray_calls.broadcast import Changes, Replicas
from deployments.ray_calls.drain import drain
from deployments.ray_calls.names import ENGINE, GATEWAY, app_name
from deployments.ray_calls.ray_guard import refuse_open
from deployments.records.cluster_facts import ClusterReader
from deployments.records.event_log import Teller
from deployments.records.kept_starts import KeptStarts
from deployments.records.load_log import Keeper
from deployments.settled import settle
from deployments.wire.client.certificate import Certificate
from deployments.wire.engine import tls as engine_tls
from monitoring import logs

#: Longest wait for an engine's generation when `/health?generate=true` asks for one.
GENERATE_S = 35.0


class RayCluster:
    """The Ray that a gateway runs in, as far as the gateway asks it."""

    def __init__(self) -> None:
        self._replicas = Replicas()
        self._changes = Changes()
        self._events = Teller("gateway")
        self._texts = Keeper()
        self._starts = KeptStarts()
        self._reader = ClusterReader(self._starts)

    @property
    def name(self) -> str:
        """The id of this gateway, by which Ray Serve knows it."""
        return str(serve.get_replica_context().replica_id.unique_id)

    @property
    def node_address(self) -> str:
        """The address of this node, as other nodes reach it."""
        return str(ray.util.get_node_ip_address())

    async def engines(self, model: str) -> Sequence[ReplicaView]:
        """Finds the replicas of a model's group of engines.

        Raises:
            OSError: nobody could be asked, or not all answered in time.
        """
        return await self._replicas.views(model)

    async def engines_changed(self, model: str) -> None:
        """Returns when the replicas of a model's group of engines are others than when this returned before.

        Raises:
            OSError: that cannot be known now.
        """
        await self._changes.next(app_name(model), ENGINE)

    async def coming(self, model: str) -> int:
        """Returns how many replicas of a model's group of engines there are, and start.

        Raises:
            OSError: that cannot be known now.
        """
        return await self._replicas.coming(app_name(model), ENGINE)

    async def gateways(self) -> list[dict[str, Any]]:
        """Asks every gateway where it shows its metrics.

        Raises:
            OSError: nobody could be asked, or not all answered in time.
        """
        return await self._replicas.ask(GATEWAY, GATEWAY, "describe")

    async def histories(self) -> list[bytes]:
        """Asks every gateway for its figures of the last hour.

        Raises:
            OSError: nobody could be asked, or not all answered in time.
        """
        return await self._replicas.ask(GATEWAY, GATEWAY, "last_hour")

    async def generated(self, model: str) -> int:
        """Has every replica of a model generate a token; how many did.

        Raises:
            OSError: nobody could be asked, or not all answered in time.
        """
        return len(await self._replicas.ask(app_name(model), ENGINE, "generate_one", within_s=GENERATE_S))

    def leave(self, notice: Notice) -> str | None:
        """Has this node drained, because its machine will be taken away. Returns why Ray would not, if so."""
        refusal = drain(ray.get_runtime_context().get_node_id(), notice.why, notice.within_s)
        if refusal is None:
            words = f"the cloud takes the machine away ({notice.why}): it is left within {notice.within_s:.0f} s"
            self.tell(Kind.DRAIN, words, "", self.node_address)
        return refusal

    def tell(self, kind: Kind, words: str, model: str = "", subject: str = "") -> None:
        """Tells an event of the herd. Returns at once."""
        self._events.tell(kind, words, model, subject)

    def keep(self, name: str, text: str | None) -> None:
        """Keeps a text in the cluster's store; None removes it. Returns at once."""
        self._texts.keep(name, text)

    def read(self, names: Sequence[str]) -> Mapping[str, str]:
        """Returns texts of the cluster's store by their names; it may wait for the head.

        Raises:
            Exception: whatever Ray raises while its head is away.
        """
        return cluster_store.several(names)

    def starts(self, models: Sequence[str]) -> Mapping[str, Sequence[Start]]:
        """Returns the starts of models that are kept, oldest first; it may wait for the head.

        Raises:
            Exception: whatever Ray raises while its head is away.
        """
        return self._starts.of(models)

    def facts(self, models: Sequence[str]) -> ClusterFacts:
        """Reads what metrics show of the cluster; it may wait for the head.

        Raises:
            Exception: whatever Ray raises while its head is away.
        """
        return self._reader.read(models)

    def flush(self) -> None:
        """Returns when all events and texts are kept, or after four seconds."""
        self._events.flush()
        self._texts.flush()


class Gateway:
    """One gateway process."""

    def __init__(self, host: str, port: int, tls: dict[str, str] | None, site: Site, in_ray: RayCluster | None = None) -> None:
        """Listens and answers from the first `reconfigure` on.

        Args:
            host: the address to listen on.
            port: the port, which other gateways of the node share.
            tls: the files for HTTPS; None: plain HTTP.
            site: what the herd says about Ray and networks.
            in_ray: the way to Ray; None: the one that this process runs in.

        Raises:
            RuntimeError: the node's environment has no keys, its Ray asks for no token, or the files for TLS do not do.
        """
        logs.configure()
        refuse_open(site)
        keys = environment()
        self._ray = RayCluster() if in_ray is None else in_ray
        local, pages_key = on_loopback(host), keys.key("pages").get_secret_value()
        self._process = Process(
            host=host,
            port=port,
            metrics_host="127.0.0.1" if local else self._ray.node_address,
            pages=Pages(None if local else pages_key, engines_speak_tls=site.engine_tls is not None),
            engine_key=keys.key("door"),
            engine_tls=engine_tls.client(site.engine_tls),
            certificate=None if tls is None else Certificate(Tls.model_validate(tls)),
        )
        self._serving: Serving | None = None
        """None until Ray Serve has told the config, which it does before it calls anything else."""

    async def reconfigure(self, settings: dict[str, Any]) -> None:
        """Ray Serve's hook: the config, at the start and whenever it changes.

        Raises:
            OSError: at the start: the port cannot be listened on.
        """
        config = GatewayConfig.model_validate(settings)
        if self._serving is not None:
            self._serving.apply(config)
            return
        self._serving = Serving(config, self._process, self._cluster())
        self._ray.tell(
            Kind.READY, f"a gateway listens on port {self._serving.address.port} of {self._ray.node_address}", "", self._ray.name
        )
        settle()  # a collection need not walk through what is loaded by now while streams wait

    def _cluster(self) -> Cluster:
        its = self._ray
        return Cluster(
            self._gateways,
            self._generated,
            its.leave,
            its.engines,
            its.engines_changed,
            its.tell,
            keep=its.keep,
            read=its.read,
            coming=its.coming,
            starts=its.starts,
            histories=its.histories,
            facts=its.facts,
        )

    async def check_health(self) -> None:
        """Ray Serve replaces the replica when this raises.

        Raises:
            RuntimeError: it no longer listens, or no longer watches its engines.
        """
        if self._serving is not None and not self._serving.alive:
            raise RuntimeError("the gateway has stopped listening")

    async def describe(self) -> dict[str, Any]:
        """Returns where this process shows its metrics.

        Raises:
            RuntimeError: nowhere yet.
        """
        if self._serving is None:
            raise RuntimeError("the gateway has not been told its config yet")
        at = self._serving.metrics_address
        return {"host": at.host, "port": at.port, "node": socket.gethostname()}

    async def last_hour(self) -> bytes:
        """Returns this gateway's figures of the last hour, for whichever gateway is asked for those of the herd.

        Raises:
            RuntimeError: it serves nothing yet.
        """
        if self._serving is None:
            raise RuntimeError("the gateway has not been told its config yet")
        return self._serving.told()

    async def __del__(self) -> None:
        """Ray Serve's hook before a replica goes: takes no new connection, and finishes what it has."""
        if self._serving is not None:
            self._ray.tell(Kind.STOP, f"a gateway of {self._ray.node_address} stops, and finishes what it has", "", self._ray.name)
            await self._serving.stop()
            await asyncio.to_thread(self._ray.flush)

    async def _gateways(self) -> list[dict[str, Any]]:
        try:
            return await self._ray.gateways()
        except OSError:  # the head is away: this gateway at least knows itself
            return [await self.describe()]

    async def _generated(self, model: str) -> int:
        try:
            async with asyncio.timeout(GENERATE_S):  # to find the replicas may take as long as Ray's head is away
                return await self._ray.generated(model)
        except (OSError, TimeoutError):
            return 0
