"""Images by address: fetched by the gateway from a host on the list, or refused in a sentence; the engine sees `data:` URLs only."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from configs.schema import RemoteImages
from deployments.gateway.body.remote_images import Allowed, ImageFetcher, is_public
from deployments.policy.errors.client_errors import BadRequest
from tests.path.fake_engine import FakeEngine
from tests.path.herd import SCOUT, Herd, herd_of, limits
from tests.unit.pictures import data_url, png

pytestmark = pytest.mark.asyncio(loop_scope="session")

PNG = png()
DATA_URL = data_url(PNG)
MIB = 1 << 20
#: What a host sends, by path, and what it calls that.
SENT = {
    "/llama.png": (PNG, "image/png"),
    "/untyped": (PNG, "application/octet-stream"),
    "/bomb": (png(20_000, 20_000), "image/png"),
    "/eps.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/png"),
    "/large": (bytes(MIB + 1), "image/png"),
    "/page": (b"<svg/>", "image/svg+xml"),
}


class Host:
    """A web server with images and with worse."""

    def __init__(self) -> None:
        self.asked: list[web.Request] = []
        self.leave = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if request.path in SENT:
            body, called = SENT[request.path]
            return web.Response(body=body, content_type=called)
        match request.path:
            case "/gzip":
                answer = web.Response(body=bytes(64 * MIB), content_type="image/png", zlib_executor_size=1 << 30)
                answer.enable_compression(web.ContentCoding.gzip)
                return answer
            case "/redirect":
                raise web.HTTPFound("/llama.png")
            case "/slow":
                await self.leave.wait()
        raise web.HTTPNotFound


@pytest.fixture
def host() -> Host:
    return Host()


@pytest_asyncio.fixture(loop_scope="session")
async def url(host: Host) -> AsyncIterator[str]:
    """The host's address, by a name that is on the list."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", host.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield f"http://localhost:{server.port}"
        host.leave.set()


LISTED: dict[str, Any] = {"allowed_hosts": ("localhost", "127.0.0.1", "127.1", "2130706433"), "image_mib": 1, "fetch_s": 5}


def everywhere(_address: str) -> bool:
    return True


@contextlib.asynccontextmanager
async def fetching(allowed: Allowed = everywhere, **rules: Any) -> AsyncIterator[ImageFetcher]:
    async with ImageFetcher(RemoteImages.model_validate(LISTED | rules), allowed) as fetcher:
        yield fetcher


@pytest_asyncio.fixture(loop_scope="session")
async def herd(engine: FakeEngine) -> AsyncIterator[Herd]:
    """A gateway that fetches, in front of a model that sees."""
    async with herd_of([], limits(), fetch_from=everywhere, remote_images=LISTED) as one:
        one.has(engine, model=SCOUT)
        yield one


def chat(url: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}]}


def responses(url: str) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "auto"}]}]}


def messages(source: dict[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image", "source": source}]}], "max_tokens": 1}


async def test_chat_and_responses_get_the_image_itself(herd: Herd, engine: FakeEngine, url: str) -> None:
    for path, form in (("/v1/chat/completions", chat), ("/v1/responses", responses)):
        answer = await herd.http.post(path, json={"model": SCOUT, **form(f"{url}/llama.png")})
        assert answer.status_code == 200
        assert (await engine.asked()).json == {"model": SCOUT, **form(DATA_URL)}


async def test_messages_get_the_image_itself(herd: Herd, engine: FakeEngine, url: str) -> None:
    body = {"model": SCOUT, **messages({"type": "url", "url": f"{url}/llama.png"})}
    assert (await herd.http.post("/v1/messages", json=body)).status_code == 200
    inlined = {"type": "base64", "media_type": "image/png", "data": DATA_URL.partition(",")[2]}
    assert (await engine.asked()).json == {"model": SCOUT, **messages(inlined)}


async def test_the_bytes_count_and_not_what_their_host_calls_them(herd: Herd, engine: FakeEngine, url: str) -> None:
    answer = await herd.http.post("/v1/chat/completions", json={"model": SCOUT, **chat(f"{url}/untyped")})
    assert answer.status_code == 200
    assert (await engine.asked()).json == {"model": SCOUT, **chat(DATA_URL)}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/page", "is not a JPEG, PNG, WebP or GIF file"),
        ("/eps.png", "is not a JPEG, PNG, WebP or GIF file"),
        ("/bomb", "has 20000 × 20000 pixels (400 megapixels)"),
    ],
)
async def test_what_a_host_sends_is_checked_as_what_a_client_sends(
    herd: Herd, engine: FakeEngine, url: str, path: str, sentence: str
) -> None:
    answer = await herd.http.post("/v1/chat/completions", json={"model": SCOUT, **chat(url + path)})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_image", "messages[0].content[1].image_url")
    assert f"The image from 'localhost' {sentence}" in error["message"]
    assert not engine.requests


async def test_an_address_that_is_given_twice_is_fetched_once(herd: Herd, host: Host, engine: FakeEngine, url: str) -> None:
    body = chat(f"{url}/llama.png")
    body["messages"] *= 2
    assert (await herd.http.post("/v1/chat/completions", json={"model": SCOUT, **body})).status_code == 200
    assert len(host.asked) == 1
    assert (await engine.asked()).body.count(DATA_URL.encode()) == 2


