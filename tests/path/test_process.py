"""`deployments.gateway.process`: what Ray Serve makes of the declared application, without Ray, from the config to a drained node."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
import structlog

from configs.schema import Config
from deployments.gateway import assembly
from deployments.gateway.process import Gateway, RayCluster
from deployments.gateway.replicas import departures
from deployments.lifecycle.applications import gateway_application
from deployments.policy.fleet.events import Kind
from deployments.policy.fleet.reclaim_notices import AWS_SPOT, Notice
from deployments.policy.monitoring.cluster_facts import ClusterFacts, Node
from deployments.policy.records.starts import Start
from deployments.policy.routing.types import ReplicaState, ReplicaView
from deployments.ray_calls.ray_guard import OpenRay
from tests.path.fake_engine import WAIT_S, FakeEngine, answers, fake_engine
from tests.path.fake_metadata import TERMINATED, TERMINATES, Metadata, fake_metadata
from tests.path.herd import asking, until
from tests.unit.samples import config

ON_AWS = {"aws": {"region": "us-east-2", "zone": "us-east-2a", "machine": "p5.48xlarge", "ami": "a", "subnet": "s", "security_group": "g"}}


class FakeRay(RayCluster):
    """Answers as Ray does, in this process."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.notices: list[Notice] = []
        self.events: list[tuple[str, str, str, str]] = []
        self.gone = False
        """The engine's replica is no more."""
        self.away = False
        """Ray's head is away: nobody can be asked."""
        self.hours: list[bytes] = []
        """What gateways tell of the last hour."""

    async def engines(self, model: str) -> Sequence[ReplicaView]:
        return [] if self.gone else [ReplicaView("a", model, "127.0.0.1", self.engine.port, ReplicaState.READY, 0)]

    async def gateways(self) -> list[dict[str, Any]]:
        if self.away:
            raise OSError("the head is away")
        return [{"host": "10.0.0.1", "port": 1, "node": "one"}, {"host": "10.0.0.2", "port": 2, "node": "two"}]

    async def generated(self, model: str) -> int:
        if self.away:
            raise OSError("the head is away")
        return len(model)

    def facts(self, models: Sequence[str]) -> ClusterFacts:
        if self.away:
            raise OSError("the head is away")
        return ClusterFacts((Node("1", "10.0.0.1", "one", metrics_port=6000),), dict.fromkeys(models, 1))

    def leave(self, notice: Notice) -> str | None:
        self.notices.append(notice)
        return None

    @property
    def name(self) -> str:
        return "gw1"

    async def histories(self) -> list[bytes]:
        if self.away:
            raise OSError("the head is away")
        return self.hours

    def starts(self, models: Sequence[str]) -> Mapping[str, Sequence[Start]]:
        return {}

    def tell(self, kind: Kind, words: str, model: str = "", subject: str = "") -> None:
        self.events.append((kind, words, model, subject))

    def flush(self) -> None: ...


class HeldGateway(Gateway):
    """The test calls Ray's last hook; nobody but Ray knows that it is a coroutine."""

    def __del__(self) -> None:  # type: ignore[override]
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("HERD_SECRET", "0123456789abcdef" * 4)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    yield
    structlog.reset_defaults()
    gc.unfreeze()


@contextlib.asynccontextmanager
async def started(herd: Config, ray: FakeRay) -> AsyncIterator[tuple[Gateway, httpx.AsyncClient]]:
    """A gateway as Ray Serve makes it of the declared application."""
    args = gateway_application(herd, 1)["args"]
    gateway = HeldGateway(args["host"], args["port"], args["tls"], herd.site, ray)
    await gateway.check_health()
    await told(gateway, herd)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{args['port']}", timeout=WAIT_S, trust_env=False, verify=False) as http:
            yield gateway, http
    finally:
        async with asyncio.timeout(WAIT_S):
            await Gateway.__del__(gateway)


async def told(gateway: Gateway, herd: Config) -> None:
    """Ray Serve tells a gateway the config."""
    await gateway.reconfigure(gateway_application(herd, 1)["deployments"][0]["user_config"])


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    async with fake_engine() as one:
        one.script = answers(200, {"object": "chat.completion"})
        yield one


@pytest.fixture
async def aws(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Metadata]:
    async with fake_metadata() as server:
        monkeypatch.setattr(assembly, "AT", {"aws": server.url})
        yield server


async def test_gateway_that_ray_makes_answers_and_takes_over_a_config(engine: FakeEngine) -> None:
    port, ray = free_port(), FakeRay(engine)
    async with started(config(gateway={"port": port}), ray) as (gateway, http):
        await until(lambda: bool(engine.requests))
        assert (await http.post("/v1/chat/completions", json=asking("llama"))).status_code == 200
        assert (await http.post("/v1/chat/completions", json=asking("llama", n=2))).status_code == 200
        await told(gateway, config(gateway={"port": port, "requests": {"choices": 1}}))
        assert (await http.post("/v1/chat/completions", json=asking("llama", n=2))).status_code == 400
        await gateway.check_health()
    with pytest.raises(RuntimeError, match="stopped listening"):
        await gateway.check_health()


