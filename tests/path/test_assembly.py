"""`deployments.gateway.assembly`: a gateway is built without Ray, takes over a changed config while it runs, and stops without a trace."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from configs.gateway_config import GatewayConfig
from configs.inventory import Cloud
from configs.schema import LiveSettings, Model
from deployments.gateway.assembly import Cluster, Process, Serving
from deployments.policy.fleet.reclaim_notices import AWS_SPOT, GCP_PREEMPTED, Notice
from deployments.policy.request.pages import Pages
from deployments.policy.routing.types import Reason, ReplicaState, ReplicaView, Trust
from monitoring.logs import LOGGER
from tests.path.fake_engine import WAIT_S, FakeEngine, Wire, answers, fake_engine
from tests.path.fake_metadata import TERMINATED, TERMINATES, fake_metadata
from tests.path.herd import CHAT, LLAMA, MODELS, SCOUT, SECRET, asking, until
from tests.path.wire import connected, request
from tests.unit.pictures import data_url, png

OFTEN_S, SELDOM_S = 0.02, 10.0
#: Long enough to see that something happens often or not at all.
MEANWHILE_S = 0.3
#: Turns of `OFTEN_S` in which something that happens often happens three times, also on a busy machine.
MANY_WITHIN = 60
PICTURE = png()


@dataclass
class FakeCluster:
    """What Ray would say and do."""

    replicas: dict[str, list[ReplicaView]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Models whose replicas were asked for, in order."""
    notices: list[Notice] = field(default_factory=list)
    """What this node was to be drained for."""

    async def discover(self, model: str) -> Sequence[ReplicaView]:
        self.asked.append(model)
        return self.replicas.get(model, ())

    async def gateways(self) -> list[Mapping[str, Any]]:
        return []

    async def generated(self, _model: str) -> int:
        return 0

    def drain(self, notice: Notice) -> str | None:
        self.notices.append(notice)
        return None

    def has(self, engine: FakeEngine, *models: str) -> None:
        """The engine serves these models from now on, and says so when it is asked for its load."""

        async def script(wire: Wire) -> None:
            body = {"id": "load", "model": models[0], "host": "127.0.0.1", "port": engine.port, "state": "ready", "ongoing": 0}
            is_load = wire.received.path.startswith("/-/load")
            await answers(200, body if is_load else {"object": "chat.completion"})(wire)

        engine.script = script
        for model in models:
            name = "load" if model == models[0] else model
            self.replicas[model] = [ReplicaView(name, model, "127.0.0.1", engine.port, ReplicaState.READY, 0)]


@dataclass
class Gate:
    """A gateway that serves."""

    serving: Serving
    config: GatewayConfig
    cluster: FakeCluster
    engine: FakeEngine
    http: httpx.AsyncClient

    def apply(self, models: Sequence[Model] | None = None, cloud: Cloud | None = None, **changed: Any) -> None:
        """The config changes: its models, its cloud, or fields of its `gateway`."""
        gateway = LiveSettings.model_validate({**dict(self.config.gateway), **changed})
        self.config = GatewayConfig(gateway=gateway, models=tuple(models or self.config.models), cloud=cloud)
        self.serving.apply(self.config)

    @property
    def reports(self) -> int:
        """How often the engine was asked for its load."""
        return sum(one.path.startswith("/-/load") for one in self.engine.requests)


@contextlib.asynccontextmanager
async def gate(
    models: Sequence[Model] = MODELS[:1], cloud: Cloud | None = None, process: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Gate]:
    """A gateway with one engine, which has been found; both periods are long unless the settings say otherwise."""
    wanted = LiveSettings.model_validate({"roster_period_s": SELDOM_S, "load_period_s": SELDOM_S, **settings})
    config, cluster = GatewayConfig(gateway=wanted, models=tuple(models), cloud=cloud), FakeCluster()
    at = Process("127.0.0.1", 0, "127.0.0.1", Pages(), SecretStr(SECRET), stop_s=1.0, **process or {})
    async with fake_engine() as engine:
        cluster.has(engine, LLAMA, SCOUT)
        serving = Serving(config, at, Cluster(cluster.gateways, cluster.generated, cluster.drain, cluster.discover))
        url, told = f"http://127.0.0.1:{serving.address.port}", {"content-type": "application/json"}
        try:
            async with httpx.AsyncClient(base_url=url, headers=told, timeout=WAIT_S, trust_env=False, verify=False) as http:
                await until(lambda: serving.roster.ready(LLAMA) == 1)
                yield Gate(serving, config, cluster, engine, http)
        finally:
            async with asyncio.timeout(WAIT_S):
                await serving.stop()


