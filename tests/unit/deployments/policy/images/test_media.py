"""`deployments.policy.images.media`: images are counted, and no address but a fetched one ever reaches an engine."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.errors.client_errors import BadImage, BadRequest, TooManyImages
from deployments.policy.images import media
from deployments.policy.images.media import Media, count, inspect
from tests.unit.samples import JSON

DATA = "data:image/png;base64,aGk="
WEB = "https://example.com/a.png"
NOT_SERVED = "is not served: only text and images are"
NO_URL = "An image must have a URL"
WRONG_SCHEME = "An image's URL must begin with data:, https:// or http://"


def chat(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts]}]}


def openai(url: object) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def anthropic(**source: object) -> dict[str, Any]:
    return {"type": "image", "source": source}


@pytest.mark.parametrize(
    ("body", "urls"),
    [
        ({}, []),
        ({"messages": "?", "input": None, "system": 3}, []),
        ({"messages": [{"role": "user", "content": "Hi"}]}, []),
        (chat(openai(DATA)), []),
        (chat(openai("DATA:image/png;base64,aGk=")), []),
        (chat(openai(WEB)), [WEB]),
        (chat(openai("HTTP://example.com")), ["HTTP://example.com"]),
        (chat(openai(WEB), openai(DATA), openai("http://b")), [WEB, "http://b"]),
        (chat({"image_url": WEB}), [WEB]),
        (chat({"type": None, "image_url": {"url": WEB}}), [WEB]),
        (chat({"type": "text", "text": "x", "uuid": "1", "image_url": WEB}), [WEB]),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": WEB}]}]}, [WEB]),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": WEB}]}]}, [WEB]),
        ({"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": WEB}}]}, [WEB]),
        (chat(anthropic(type="base64", media_type="image/png", data="aGk=")), []),
        (chat(anthropic(type="url", url=WEB)), [WEB]),
        (chat({"type": "tool_result", "content": [anthropic(type="url", url=WEB)]}), [WEB]),
        ({"system": [anthropic(type="url", url=WEB)]}, [WEB]),
    ],
)
def test_images_by_address_are_found(body: dict[str, Any], urls: list[str]) -> None:
    assert fetched(body) == urls


def fetched(body: dict[str, Any]) -> list[str]:
    return [address for image in inspect(body, "scout", 5).images if (address := image.address) is not None]


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ({"type": "input_audio", "input_audio": {}}, NOT_SERVED),
        ({"type": "file", "file": {}}, NOT_SERVED),
        ({"video_url": "http://a"}, "Content of type 'video_url' is not served"),
        ({"type": "text", "uuid": "1", "audio_url": "http://a"}, NOT_SERVED),
        ({"image_pil": "x"}, NOT_SERVED),
        ({"type": "video_embeds"}, NOT_SERVED),
        (openai(None), NO_URL),
        (openai(["http://a"]), NO_URL),
        ({"type": "image_url"}, NO_URL),
        ({"type": "image", "source": WEB}, NO_URL),
        ({"type": "input_image", "file_id": "1"}, NO_URL),
        (anthropic(type="url"), NO_URL),
        (openai("file:///etc/passwd"), WRONG_SCHEME),
        (openai("/etc/passwd"), WRONG_SCHEME),
        (openai(" http://a"), WRONG_SCHEME),
        (openai("http:/a"), WRONG_SCHEME),
        (openai(""), WRONG_SCHEME),
        (anthropic(type="url", url="ftp://a"), WRONG_SCHEME),
    ],
)
def test_other_media_and_other_addresses_are_refused(part: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadRequest, match=sentence) as refused:
        inspect(chat(part), "scout", 5)
    assert str(refused.value.param).startswith("messages[0].content[1].")


@pytest.mark.parametrize(
    "part",
    [
        {**openai(WEB), "source": {"type": "base64", "data": "aGk="}},
        {**anthropic(type="url", url=WEB), "image_url": DATA},
        {**anthropic(type="url", url=WEB), "image_url": {"url": DATA}},
        {"type": "image_url", "source": {}, "image_url": WEB},
    ],
)
def test_address_does_not_hide_behind_an_image(part: dict[str, Any]) -> None:
    assert fetched(chat(part)) == [WEB]


@pytest.mark.parametrize(("number", "limit"), [(1, 0), (6, 5), (2, 1)])
def test_too_many_images(number: int, limit: int) -> None:
    with pytest.raises(TooManyImages, match=f"The request has {number} image"):
        inspect(chat(*[openai(DATA)] * number), "scout", limit)
    assert len(inspect(chat(*[openai(DATA)] * limit), "scout", limit).images) == limit


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(openai(DATA)), "messages"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": DATA}]}]}, "input"),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": DATA}]}]}, "input"),
        ({"messages": [{"role": "user", "content": "Hi"}], "system": [anthropic(type="base64", data="aGk=")]}, "system"),
    ],
)
def test_field_that_holds_too_many_images_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(TooManyImages) as refused:
        inspect(body, "scout", 0)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("part", "inlined"),
    [
        (openai(WEB), openai(DATA)),
        ({"type": "input_image", "image_url": WEB}, {"type": "input_image", "image_url": DATA, "detail": "auto"}),
        (anthropic(type="url", url=WEB), anthropic(type="base64", media_type="image/png", data="aGk=")),
    ],
)
def test_image_takes_the_place_of_its_address(part: dict[str, Any], inlined: dict[str, Any]) -> None:
    body = chat(part)
    (image,) = inspect(body, "scout", 5).images
    image.put("image/png", "aGk=")
    assert body == chat(inlined)


@pytest.mark.parametrize(
    "key", ["image_url", "source", "audio_url", "input_audio", "video_url", "image_embeds", "prompt_embeds", "image_pil"]
)
@pytest.mark.parametrize("part", [{"type": "text", "text": "Hi"}, {"text": "Hi"}, {"type": "text", "text": "Hi", "uuid": "1"}])
def test_null_members_beside_text_are_as_good_as_absent(key: str, part: dict[str, Any]) -> None:
    body = chat({**part, key: None})
    assert count(body) == 0
    assert inspect(body, "llama", 0) == Media((), True)
    assert body == chat(part)


def test_other_null_members_stay() -> None:
    body = chat({"type": "text", "text": "Hi", "file": None, "image": None})
    assert inspect(copied := copy.deepcopy(body), "llama", 0) == Media((), False)
    assert copied == body


@pytest.mark.parametrize(
    ("part", "becomes"),
    [
        ({"type": "input_image", "image_url": DATA}, {"type": "input_image", "image_url": DATA, "detail": "auto"}),
        ({"type": "input_image", "image_url": DATA, "detail": None}, {"type": "input_image", "image_url": DATA, "detail": "auto"}),
        ({"type": "image_url", "image_url": {"url": DATA, "detail": None}}, openai(DATA)),
        ({"type": "image_url", "image_url": DATA}, openai(DATA)),
        ({**openai(DATA), "source": None}, openai(DATA)),
    ],
)
def test_what_engines_want_to_be_said_is_said(part: dict[str, Any], becomes: dict[str, Any]) -> None:
    body = chat(part)
    assert inspect(body, "scout", 1).changed
    assert body == chat(becomes)
    assert not inspect(body, "scout", 1).changed


@pytest.mark.parametrize(
    "part",
    [
        openai(DATA),
        {"type": "input_image", "image_url": DATA, "detail": "low"},
        {"type": "image_url", "image_url": {"url": DATA, "detail": "high"}},
        {"image_url": DATA},
        anthropic(type="base64", media_type="image/png", data="aGk="),
    ],
)
def test_what_engines_take_stays(part: dict[str, Any]) -> None:
    body = chat(part)
    assert not inspect(body, "scout", 1).changed
    assert body == chat(part)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(openai("ftp://a")), "messages[0].content[1].image_url"),
        (chat({"type": "input_image", "file_id": "1"}), "messages[0].content[1].image_url"),
        (chat({"type": "image"}), "messages[0].content[1].source"),
        (chat(anthropic(type="file", file_id="1")), "messages[0].content[1].source"),
        (chat(anthropic(type="base64")), "messages[0].content[1].source"),
        (chat(anthropic(type="url", url="ftp://a")), "messages[0].content[1].source.url"),
        (chat({"type": "tool_result", "content": [anthropic(data=1)]}), "messages[0].content[1].content[0].source"),
        (chat({"type": "file"}), "messages[0].content[1].type"),
        (chat({"audio_url": "x"}), "messages[0].content[1].audio_url"),
        ({"input": ["Hi", {"type": "x", "output": {"type": "y", "image_url": 1}}]}, "input[1].output.image_url"),
    ],
)
def test_an_error_names_the_place(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        inspect(body, "scout", 5)
    assert refused.value.param == param


def test_a_place_too_deep_to_be_written_is_named_by_its_field() -> None:
    body: dict[str, Any] = {"audio_url": "x"}
    for _ in range(10_000):
        body = {"content": [body]}
    with pytest.raises(BadRequest) as refused:
        inspect({"messages": [body]}, "scout", 5)
    assert refused.value.param == "messages"


def test_depth_is_no_defect() -> None:
    body: dict[str, Any] = openai(WEB)
    for _ in range(10_000):
        body = {"content": [body]}
    assert fetched({"messages": [body]}) == [WEB]


def refusal(body: dict[str, Any], limit: int) -> BadRequest | None:
    try:
        inspect(body, "scout", limit)
    except BadRequest as error:
        return error
    return None


URLS = st.sampled_from([DATA, WEB, "http://10.0.0.1/", "file:///a", "", "http://["])
PARTS = st.one_of(
    st.builds(openai, URLS | JSON),
    st.builds(lambda url: anthropic(type="url", url=url), URLS),
    st.dictionaries(
        st.sampled_from(["type", "image_url", "source", "content", "output", "url", "uuid", "text"]),
        JSON
        | URLS
        | st.sampled_from(["image_url", "image", "input_image", "url", "text"])
        | st.builds(lambda url: {"type": "url", "url": url}, URLS),
    ),
)
BODIES = st.lists(PARTS, max_size=4).map(lambda parts: chat(*parts))


def addresses(node: Any) -> list[str]:
    """Every text that is an address of the web, wherever an engine could find one."""
    if isinstance(node, dict):
        return [url for key in ("image_url", "url", "source", "content", "messages") for url in addresses(node.get(key))]
    if isinstance(node, list):
        return [url for item in node for url in addresses(item)]
    return [node] if isinstance(node, str) and node.startswith("http") else []


@given(st.lists(st.builds(openai, URLS) | st.builds(lambda url: {"image_url": url}, URLS), max_size=4))
def test_what_passes_has_no_address_left_once_it_is_inlined(parts: list[dict[str, Any]]) -> None:
    body = chat(*parts)
    try:
        images = inspect(body, "scout", 9).images
    except BadRequest:
        return
    for image in images:
        image.put("image/png", "aGk=")
    assert addresses(body) == []


@given(BODIES, st.sampled_from([DATA, WEB]), st.integers(0, 3))
def test_one_more_image_never_turns_a_refusal_into_acceptance(body: dict[str, Any], url: str, limit: int) -> None:
    more = copy.deepcopy(body)
    more["messages"][0]["content"].append(openai(url))
    assert refusal(more, limit) is not None or refusal(body, limit) is None


@given(st.dictionaries(st.sampled_from(["messages", "input", "system", "prompt"]), JSON))
def test_any_body_is_served_or_refused(body: dict[str, Any]) -> None:
    refused = refusal(body, 1)
    assert refused is None or refused.status == 400


def test_lists_of_numbers_where_parts_should_be_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "MOST_NODES", 100)
    body = {"messages": [{"role": "user", "content": "Hi", "output": [1] * 99}]}
    assert media.inspect(body, "llama", 1).images == ()
    with pytest.raises(BadRequest, match="more than 100 messages and parts"):
        media.inspect({"messages": [{"role": "user", "content": "Hi", "output": [1] * 100}]}, "llama", 1)


@pytest.mark.parametrize("key", ["input", "messages"])
def test_image_beside_prompts_of_token_ids_is_found(key: str) -> None:
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}
    for body in ({key: [[1], [image]]}, {key: [[image], [1]]}, {key: [image, 1]}):
        with pytest.raises(BadImage):
            media.inspect(body, "llama", 1)
