"""Nothing that vLLM would read as an image, sound or film passes unchecked, and what passes is what vLLM reads: by vLLM's own readers."""

import copy
import itertools
import random
from collections.abc import Iterator
from typing import Any

from deployments.policy.errors.client_errors import BadRequest
from deployments.policy.images.media import inspect
from deployments.policy.images.settlement import settle
from tests.alone import vllm_itself
from tests.unit.pictures import FILES, OTHERS, SIZE, data_url, png

URL, ODD = data_url(png()), data_url(png()).replace("base64,", "BASE64,\n")
KEYS = ("image_url", "input_audio", "audio_url", "video_url", "image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "image_pil")
TYPES = (
    None,
    "text",
    "input_text",
    "image_url",
    "input_image",
    "image",
    "refusal",
    "thinking",
    "audio_url",
    "input_audio",
    "video_url",
    "x",
)
VALUES: tuple[Any, ...] = (
    None,
    URL,
    ODD,
    {"url": URL},
    {"url": ODD, "detail": None},
    {"url": "https://a/b.png"},
    "data:,x",
    "file:///a",
    5,
    [],
    {},
    {"url": None},
)
SOURCES: tuple[Any, ...] = (
    None,
    {},
    {"type": "base64", "media_type": "x,", "data": URL.partition(",")[2]},
    {"data": "AAAA"},
    {"type": "x", "data": URL.partition(",")[2]},
    {"type": "url", "url": URL},
    {"type": "url", "url": "https://a/b.png"},
    {"type": "url", "url": "file:///a"},
    {"type": "file", "file_id": "1"},
)
#: What vLLM makes of an image's part without a source: it answers 400.
NOTHING = "data:image/jpeg;base64,"
FETCHED = {"https://a/b.png": png()}


def parts(dice: random.Random) -> Iterator[dict[str, Any]]:
    """Parts of every type with every member, and mixed ones."""
    for kind, key, value in itertools.product(TYPES, KEYS, VALUES):
        yield {"text": "Hi", key: value} | ({} if kind is None else {"type": kind})
    for kind, source in itertools.product(TYPES, SOURCES):
        yield {"text": "Hi", "source": source} | ({} if kind is None else {"type": kind})
    for _ in range(1500):
        members = {key: dice.choice(VALUES) for key in dice.sample(KEYS, dice.randrange(3))}
        more = {"source": dice.choice(SOURCES), "detail": dice.choice((None, "auto")), "uuid": dice.choice((None, "1")), "text": "Hi"}
        yield {"type": dice.choice(TYPES)} | members | {key: more[key] for key in dice.sample(sorted(more), dice.randrange(4))}


def bodies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each part where the APIs may have it."""
    for part in parts(random.Random(1)):
        messages = [{"role": "user", "content": [part]}]
        yield "chat", {"model": "m", "messages": messages}
        yield "messages", {"model": "m", "messages": messages}
        result = {"type": "tool_result", "tool_use_id": "1", "content": [part]}
        yield "messages", {"model": "m", "messages": [{"role": "user", "content": [result]}]}
        yield "responses", {"model": "m", "input": messages}
        yield "responses", {"model": "m", "input": [{"type": "function_call_output", "call_id": "1", "output": [part]}]}


def passed(body: dict[str, Any]) -> list[str] | None:
    """The images that pass, as `data:` URLs in the form that engines read; None where the gateway refuses."""
    try:
        images = inspect(body, "m", 9).images
        settle(body, images, FETCHED, "m", 20)
    except BadRequest:
        return None
    return [one.given if one.is_url else f"data:{one.holder['source'].get('media_type')};base64,{one.given}" for one in images]


def test_vllm_reads_no_media_that_the_gateway_has_not_checked() -> None:
    asked = [(endpoint, copy.deepcopy(body)) for endpoint, body in bodies()]
    seen = [(endpoint, body, images) for endpoint, body in asked if (images := passed(body)) is not None]
    read = vllm_itself.ask("media", [(endpoint, body) for endpoint, body, _images in seen])
    for (endpoint, body, images), found in zip(seen, read, strict=True):
        for reader, content in found or ():
            if content == NOTHING:
                continue
            assert reader == "parse_image", (endpoint, body)
            assert content in images, (endpoint, body)
            assert content.startswith("data:image/png;base64,iVBOR"), (endpoint, body)
    served = [endpoint for (endpoint, _body, _images), found in zip(seen, read, strict=True) if found]
    assert {"chat", "messages", "responses"} == set(served), "each API has had images"


def test_text_with_null_members_is_text_for_vllm_too() -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    for key in (*KEYS, "source", "file", "image", "video", "audio"):
        for endpoint, name, kind in (("chat", "messages", "text"), ("messages", "messages", "text"), ("responses", "input", "input_text")):
            body = {"model": "m", name: [{"role": "user", "content": [{"type": kind, "text": "Hi", key: None}]}]}
            assert passed(body) == []
            asked.append((endpoint, body))
    assert vllm_itself.ask("media", asked) == [[]] * len(asked)


def test_vllms_loader_sees_the_size_that_the_header_says_and_opens_no_other_format() -> None:
    urls = [data_url(data) for data in (*FILES.values(), *OTHERS.values())]
    assert vllm_itself.ask("images", urls) == [list(SIZE)] * len(FILES) + [None] * len(OTHERS)