async def _has_many(count: Callable[[], int]) -> bool:
    """Whether something happens often: three times, long before the long period is over, also where the machine has other work."""
    before = count()
    for _ in range(MANY_WITHIN):
        if count() - before >= 3:
            return True
        await asyncio.sleep(OFTEN_S)
    return False


async def _finds_replicas_often(one: Gate) -> bool:
    return await _has_many(lambda: len(one.cluster.asked))


async def _hears_of_replicas_often(one: Gate) -> bool:
    return await _has_many(lambda: one.reports)


async def _closes_idle_connections(one: Gate) -> bool:
    async with connected(one.serving.address.port) as client:
        await client.send(request(path="/v1/models", method="GET", headers=("host: localhost",)).replace(b"host: herd\r\n", b""))
        await client.answer()
        patience_s = MEANWHILE_S if one.config.gateway.keep_alive_s > 1 else WAIT_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                return await client.reader.read(1) == b""
    return False


async def _refuses_a_third_connection(one: Gate) -> bool:
    async with connected(one.serving.address.port), connected(one.serving.address.port), connected(one.serving.address.port) as third:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MEANWHILE_S):
                return b"HTTP/1.1 " in await third.reader.read(16)
    return False


def _answered(status: int, method: str = "GET", path: str = "/v1/models", **sent: Any) -> Callable[[Gate], Awaitable[bool]]:
    async def seen(one: Gate) -> bool:
        return (await one.http.request(method, path, **sent)).status_code == status

    return seen


async def _fetches_images_from_a_host(one: Gate) -> bool:
    image = {"type": "image_url", "image_url": {"url": "http://images.invalid/"}}
    answer = await one.http.post(CHAT, json=asking(SCOUT) | {"messages": [{"role": "user", "content": [image]}]})
    return "could not be fetched" in answer.text


async def _picks_in_turn(one: Gate) -> bool:
    views = [ReplicaView(name, LLAMA, "127.0.0.1", one.engine.port, ReplicaState.READY, 0) for name in ("a", "b")]
    one.serving.roster.update(LLAMA, views)
    pick = one.serving.roster.choose(LLAMA)
    return pick is not None and pick.reason is Reason.ROUND_ROBIN


async def _offers_auto(one: Gate) -> bool:
    return "auto" in [card["id"] for card in (await one.http.get("/v1/models")).json()["data"]]


async def _tells_engines_of_traces(one: Gate) -> bool:
    await one.http.post(CHAT, json=asking())
    return "traceparent" in one.engine.requests[-1].headers


