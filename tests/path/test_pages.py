"""The gateway's own pages, and what a defect of its own looks like from outside."""

import json
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from openai import AsyncOpenAI
from structlog.testing import capture_logs

from deployments.policy.errors.herd_error import HerdError
from deployments.policy.request.pages import Pages
from deployments.policy.routing.types import ReplicaState
from tests.path.fake_engine import FakeEngine, streams
from tests.path.herd import LLAMA, SCOUT, Herd, asking, herd_of, limits
from tests.path.wire import connected, request
from tests.wire_format import event

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_models_with_what_a_client_needs_to_know(herd: Herd) -> None:
    listed = (await herd.http.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == [LLAMA, SCOUT, "llama", "gpt-4o"]
    assert [model.get("root") for model in listed["data"]] == [None, None, LLAMA, LLAMA]
    assert listed["data"][0]["aliases"] == ["llama", "gpt-4o"]
    assert listed["data"][0]["max_model_len"] == 2048


@pytest.mark.parametrize("name", [LLAMA, "llama", "gpt-4o"])
async def test_one_model_by_any_of_its_names(herd: Herd, name: str) -> None:
    assert (await herd.http.get(f"/v1/models/{name}")).json()["id"] == LLAMA


async def test_unknown_model(herd: Herd) -> None:
    answer = await herd.http.get("/v1/models/none")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_official_client_lists_and_retrieves_models(herd: Herd) -> None:
    async with AsyncOpenAI(base_url=f"{herd.url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == [LLAMA, SCOUT, "llama", "gpt-4o"]
        assert (await client.models.retrieve("llama")).id == LLAMA


async def test_health_is_good_when_every_model_has_a_replica(herd: Herd, engine: FakeEngine) -> None:
    answer = await herd.http.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "degraded", "ready": {LLAMA: 1, SCOUT: 0}})
    herd.has(engine, model=SCOUT)
    answer = await herd.http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "ready": {LLAMA: 1, SCOUT: 1}})
    herd.has(engine, state=ReplicaState.LEAVING)
    assert (await herd.http.get("/health")).json()["ready"][LLAMA] == 0


@pytest.mark.parametrize(("generated", "status"), [({LLAMA: 1, SCOUT: 1}, 200), ({LLAMA: 1}, 503)])
async def test_health_can_mean_that_every_replica_generates(herd: Herd, engine: FakeEngine, generated: dict[str, int], status: int) -> None:
    herd.has(engine, model=SCOUT)
    herd.generated.update(generated)
    answer = await herd.http.get("/health?generate=true")
    assert (answer.status_code, answer.json()["generated"]) == (status, {LLAMA: 0, SCOUT: 0} | generated)


async def test_status_says_where_replicas_are(herd: Herd, engine: FakeEngine) -> None:
    assert (await herd.http.get("/-/status")).json() == {
        "models": {
            LLAMA: [
                {
                    "id": f"replica-{engine.port}",
                    "state": "ready",
                    "ongoing": 0,
                    "waiting": 0,
                    "ready_s": None,
                    "about": {},
                    "address": f"127.0.0.1:{engine.port}",
                    "canary": "",
                    "slow": False,
                    "figures": {},
                }
            ],
            SCOUT: [],
        },
        "waiting": {LLAMA: 0, SCOUT: 0},
        "at_zero": [],
        "scaling": {},
        "starting": {},
    }


async def test_status_passes_on_what_an_engine_tells_beside_its_plan(herd: Herd, engine: FakeEngine) -> None:
    figures = {"device": "cpu", "told": {"kv_tokens": 5000}, "planned": {}}
    (view,) = herd.roster.replicas(LLAMA)
    herd.roster.update(LLAMA, [replace(view, figures=figures, about={"release": "0.1.0", "gpus": 8}, ready_s=5.0, waiting=2)])
    (shown,) = (await herd.http.get("/-/status")).json()["models"][LLAMA]
    assert shown["figures"] == figures
    assert (shown["about"], shown["ready_s"], shown["waiting"]) == ({"release": "0.1.0", "gpus": 8}, 5.0, 2)