async def test_fetcher_tells_the_host_nothing(herd: Herd, host: Host, url: str) -> None:
    await herd.http.post("/v1/chat/completions", json={"model": SCOUT, **chat(f"{url}/llama.png")}, headers={"authorization": "Bearer x"})
    assert set(host.asked[0].headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


async def test_two_addresses_in_one_part_are_both_fetched(herd: Herd, engine: FakeEngine, url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": f"{url}/llama.png"}, "source": {"type": "url", "url": f"{url}/llama.png"}}
    body = {"model": SCOUT, "messages": [{"role": "user", "content": [part]}]}
    assert (await herd.http.post("/v1/chat/completions", json=body)).status_code == 200
    assert b"http" not in (await engine.asked()).body


async def test_one_bad_image_among_good_ones_refuses_the_request(herd: Herd, engine: FakeEngine, url: str) -> None:
    parts = [{"type": "image_url", "image_url": {"url": f"{url}/{name}"}} for name in ("llama.png", "none", "llama.png")]
    answer = await herd.http.post("/v1/chat/completions", json={"model": SCOUT, "messages": [{"role": "user", "content": parts}]})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_image_url", "messages[0].content[1].image_url")
    assert not engine.requests


async def test_bad_address_is_named_where_it_stands_in_each_api(herd: Herd, engine: FakeEngine) -> None:
    address = "http://elsewhere.example/"
    for path, body, place in (
        ("/v1/responses", responses(address), "input[0].content[0].image_url"),
        ("/v1/messages", messages({"type": "url", "url": address}), "messages[0].content[0].source"),
    ):
        answer = await herd.http.post(path, json={"model": SCOUT, **body})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, place)
    assert not engine.requests


@pytest.mark.parametrize("name", ["x" * 64, "a.", ".", "a." * 200, "a\0", "%ff", "-", "é" * 60])
async def test_name_that_no_resolver_can_be_asked_for_is_the_clients_mistake(engine: FakeEngine, name: str) -> None:
    """Below a listed name a client may make up any other."""
    async with herd_of([], limits(), remote_images={"allowed_hosts": ("*.example.invalid",), "fetch_s": 5}) as herd:
        herd.has(engine, model=SCOUT)
        answer = await herd.http.post("/v1/chat/completions", json={"model": SCOUT, **chat(f"http://{name}.example.invalid/")})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")
    assert not engine.requests


@pytest.mark.parametrize(
    "address",
    [
        "http://" + "é" * 1_000_000,
        "http://" + "é" * 4_000,
        "http://x/" + "a/../" * 300_000,
        "http://" + "a" * 3_000_000,
        "http://x/" + "é" * MIB,
    ],
    ids=["letters", "few letters", "dots", "host", "path"],
)
async def test_address_that_takes_long_to_parse_is_refused_at_once_and_not_repeated(herd: Herd, engine: FakeEngine, address: str) -> None:
    body = json.dumps({"model": SCOUT, **chat(address)}, ensure_ascii=False).encode()
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = await herd.http.post("/v1/chat/completions", content=body)
    assert loop.time() - began < 2, "20 s for a million letters, in which nothing else of the gateway goes on"
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_image_url")
    assert len(answer.content) < 1000
    assert not engine.requests


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/none", "it answered 404"),
        ("/redirect", "it answered 302"),
        ("/large", "larger than 1 MiB"),
        ("/gzip", "larger than 1 MiB"),
        ("/slow", "did not arrive within 0.3 s"),
    ],
)
async def test_what_a_listed_host_may_send(host: Host, url: str, path: str, sentence: str) -> None:
    async with fetching(fetch_s=0.3 if path == "/slow" else 5) as fetcher:
        with pytest.raises(BadRequest, match=sentence):
            await fetcher.fetch(url + path)
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("http://elsewhere.example/llama.png", "not fetched from 'elsewhere.example' \\(allowed hosts: localhost"),
        ("http://localhost@elsewhere.example/", "not fetched from 'elsewhere.example'"),
        ("http://elsewhere.example#@localhost/", "not fetched from 'elsewhere.example'"),
        ("http://[::1", "malformed"),
        ("http://localhost:99999/", "malformed"),
        ("http:///llama.png", "not fetched from ''"),
        ("http://127.0.0.1/", "not a public address"),
        ("http://127.1/", "not a public address"),
        ("http://2130706433/", "not a public address"),
        ("http://[::1]/", "not fetched from"),
        ("http://localhost/", "could not be fetched"),
    ],
)
async def test_where_images_are_not_fetched_from(address: str, sentence: str) -> None:
    async with fetching(is_public) as fetcher:
        with pytest.raises(BadRequest, match=sentence):
            await fetcher.fetch(address)


async def test_name_that_turns_to_a_private_address_reaches_nobody(host: Host, url: str) -> None:
    async with fetching(is_public) as fetcher:
        with pytest.raises(BadRequest, match="could not be fetched"):
            await fetcher.fetch(f"{url}/llama.png")
    assert not host.asked


async def test_host_that_does_not_listen(unused_tcp_port: int) -> None:
    async with fetching() as fetcher:
        with pytest.raises(BadRequest, match="could not be fetched"):
            await fetcher.fetch(f"http://localhost:{unused_tcp_port}/")


async def test_new_rules_hold_from_the_next_image_on(url: str) -> None:
    async with fetching() as fetcher:
        assert await fetcher.fetch(f"{url}/llama.png") == PNG
        fetcher.apply(RemoteImages())
        with pytest.raises(BadRequest, match="allowed hosts: none"):
            await fetcher.fetch(f"{url}/llama.png")