async def test_gateway_tells_that_it_listens_and_that_it_stops(engine: FakeEngine) -> None:
    port, ray = free_port(), FakeRay(engine)
    async with started(config(gateway={"port": port}), ray):
        assert [(kind, subject) for kind, _, _, subject in ray.events] == [("ready", "gw1")]
        assert f"port {port} of" in ray.events[0][1]
    assert [kind for kind, *_ in ray.events] == ["ready", "stop"]


async def test_replica_that_ray_does_not_name_any_more_is_told_of(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departures, "GONE_S", 0.01)
    ray = FakeRay(engine)
    async with started(config(gateway={"port": free_port(), "roster_period_s": 0.1}), ray):
        await until(lambda: bool(engine.requests))
        ray.gone = True
        await until(lambda: len(ray.events) > 1)
    assert ray.events[1] == ("death", "it is gone from 127.0.0.1 without a word", "llama", "a")


async def test_node_is_drained_once_the_config_says_which_cloud_may_take_it(engine: FakeEngine, aws: Metadata) -> None:
    aws.says[AWS_SPOT] = TERMINATES
    port, ray = free_port(), FakeRay(engine)
    async with started(config(gateway={"port": port}), ray) as (gateway, _):
        assert not aws.asked
        await told(gateway, config(gateway={"port": port}, cluster=ON_AWS))
        await until(lambda: bool(ray.notices))
    assert [notice.why for notice in ray.notices] == [TERMINATED]


async def test_node_of_a_cloud_is_drained_from_the_start(engine: FakeEngine, aws: Metadata) -> None:
    aws.says[AWS_SPOT] = TERMINATES
    ray = FakeRay(engine)
    async with started(config(gateway={"port": free_port()}, cluster=ON_AWS), ray):
        await until(lambda: bool(ray.notices))


async def test_gateway_shows_its_own_metrics_and_no_other_gateways_while_rays_head_is_away(engine: FakeEngine) -> None:
    ray = FakeRay(engine)
    async with started(config(gateway={"port": free_port()}), ray) as (gateway, http):
        await until(lambda: bool(gateway._serving and gateway._serving._figures._cluster.nodes))
        nodes = [one["labels"]["node"] for one in (await http.get("/-/targets")).json() if one["labels"]["job"] == "gateway"]
        assert nodes == ["one", "two"]
        ray.away = True
        (own,) = [one["targets"] for one in (await http.get("/-/targets")).json() if one["labels"]["job"] == "gateway"]
        described = await gateway.describe()
        assert own == [f"{described['host']}:{described['port']}"]
        assert [one["targets"] for one in (await http.get("/-/targets")).json() if one["labels"]["job"] == "ray"] == [["10.0.0.1:6000"]]
        page = await http.get(f"http://{own[0]}/metrics")
        assert page.status_code == 200
        assert 'herd_nodes{health="alive"} 1.0' in page.text
        assert 'herd_replicas{model="llama",state="starting"} 1.0' in page.text
        assert (await http.get("/health?generate=true")).json()["generated"] == {"llama": 0}


async def test_last_hour_is_that_of_the_gateways_which_ray_reaches(engine: FakeEngine) -> None:
    ray = FakeRay(engine)
    async with started(config(gateway={"port": free_port()}), ray) as (gateway, http):
        ray.hours += [await gateway.last_hour()] * 3
        assert (await http.get("/-/history")).json()["gateways"] == {"told": 3, "missing": False}


async def test_last_hour_is_the_gateways_own_while_rays_head_is_away(engine: FakeEngine) -> None:
    ray = FakeRay(engine)
    ray.away = True
    async with started(config(gateway={"port": free_port()}), ray) as (_, http):
        assert (await http.get("/-/history")).json()["gateways"] == {"told": 1, "missing": True}
        assert "Others could not be asked." in (await http.get("/status")).text


async def test_gateway_of_an_open_ray_does_not_start(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    with pytest.raises(OpenRay):
        HeldGateway("127.0.0.1", free_port(), None, config().site, FakeRay(engine))


async def test_gateway_that_has_no_config_yet_has_nothing_to_describe_or_stop(engine: FakeEngine) -> None:
    gateway = HeldGateway("127.0.0.1", free_port(), None, config().site, FakeRay(engine))
    await gateway.check_health()
    with pytest.raises(RuntimeError, match="not been told"):
        await gateway.describe()
    with pytest.raises(RuntimeError, match="not been told"):
        await gateway.last_hour()
    await Gateway.__del__(gateway)