async def test_targets_are_what_prometheus_reads(herd: Herd, engine: FakeEngine) -> None:
    herd.gateways.append({"host": "10.0.0.9", "port": 4711, "node": "dgx-1"})
    assert (await herd.http.get("/-/targets")).json() == [
        {
            "targets": [f"127.0.0.1:{engine.port}"],
            "labels": {"job": "engine", "node": "127.0.0.1", "cluster": "herd", "model": LLAMA, "replica": f"replica-{engine.port}"},
        },
        {"targets": ["10.0.0.9:4711"], "labels": {"job": "gateway", "node": "dgx-1", "cluster": "herd"}},
    ]


async def test_metrics_have_a_port_of_their_own(herd: Herd) -> None:
    await herd.chat()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{herd.metrics_port}", trust_env=False, verify=False) as http:
        answer = await http.get("/metrics")
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'herd_requests_total{model="herd/llama",outcome="ok"} 1.0' in answer.text
        assert 'herd_replicas_ready{model="herd/llama"} 1.0' in answer.text
        assert 'herd_replicas_slow{model="herd/llama"} 0.0' in answer.text
        assert (await http.get("/v1/models")).status_code == 404


class Broken:
    """A roster's part that has a defect."""

    def __init__(self, *_: Any) -> None:
        raise KeyError("a defect with a secret inside")


async def test_defect_is_told_without_its_inside_and_logged_with_it(herd: Herd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herd.roster, "choose", Broken)
    with capture_logs() as lines:
        answer = await herd.chat(headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert [(line["event"], line["request_id"]) for line in lines] == [("defect", "mine")]
    assert herd.ended("internal_error") == 1
    assert herd.open_now == (0, 0)
    assert (await herd.http.get("/v1/models")).status_code == 200


async def test_defect_of_looking_at_a_head_is_told_too(herd: Herd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.policy.request.browsers.admitted", Broken)
    with capture_logs() as lines:
        answer = await herd.chat(headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert [(line["event"], line["request_id"]) for line in lines] == [("defect", "mine")]


async def test_defect_inside_a_stream_ends_it_with_an_event(herd: Herd, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.script = streams([event()])
    monkeypatch.setattr("deployments.gateway.delivery.Delivery._end", Broken)
    with capture_logs():
        answer = await herd.chat(stream=True)
    assert answer.content.startswith(event())
    assert json.loads(answer.content.rpartition(b"\n\ndata: ")[2])["error"]["code"] == "internal_error"


async def test_defect_after_the_answer_leaves_its_connection_clean(herd: Herd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.journal.Journal.ended", Broken)
    with capture_logs() as lines:
        async with connected(herd.port) as client:
            for _ in range(2):
                await client.send(request(asking()))
                assert (await client.answer())[0] == 200
    assert len(lines) == 2


async def test_every_error_is_in_the_shape_of_openai(herd: Herd) -> None:
    for answer in (
        await herd.chat(model="none"),
        await herd.http.get("/none"),
        await herd.chat(model=SCOUT),
        await herd.http.put("/health"),
    ):
        assert set(answer.json()) == {"type", "error"}
        assert set(answer.json()["error"]) == set(HerdError("x").fields())
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/-/status", "/-/targets"])
async def test_pages_for_operators_ask_for_their_key_where_others_reach_the_gateway(engine: FakeEngine, path: str) -> None:
    async with herd_of([engine], limits(), shown=Pages("right")) as herd:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic cmlnaHQ="}):
            for method in ("GET", "HEAD"):
                answer = await herd.http.request(method, path, headers=headers)
                assert answer.status_code == 401
                assert "127.0.0.1" not in answer.text
        refused = (await herd.http.get(path)).json()["error"]
        assert (refused["code"], "herd secret pages" in refused["message"]) == ("unauthorized", True)
        assert (await herd.http.get(path, headers={"authorization": "Bearer right"})).status_code == 200
        assert (await herd.http.get("/health")).status_code == 503
        assert (await herd.http.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    "path", [b"/%2d/status", b"/-%2fstatus", b"/%2D/targets", b"//-/status", b"/./-/status", b"/x/../-/status", b"/-/status/"]
)
async def test_pages_for_operators_have_one_spelling(engine: FakeEngine, path: bytes) -> None:
    async with herd_of([engine], limits(), shown=Pages("right")) as herd, connected(herd.port) as client:
        await client.send(b"GET %b HTTP/1.1\r\nhost: herd\r\n\r\n" % path)
        status, *_ = await client.answer()
        assert status in (401, 404)
