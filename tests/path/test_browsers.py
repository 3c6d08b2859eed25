"""Web pages: what they may not send to a herd, and what the browsers of those that may are told."""

import httpx
import pytest

from configs.doorway import Cors
from tests.path.fake_engine import WAIT_S, FakeEngine, answers, streams
from tests.path.herd import CHAT, Herd, asking, herd_of, limits
from tests.path.wire import connected, request
from tests.wire_format import event, vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = "https://chat.example.com"
CORS = {"allowed_origins": [PAGE]}


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain", "origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"content-type": "application/json", "origin": "https://evil.example"},
        {"content-type": "application/json", "sec-fetch-site": "same-site"},
        {"content-type": "application/json", "host": "evil.example:8000"},
    ],
)
async def test_pages_that_the_config_does_not_name_reach_no_engine(herd: Herd, engine: FakeEngine, headers: dict[str, str]) -> None:
    answer = await herd.chat(headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert not engine.requests


@pytest.mark.parametrize("path", ["/-/status", "/-/targets", "/health", "/v1/models", "/v1/models/llama", "/none"])
async def test_no_page_of_the_gateway_is_read_by_a_foreign_name(herd: Herd, path: str) -> None:
    assert (await herd.http.get(path, headers={"host": f"evil.example:{herd.port}"})).status_code == 403
    assert (await herd.http.get(path, headers={"sec-fetch-site": "cross-site"})).status_code == 403
    async with connected(herd.port) as client:
        await client.send(f"GET http://evil.example{path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert (await client.answer())[0] == 403


async def test_metrics_are_not_read_by_a_foreign_name(herd: Herd) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{herd.metrics_port}", trust_env=False, verify=False, timeout=WAIT_S) as http:
        assert (await http.get("/metrics", headers={"host": "evil.example"})).status_code == 403
        assert (await http.get("/metrics")).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None])
async def test_body_that_is_not_announced_as_json_is_refused_unread(herd: Herd, engine: FakeEngine, content_type: str | None) -> None:
    line = "" if content_type is None else f"content-type: {content_type}\r\n"
    async with connected(herd.port) as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n{line}content-length: 100000\r\n\r\n{{".encode())
        status, _, body = await client.answer()
    assert (status, b"-H 'content-type: application/json'" in body) == (415, True)
    assert herd.ended("client_error", model="unknown") == 1
    assert not engine.requests


async def test_preflight_of_a_page_that_may(engine: FakeEngine) -> None:
    asked = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    async with herd_of([engine], limits(), cors=CORS) as herd:
        for path in (CHAT, "/v1/models"):
            answer = await herd.http.options(path, headers=asked)
            assert (answer.status_code, answer.content) == (204, b"")
            assert "content-length" not in answer.headers
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
            assert "POST" in answer.headers["access-control-allow-methods"]
            assert answer.headers["vary"] == "origin"
        assert (await herd.http.options(CHAT, headers=asked | {"origin": "https://evil.example"})).status_code == 403
        assert (await herd.http.options(CHAT)).status_code == 405


async def test_answers_errors_and_streams_are_readable_for_a_page_that_may(engine: FakeEngine) -> None:
    engine.queue = [answers(200, {}), streams([event()]), answers(400, vllm_error(400, "no"))]
    async with herd_of([engine], limits(), cors=CORS) as herd:
        told = {"origin": PAGE, "sec-fetch-site": "cross-site"}
        found = [await herd.chat(headers=told), await herd.chat(headers=told, stream=True), await herd.chat(headers=told)]
        found += [await herd.chat(headers=told, model="none"), await herd.http.get("/v1/models", headers=told)]
        assert [answer.status_code for answer in found] == [200, 200, 400, 404, 200]
        for answer in found:
            assert answer.headers["access-control-allow-origin"] == PAGE
            assert "x-request-id" in answer.headers["access-control-expose-headers"]
            assert answer.headers["vary"] == "origin"


@pytest.mark.parametrize(
    "path",
    ["/%2d/status", "//-/status", "/-/../-/status", "/-/Status", "/-/status/", "/./-/status", "/-/status;a", "/-%2fstatus", "/-/statu%73"],
)
async def test_a_page_has_one_spelling(herd: Herd, path: str) -> None:
    async with connected(herd.port) as client:
        await client.send(request(path=path, method="GET"))
        assert (await client.answer())[0] == 404


@pytest.mark.parametrize("path", ["/v1//chat/completions", "/v1/chat/completions/", "/v1/v1/chat/completions", "/chat/completions"])
async def test_path_with_a_slip_in_it_is_told_the_right_one(herd: Herd, path: str) -> None:
    answer = await herd.http.post(path, json=asking())
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")
    assert f"Did you mean {CHAT}?" in answer.json()["error"]["message"]
    assert "Did you mean /v1/models?" in (await herd.http.get("/v1/models/")).json()["error"]["message"]


async def test_model_whose_name_is_percent_encoded_is_found(herd: Herd) -> None:
    assert (await herd.http.get("/v1/models/herd%2Fllama")).json()["id"] == "herd/llama"


async def test_streams_tell_proxies_not_to_hold_them_back(herd: Herd, engine: FakeEngine) -> None:
    engine.queue = [streams([event()]), answers(200, {})]
    answer = await herd.chat(stream=True)
    assert (answer.headers["x-accel-buffering"], answer.headers["cache-control"]) == ("no", "no-cache")
    assert "x-accel-buffering" not in (await herd.chat()).headers


async def test_head_that_comes_again_on_its_connection_is_judged_by_the_rules_that_hold_then(engine: FakeEngine) -> None:
    """The gateway remembers what it has made of a head, for as long as the config is the same."""
    engine.script = answers(200, {})
    ours, others = (f"origin: {page}" for page in (PAGE, "https://evil.example"))
    async with herd_of([engine], limits(), cors=CORS) as herd, connected(herd.port) as client:

        async def said(headers: tuple[str, ...], text: str = "") -> tuple[int, str | None]:
            await client.send(request(asking() | {"user": text}, headers=headers))
            status, told, _ = await client.answer()
            return status, told.get("access-control-allow-origin")

        assert [await said((ours,)), await said((ours,), "of another length")] == [(200, PAGE), (200, PAGE)]
        assert [await said((others,)), await said((others,))] == [(403, None), (403, None)]
        assert [await said((ours, "x-priority: none"))] * 2 == [(400, PAGE)] * 2
        assert await said((ours,)) == (200, PAGE)
        herd.apply(cors=Cors())
        assert [await said((ours,)), await said((ours,), "once more")] == [(403, None), (403, None)]
        herd.apply(cors=Cors.model_validate(CORS))
        assert await said((ours,)) == (200, PAGE)
        herd.apply_limits(body_mib=0.0001)
        assert [(await said((ours,)))[0], (await said((ours,), "x" * 200))[0]] == [200, 413]
