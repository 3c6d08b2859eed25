"""What a gateway's page shows beside requests: objectives, refusals, prefixes, its own process, and the cluster."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from msgspec import structs

from configs.monitoring import Monitoring
from configs.scaling import Slo
from deployments.gateway.figures.cluster_figures import GOOD_FOR, ClusterFigures
from deployments.gateway.figures.own_process import OwnProcess
from deployments.gateway.replicas.roster import Roster
from deployments.policy.monitoring.cluster_facts import ClusterFacts, Node
from deployments.policy.records.starts import Start
from deployments.policy.routing.types import ReplicaState, ReplicaView
from monitoring.export import Meter
from tests.path.fake_engine import FakeEngine, answers, fake_engine, streams, then_hangs
from tests.path.herd import LLAMA, MODELS, SCOUT, Herd, asking, herd_of, limits, until
from tests.path.wire import connected, request
from tests.wire_format import DONE, event, usage

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODES = (Node("1", "127.0.0.1", "dgx-1", metrics_port=6000, gpus=8, free_gpus=2), Node("2", "10.0.0.2", "dgx-2", draining=True))


def met(herd: Herd, objective: str, yes: bool = True) -> float:
    return herd.count("herd_slo_requests_total", model=LLAMA, objective=objective, met="yes" if yes else "no")


def refused(herd: Herd, code: str) -> float:
    return herd.count("herd_refusals_total", code=code)


async def page(herd: Herd) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{herd.metrics_port}", trust_env=False, verify=False) as http:
        return (await http.get("/metrics")).text


async def test_requests_are_counted_against_the_objectives_of_the_config(herd: Herd, engine: FakeEngine) -> None:
    herd.apply([MODELS[0].model_copy(update={"slo": Slo(ttft_s=3600, itl_s=60)}), MODELS[1]])
    engine.script = streams([event(), event(), DONE])
    await herd.chat(stream=True)
    assert [met(herd, objective) for objective in ("availability", "ttft", "itl")] == [1, 1, 1]
    herd.apply([MODELS[0].model_copy(update={"slo": Slo(ttft_s=1e-9, itl_s=1e-9)}), MODELS[1]])
    await herd.chat(stream=True)
    assert [met(herd, objective, yes=False) for objective in ("availability", "ttft", "itl")] == [0, 1, 1]
    assert herd.count("herd_slo_threshold_seconds", model=LLAMA, objective="ttft") == 1e-9
    herd.has()
    assert (await herd.chat()).status_code == 503
    assert (met(herd, "availability"), met(herd, "availability", yes=False)) == (2, 1)


async def test_client_that_waits_too_long_and_leaves_was_failed(herd: Herd, engine: FakeEngine) -> None:
    herd.apply([MODELS[0].model_copy(update={"slo": Slo(ttft_s=0.01)}), MODELS[1]])
    engine.script = then_hangs(head=False)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await engine.asked()
        await asyncio.sleep(0.05)
        client.hang_up()
        await herd.has_ended("cancelled")
    assert (met(herd, "availability"), met(herd, "ttft", yes=False)) == (1, 1)


async def test_every_error_is_counted_once_by_its_code(herd: Herd) -> None:
    await herd.chat(model="none")
    await herd.chat(model=SCOUT)
    await herd.http.get("/none")
    await herd.http.post("/v1/chat/completions", content=b"no JSON")
    await herd.http.post("/v1/chat/completions", json={"model": 5})
    await herd.http.post("/v1/chat/completions", content=b"a", headers={"content-type": "text/plain"})
    async with connected(herd.port) as client:
        await client.send(b"no request\r\n\r\n")
        assert b" 400 " in (await client.rest())[:20]
    assert refused(herd, "engine_starting") == 1
    assert herd.ended("client_error", "unknown") == 4, "what is refused before its model is looked up has none"
    codes = "invalid_request", "unknown_url", "invalid_json", "invalid_http", "model_not_found", "unsupported_media_type"
    assert {code: refused(herd, code) for code in codes} == dict.fromkeys(codes, 1)
    refusals = [line for line in (await page(herd)).splitlines() if line.startswith("herd_refusals_total")]
    assert sum(float(line.rpartition(" ")[2]) for line in refusals) == 7


async def test_connection_that_is_too_many_is_counted(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), connections=1) as herd, connected(herd.port), connected(herd.port) as one_more:
        assert (await one_more.answer())[0] == 503
        assert refused(herd, "too_many_connections") == 1


@pytest.mark.parametrize("streamed", [True, False])
async def test_cached_tokens_are_those_that_the_engine_states(herd: Herd, engine: FakeEngine, streamed: bool) -> None:
    stated = {"prompt_tokens": 11, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 8}}
    last = usage(11, 7).replace(b'"prompt_tokens"', b'"prompt_tokens_details": {"cached_tokens": 8}, "prompt_tokens"')
    engine.script = streams([event(), last, DONE]) if streamed else answers(200, {"usage": stated})
    await herd.chat(stream=streamed)
    assert [herd.count("herd_tokens_total", model=LLAMA, kind=kind) for kind in ("prompt", "completion", "cached")] == [11, 7, 8]


@pytest.mark.parametrize(("path", "counted"), [("/v1/embeddings", 11), ("/tokenize", 0)])
async def test_tokens_are_stated_by_answers_of_a_gpu_only(herd: Herd, engine: FakeEngine, path: str, counted: int) -> None:
    engine.script = answers(200, {"usage": {"prompt_tokens": 11, "completion_tokens": 0}})
    asked = {"model": LLAMA, "prompt": "Hi"} if path == "/tokenize" else {"model": LLAMA, "input": "Hi"}
    assert (await herd.http.post(path, json=asked)).status_code == 200
    assert herd.count("herd_tokens_total", model=LLAMA, kind="prompt") == counted


async def test_prompt_that_a_replica_has_seen_is_expected_there(herd: Herd, engine: FakeEngine) -> None:
    long = [{"role": "user", "content": "All work and no play makes Jack a dull boy. " * 100}]
    await herd.chat(messages=long)
    assert herd.count("herd_prefix_tokens_total", model=LLAMA, found="miss") == 0, "with one replica nobody looks"
    async with fake_engine() as other:
        herd.has(engine, other)
        await herd.chat(messages=long)
        first = herd.count("herd_prefix_tokens_total", model=LLAMA, found="miss")
        assert first > 500
        assert herd.count("herd_prefix_tokens_total", model=LLAMA, found="hit") == 0
        await herd.chat(messages=long)
        assert herd.count("herd_prefix_tokens_total", model=LLAMA, found="hit") > 0.9 * first
        assert herd.count("herd_prefix_tokens_total", model=LLAMA, found="miss") < 1.1 * first


async def test_own_process_is_shown(herd: Herd) -> None:
    shown = await page(herd)
    values = {line.split()[0]: float(line.split()[1]) for line in shown.splitlines() if not line.startswith("#") and "{" not in line}
    assert 0 < values["herd_gateway_cpu_seconds_total"] <= time.process_time()
    assert values["herd_gateway_memory_bytes"] > 10 << 20


async def test_late_event_loop_is_seen() -> None:
    meter = Meter()
    own = OwnProcess(meter, period_s=0.02)
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 (the loop stands still)
    await until(lambda: bool(meter.registry.get_sample_value("herd_event_loop_lag_seconds_count")))
    assert (meter.registry.get_sample_value("herd_event_loop_lag_seconds_sum") or 0) >= 0.07
    assert own.alive
    await own.stop()
    assert not own.alive


class Cluster:
    """Tells what a test lets it tell."""

    def __init__(self) -> None:
        self.facts: ClusterFacts | None = ClusterFacts(NODES)
        self.read_for: list[Sequence[str]] = []

    def read(self, models: Sequence[str]) -> ClusterFacts:
        self.read_for.append(models)
        if self.facts is None:
            raise OSError("the head is away")
        return self.facts


async def test_cluster_is_on_every_gateways_page_and_its_nodes_among_the_targets(engine: FakeEngine) -> None:
    cluster = Cluster()
    start = Start(SCOUT, "scout#1", "10.0.0.2", "1", time.time() - 50, (("load", time.time() - 30),))
    cluster.facts = ClusterFacts(NODES, {SCOUT: 2, LLAMA: 0}, (start,), {"scale": 3})
    async with herd_of([engine], limits(), facts=cluster.read, monitoring=Monitoring(node_exporter_port=9100)) as herd:
        await until(lambda: bool(herd.serving._figures._cluster.nodes))
        shown = await page(herd)
        for line in (
            'herd_nodes{health="alive"} 1.0',
            'herd_nodes{health="draining"} 1.0',
            'herd_nodes{health="dead"} 0.0',
            'herd_gpus{use="used"} 6.0',
            'herd_gpus{use="free"} 2.0',
            'herd_events_total{kind="scale"} 3.0',
            'herd_events_total{kind="death"} 0.0',
            'herd_replicas{model="scout",state="starting"} 2.0',
            'herd_replicas{model="herd/llama",state="ready"} 1.0',
            'herd_replicas{model="herd/llama",state="dead"} 0.0',
        ):
            assert line in shown.splitlines()
        assert 30 <= herd.count("herd_replica_phase_seconds", model=SCOUT, phase="load") < 40
        jobs = {(one["labels"]["job"], one["labels"]["node"]): one["targets"] for one in (await herd.http.get("/-/targets")).json()}
        assert jobs == {
            ("engine", "dgx-1"): [f"127.0.0.1:{engine.port}"],
            ("ray", "dgx-1"): ["127.0.0.1:6000"],
            ("node", "dgx-1"): ["127.0.0.1:9100"],
            ("node", "dgx-2"): ["10.0.0.2:9100"],
        }
        assert set(cluster.read_for[0]) == {LLAMA, SCOUT}


async def test_what_died_is_not_shown_and_what_nobody_can_know_any_more_is_not_either() -> None:
    meter, roster, cluster = Meter(), Roster([SCOUT]), Cluster()
    view = ReplicaView("scout#1", SCOUT, "10.0.0.2", 4000, ReplicaState.READY, 0)
    roster.update(SCOUT, [view, structs.replace(view, id="scout#2", state=ReplicaState.SICK)])
    figures = ClusterFigures(cluster.read, roster, meter, period_s=0.02)

    def value(name: str, **labels: Any) -> float | None:
        figures.show()
        return meter.registry.get_sample_value(name, labels)

    await until(lambda: bool(value("herd_nodes", health="alive")))
    assert [value("herd_replicas", model=SCOUT, state=state) for state in ("ready", "sick", "starting")] == [1, 1, 0]
    cluster.facts = ClusterFacts((replace(NODES[0], alive=False), NODES[1]), {SCOUT: 1})
    await until(lambda: bool(value("herd_nodes", health="dead")))
    await until(lambda: value("herd_replica_phase_seconds", model=SCOUT, phase="placing") is not None)
    assert [node.id for node in figures.nodes] == ["2"]
    assert value("herd_gpus", use="used") == 0
    cluster.facts = None
    roster.update(SCOUT, [])
    await asyncio.sleep(0.02 * (GOOD_FOR + 1))
    await until(lambda: value("herd_nodes", health="alive") is None)
    assert value("herd_replica_phase_seconds", model=SCOUT, phase="placing") is None
    assert value("herd_gpus", use="free") is None
    assert value("herd_replicas", model=SCOUT, state="starting") is None
    assert value("herd_replicas", model=SCOUT, state="ready") == 0
    assert [node.id for node in figures.nodes] == ["2"], "it need not be gone because the head is away"
    assert figures.alive
    await figures.stop()
    assert not figures.alive
    roster.keep([])
    assert value("herd_replicas", model=SCOUT, state="ready") is None
