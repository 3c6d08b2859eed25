"""Images in a request: what an engine must not decode is refused before it is asked, and all else reaches it in the form that it reads."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from deployments.policy.images.settlement import settle
from tests.path.fake_engine import WAIT_S, FakeEngine, answers
from tests.path.herd import CHAT, LLAMA, SCOUT, Herd
from tests.unit.pictures import FILES, OTHERS, animated, canvas, data_url, frame, gif, gif_frame, jpeg, png, saved, webp

pytestmark = pytest.mark.asyncio(loop_scope="session")

PNG = png()
BASE64 = data_url(PNG).partition(",")[2]
RESPONSES, MESSAGES, TOKENIZE = "/v1/responses", "/v1/messages", "/tokenize"
BOMBS = {
    "png": png(20_000, 20_000),
    "jpeg": jpeg(frame(60_000, 60_000), b"\xff\xda\0\2"),
    "gif screen": gif((60_000, 60_000), gif_frame()),
    "gif frame": gif((1, 1), gif_frame(width=60_000, height=60_000)),
    "webp": webp(canvas(16_384, 16_384)),
    "thin png": png(1, 20_000_000),
    "frames": animated("GIF", 300, (4, 4)),
}


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _sees(herd: Herd, engine: FakeEngine) -> AsyncIterator[None]:
    """The only engine is of a model that reads images, and of one that does not."""
    engine.script = answers(200, {"id": "1", "choices": []})
    herd.has(engine, model=SCOUT)
    yield


def chat(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, *parts]}]}


def openai(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def given(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """An image in every way that the APIs have for one."""
    url = data_url(data)
    source = {"type": "base64", "media_type": "image/png", "data": url.partition(",")[2]}
    image = {"type": "image", "source": source}
    seen = {"type": "input_image", "image_url": url, "detail": "auto"}
    return [
        (CHAT, chat(openai(url))),
        (CHAT, chat({"image_url": url})),
        (TOKENIZE, chat(openai(url))),
        (RESPONSES, {"input": [{"role": "user", "content": [seen]}]}),
        (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "1", "output": [seen]}]}),
        (MESSAGES, chat(image)),
        (MESSAGES, chat({"type": "tool_result", "tool_use_id": "1", "content": [image]})),
        (MESSAGES, chat({"type": "image", "source": {"type": "url", "url": url}})),
    ]


async def refused(herd: Herd, engine: FakeEngine, path: str, body: dict[str, Any], model: str = SCOUT) -> dict[str, Any]:
    """The error; no engine was asked."""
    answer = await herd.http.post(path, json={"model": model, **body})
    error: dict[str, Any] = answer.json()["error"]
    assert answer.status_code == 400, error
    assert not engine.requests
    assert not re.search(r"0x[0-9a-f]{4}|object at", error["message"], re.IGNORECASE)
    return error


async def reaches(herd: Herd, engine: FakeEngine, path: str, body: dict[str, Any], becomes: dict[str, Any]) -> None:
    """The engine gets this body."""
    answer = await herd.http.post(path, json={"model": SCOUT, **body})
    assert answer.status_code == 200, answer.text
    assert (await engine.asked()).json == {"model": SCOUT, **becomes}


@pytest.mark.parametrize("name", BOMBS)
async def test_an_image_that_would_take_the_engines_memory_is_refused(herd: Herd, engine: FakeEngine, name: str) -> None:
    for path, body in given(BOMBS[name]):
        error = await refused(herd, engine, path, body)
        assert error["code"] == "invalid_image"
        assert re.match(r"(messages|input)\[0\]\.(content|output)\[[01]\]\.", error["param"])
    assert herd.count("herd_endpoint_requests_total", endpoint="messages", outcome="client_error") == 3


@pytest.mark.parametrize("name", OTHERS)
async def test_another_format_is_refused_whatever_it_is_called(herd: Herd, engine: FakeEngine, name: str) -> None:
    for path, body in given(OTHERS[name]):
        assert "not a JPEG, PNG, WebP or GIF file" in (await refused(herd, engine, path, body))["message"]


@pytest.mark.parametrize("name", FILES)
async def test_images_that_clients_send_reach_the_engine_as_they_are(herd: Herd, engine: FakeEngine, name: str) -> None:
    for path, body in given(FILES[name]):
        await reaches(herd, engine, path, body, body)


@pytest.mark.parametrize(
    "url",
    [
        f"DATA:image/png;BASE64,{BASE64}",
        f"data:image/png;base64;charset=utf-8,{BASE64}",
        f"data:image/png;base64,{BASE64[:8]}\r\n{BASE64[8:]}\n",
        f"data:image/png;base64,{BASE64.replace('=', '%3D').replace('+', '%2B')} ",
        f"data:image/png;base64,{BASE64.rstrip('=').replace('/', '_')}\t",
    ],
)
async def test_every_spelling_of_a_data_url_reaches_the_engine_in_its_own(herd: Herd, engine: FakeEngine, url: str) -> None:
    await reaches(herd, engine, CHAT, chat(openai(url)), chat(openai(data_url(PNG))))


async def test_parameters_of_a_data_url_pass(herd: Herd, engine: FakeEngine) -> None:
    body = chat(openai(f"data:image/png;charset=utf-8;base64,{BASE64}"))
    await reaches(herd, engine, CHAT, body, body)


@pytest.mark.parametrize(
    "url", ["data:,x", "data:", "data:image/png,%89PNG", "data:image/png;base64,", "data:image/png;base64,A", "data:a,b,c"]
)
async def test_a_data_url_without_an_image_is_refused(herd: Herd, engine: FakeEngine, url: str) -> None:
    error = await refused(herd, engine, CHAT, chat(openai(url)))
    assert (error["code"], error["param"]) == ("invalid_image", "messages[0].content[1].image_url")


@pytest.mark.parametrize("media_type", ["x,", "image/png;base64,AAAA", None, ["x"], "IMAGE/PNG"])
async def test_a_source_reaches_the_engine_under_its_true_type(herd: Herd, engine: FakeEngine, media_type: object) -> None:
    body = chat({"type": "image", "source": {"type": "base64", "media_type": media_type, "data": BASE64}})
    becomes = chat({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": BASE64}})
    await reaches(herd, engine, MESSAGES, body, becomes)


@pytest.mark.parametrize(
    "source", [{}, {"type": "base64", "media_type": "x,"}, {"type": "file", "file_id": "1"}, {"type": "url"}, "x", None]
)
async def test_a_source_without_an_image_is_refused(herd: Herd, engine: FakeEngine, source: object) -> None:
    error = await refused(herd, engine, MESSAGES, chat({"type": "image", "source": source}))
    assert error["param"].startswith("messages[0].content[1].source")


@pytest.mark.parametrize("detail", [{}, {"detail": None}])
async def test_an_image_of_a_response_needs_no_detail(herd: Herd, engine: FakeEngine, detail: dict[str, Any]) -> None:
    seen = {"type": "input_image", "image_url": data_url(PNG)}
    await reaches(
        herd,
        engine,
        RESPONSES,
        {"input": [{"role": "user", "content": [{**seen, **detail}]}]},
        {"input": [{"role": "user", "content": [{**seen, "detail": "auto"}]}]},
    )


async def test_a_detail_of_null_is_none(herd: Herd, engine: FakeEngine) -> None:
    await reaches(herd, engine, CHAT, chat(openai(data_url(PNG), detail=None)), chat(openai(data_url(PNG))))


async def test_an_image_by_file_id_is_refused_in_a_sentence(herd: Herd, engine: FakeEngine) -> None:
    body = {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1", "detail": "auto"}]}]}
    assert "Uploaded files are not kept here" in (await refused(herd, engine, RESPONSES, body))["message"]


@pytest.mark.parametrize("model", [LLAMA, SCOUT])
@pytest.mark.parametrize("key", ["image_url", "source", "audio_url", "input_audio", "video_url", "file", "image", "image_embeds"])
async def test_null_members_beside_text_are_text(herd: Herd, engine: FakeEngine, model: str, key: str) -> None:
    answer = await herd.chat(model=model, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi", key: None}]}])
    assert answer.status_code == 200
    (part,) = (await engine.asked()).json["messages"][0]["content"]
    assert {name: value for name, value in part.items() if value is not None} == {"type": "text", "text": "Hi"}


async def test_an_image_for_a_model_that_reads_text_is_refused(herd: Herd, engine: FakeEngine) -> None:
    error = await refused(herd, engine, CHAT, chat(openai(data_url(PNG))), LLAMA)
    assert error["code"] == "too_many_images"
    assert "takes no images" in error["message"]


async def test_a_large_image_is_checked_beside_the_event_loop(herd: Herd, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    large = saved("PNG", size=(1200, 1200), compress_level=0)
    text = data_url(large).partition(",")[2]
    url = "data:image/png;base64," + "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    loop, looking, looked = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def checked(*args: Any) -> bool:
        loop.call_soon_threadsafe(looking.set)
        assert looked.wait(WAIT_S), "the loop had no turn while the image was checked"
        return settle(*args)

    monkeypatch.setattr("deployments.gateway.body.images.settle", checked)
    task = asyncio.create_task(reaches(herd, engine, CHAT, chat(openai(url)), chat(openai(data_url(large)))))
    async with asyncio.timeout(WAIT_S):
        await looking.wait()
    looked.set()
    await task