async def _lines(one: Gate, body: dict[str, Any]) -> int:
    """Sends ten requests, and counts the lines of the log about them: those before the line of one that always has one."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger(LOGGER)
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        for _ in range(10):
            await one.http.post(CHAT, json=body)
        await one.http.post(CHAT, json=asking(n=-1), headers={"x-request-id": "the-last"})
        await until(lambda: any('"the-last"' in line or '"requests_left_out"' in line for line in lines))
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    return sum('"event":"request"' in line and '"the-last"' not in line for line in lines)


async def _logs_requests_that_ended_well(one: Gate) -> bool:
    return await _lines(one, asking()) == 10


async def _leaves_lines_out(one: Gate) -> bool:
    return await _lines(one, asking(n=-1)) < 10


#: Another value of each field that gateways take over while they run, and how it is seen from outside. A new field needs a row.
EFFECTS: dict[str, tuple[Any, Callable[[Gate], Awaitable[bool]]]] = {
    "keep_alive_s": (0.2, _closes_idle_connections),
    "connections": (2, _refuses_a_third_connection),
    "connections_per_address": (2, _refuses_a_third_connection),
    "allowed_hosts": (["herd.example.com"], _answered(200, headers={"host": "herd.example.com"})),
    "cors": ({"allowed_origins": ["https://a.example"]}, _answered(200, headers={"origin": "https://a.example"})),
    "limits": ({"body_mib": 0.0001}, _answered(413, "POST", CHAT, json=asking(text="x" * 200))),
    "requests": ({"choices": 1}, _answered(400, "POST", CHAT, json=asking(n=2))),
    "remote_images": ({"allowed_hosts": ["images.invalid"], "fetch_s": 0.2}, _fetches_images_from_a_host),
    "routing": ({"policy": "round_robin"}, _picks_in_turn),
    "auto": ([LLAMA], _offers_auto),
    "roster_period_s": (OFTEN_S, _finds_replicas_often),
    "load_period_s": (OFTEN_S, _hears_of_replicas_often),
    "tracing": ({"endpoint": "http://127.0.0.1:9/v1/traces", "sample_ratio": 1, "send_s": 0.1}, _tells_engines_of_traces),
    "access_log": ("all", _logs_requests_that_ended_well),
    "access_log_lines_per_s": (1, _leaves_lines_out),
}


@pytest.mark.parametrize("name", LiveSettings.model_fields)
async def test_field_of_the_config_is_taken_over_by_a_running_gateway(name: str) -> None:
    value, seen = EFFECTS[name]
    async with gate(models=MODELS) as one:
        assert not await seen(one)
        if "connections" in name:  # those of this test's own client count as well
            await one.http.aclose()
        one.apply(**{name: value})
        assert await seen(one)
        assert one.serving.alive


async def test_period_that_becomes_longer_is_kept_too() -> None:
    async with gate(roster_period_s=OFTEN_S, load_period_s=OFTEN_S) as one:
        assert await _finds_replicas_often(one)
        assert await _hears_of_replicas_often(one)
        one.apply(roster_period_s=SELDOM_S, load_period_s=SELDOM_S)
        await asyncio.sleep(MEANWHILE_S)  # each is asked once more, at the change
        assert not await _finds_replicas_often(one)
        assert not await _hears_of_replicas_often(one)


async def test_config_that_changes_nothing_asks_nobody_anew() -> None:
    async with gate() as one:
        for _ in range(3):
            one.apply()
        assert not await _finds_replicas_often(one)
        assert (len(one.cluster.asked), one.reports) == (1, 0)


async def test_replica_is_not_doubted_because_it_is_asked_more_often_from_now_on() -> None:
    async with gate(load_period_s=1) as one:
        await until(lambda: one.reports == 1)
        await asyncio.sleep(MEANWHILE_S)  # 30 of the new periods, after which a silent replica would be given up
        one.apply(load_period_s=0.01)
        for _ in range(3):  # the feed looks at once, long before the engine can answer
            await asyncio.sleep(0)
            assert one.serving.roster.replicas(LLAMA)[0].trust is Trust.TRUSTED
        await until(lambda: one.reports > 3)
        assert one.serving.roster.replicas(LLAMA)[0].trust is Trust.TRUSTED


async def test_node_is_drained_when_its_cloud_takes_the_machine_away() -> None:
    async with fake_metadata() as aws, gate(cloud="aws", process={"metadata": {"aws": aws.url}}) as one:
        await until(lambda: AWS_SPOT in aws.asked)
        assert not one.cluster.notices
    async with fake_metadata() as aws:
        aws.says[AWS_SPOT] = TERMINATES
        async with gate(cloud="aws", process={"metadata": {"aws": aws.url}}) as one:
            await until(lambda: bool(one.cluster.notices))
            assert [notice.why for notice in one.cluster.notices] == [TERMINATED]


async def test_cloud_that_appears_in_the_config_or_changes_is_asked_by_a_running_gateway() -> None:
    async with fake_metadata() as aws, fake_metadata() as gcp:
        aws.says[AWS_SPOT], gcp.says[GCP_PREEMPTED] = TERMINATES, "TRUE"
        async with gate(process={"metadata": {"aws": aws.url, "gcp": gcp.url}}) as one:
            await asyncio.sleep(MEANWHILE_S)
            assert not aws.asked + gcp.asked
            one.apply(cloud="aws")
            await until(lambda: len(one.cluster.notices) == 1)
            one.apply()
            one.apply(cloud="gcp")
            await until(lambda: len(one.cluster.notices) == 2)
            assert [notice.why for notice in one.cluster.notices] == [TERMINATED, "preempted"]


async def test_model_that_appears_is_served_and_one_that_disappears_is_unknown() -> None:
    async with gate() as one:
        assert (await one.http.post(CHAT, json=asking(SCOUT))).status_code == 404
        one.apply(MODELS)
        await until(lambda: one.serving.roster.ready(SCOUT) == 1)
        assert (await one.http.post(CHAT, json=asking(SCOUT))).status_code == 200
        one.apply(MODELS[:1])
        assert (await one.http.post(CHAT, json=asking(SCOUT))).status_code == 404
        assert (await one.http.get("/-/status")).json()["models"].keys() == {LLAMA}
        one.cluster.asked.clear()
        one.apply(roster_period_s=OFTEN_S)
        assert await _finds_replicas_often(one)
        assert set(one.cluster.asked) == {LLAMA}


async def test_image_that_is_being_fetched_when_the_config_changes_is_fetched_by_the_rules_before() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        asked.set()
        await go_on.wait()
        return web.Response(body=PICTURE, content_type="image/png")

    app = web.Application()
    app.router.add_get("/", answer)
    listed = {"allowed_hosts": ["localhost"]}
    async with (
        TestServer(app, host="127.0.0.1") as host,
        gate(models=MODELS, remote_images=listed, process={"fetch_from": lambda _: True}) as one,
    ):
        image = {"type": "image_url", "image_url": {"url": f"http://localhost:{host.port}/"}}
        body = asking(SCOUT) | {"messages": [{"role": "user", "content": [image]}]}
        answered = asyncio.create_task(one.http.post(CHAT, json=body))
        async with asyncio.timeout(WAIT_S):
            await asked.wait()
        one.apply(remote_images={"image_mib": 1e-6})
        go_on.set()
        assert (await answered).status_code == 200
        assert data_url(PICTURE) in one.engine.requests[-1].body.decode()
        refused = await one.http.post(CHAT, json=body)
        assert "allowed hosts: none" in refused.json()["error"]["message"]


def _sockets() -> set[str]:
    """This process's open sockets."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return {name for name in found if name.startswith("socket:")}


async def test_stop_leaves_no_task_and_no_socket_behind() -> None:
    tasks, sockets = asyncio.all_tasks(), _sockets()
    async with fake_metadata() as aws:
        often = {"roster_period_s": OFTEN_S, "load_period_s": OFTEN_S}
        async with gate(cloud="aws", process={"metadata": {"aws": aws.url}}, models=MODELS, **often) as one:
            assert (await one.http.post(CHAT, json=asking())).status_code == 200
            assert (await one.http.get(f"http://127.0.0.1:{one.serving.metrics_address.port}/metrics")).status_code == 200
            one.apply(MODELS[:1], cloud=None, roster_period_s=1, load_period_s=1)
            one.apply(MODELS, cloud="aws")
            await until(lambda: one.serving.roster.ready(SCOUT) == 1)
            assert _sockets() - sockets
            await one.serving.stop()
            await one.engine.idle()  # which has not ended: the gateway has closed its connections
        assert not one.serving.alive
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            await asyncio.open_connection("127.0.0.1", one.serving.address.port)
    await until(lambda: not asyncio.all_tasks() - tasks and not _sockets() - sockets)
