"""`deployments.policy.images.settlement`: what passes is an image of a known format and size, in the one form that engines read."""

from typing import Any

import pytest

from deployments.policy.errors.client_errors import BadImage
from deployments.policy.images.media import inspect
from deployments.policy.images.settlement import host_of, settle
from tests.unit.deployments.policy.images.test_media import WEB, anthropic, chat, openai
from tests.unit.pictures import FILES, OTHERS, data_url, frame, jpeg, png

PNG = png()
BASE64 = data_url(PNG).partition(",")[2]


def settled(part: dict[str, Any], fetched: bytes = b"", mpx: float = 20) -> tuple[dict[str, Any], bool]:
    """The part as an engine gets it, and whether it was changed."""
    body = chat(part)
    images = inspect(body, "scout", 5).images
    changed = settle(body, images, {WEB: fetched}, "scout", mpx)
    return body["messages"][0]["content"][1], changed


def refusal(part: dict[str, Any], fetched: bytes = b"", mpx: float = 20) -> BadImage:
    with pytest.raises(BadImage) as refused:
        settled(part, fetched, mpx)
    assert refused.value.reason == "invalid_image"
    return refused.value


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("media_type", ["image/jpeg", "image/png", "", "text/plain"])
def test_every_format_passes_whatever_it_is_called(name: str, media_type: str) -> None:
    part = openai(data_url(FILES[name], media_type))
    assert settled(part) == (part, False)


@pytest.mark.parametrize("name", OTHERS)
def test_another_format_is_refused_in_every_place(name: str) -> None:
    for part in (openai(data_url(OTHERS[name])), anthropic(type="base64", data=data_url(OTHERS[name]).partition(",")[2]), openai(WEB)):
        assert "is not a JPEG, PNG, WebP or GIF file" in refusal(part, OTHERS[name]).message


@pytest.mark.parametrize(
    ("part", "becomes"),
    [
        (openai(f"DATA:image/jpeg;BASE64,{BASE64}\n"), openai(data_url(PNG))),
        (openai(WEB), openai(data_url(PNG))),
        (anthropic(type="url", url=WEB), anthropic(type="base64", media_type="image/png", data=BASE64)),
        (anthropic(type="url", url=f"data:;base64,{BASE64}\n"), anthropic(type="base64", media_type="image/png", data=BASE64)),
        (anthropic(type="base64", media_type="x,", data=BASE64), anthropic(type="base64", media_type="image/png", data=BASE64)),
        (anthropic(type="base64", media_type="a;b", data=BASE64), anthropic(type="base64", media_type="image/png", data=BASE64)),
        (anthropic(type="base64", media_type=["x"], data=BASE64), anthropic(type="base64", media_type="image/png", data=BASE64)),
        (anthropic(data=BASE64), anthropic(type="base64", media_type="image/png", data=BASE64)),
        (
            anthropic(type="base64", media_type="image/png", data=f"{BASE64[:8]}\n{BASE64[8:]}"),
            anthropic(type="base64", media_type="image/png", data=BASE64),
        ),
    ],
)
def test_other_spellings_become_the_one_that_engines_read(part: dict[str, Any], becomes: dict[str, Any]) -> None:
    assert settled(part, PNG) == (becomes, True)
    assert settled(becomes) == (becomes, False)


@pytest.mark.parametrize(
    "part",
    [
        anthropic(type="base64", media_type="image/webp", data=BASE64),
        anthropic(type="url", url=data_url(PNG)),
        {**openai(data_url(PNG)), "source": {}},
    ],
)
def test_what_engines_read_stays(part: dict[str, Any]) -> None:
    assert settled(part) == (part, False)


def test_pixels_are_bounded_by_the_models_limit() -> None:
    assert settled(openai(data_url(png(5000, 4000))))[1] is False
    refused = refusal(openai(data_url(png(20_000, 20_000))))
    assert "has 20000 × 20000 pixels (400 megapixels), and the model 'scout' takes at most 20 megapixels" in refused.message
    assert refused.param == "messages[0].content[1].image_url"
    assert "at most 0.5 megapixels" in refusal(openai(data_url(png(1000, 1000))), mpx=0.5).message


def test_sides_are_bounded() -> None:
    assert settled(openai(data_url(jpeg(frame(1, 65_535), b"\xff\xda\0\2")))) is not None
    for size in ((1, 65_536), (65_536, 1)):
        assert "no side may be longer than 65535" in refusal(openai(data_url(png(*size)))).message


@pytest.mark.parametrize(
    ("part", "message", "param"),
    [
        (openai("data:,x"), "The image has a data: URL that is not in base64", "messages[0].content[1].image_url"),
        (openai("data:image/png,%89PNG"), "The image has a data: URL that is not in base64", "messages[0].content[1].image_url"),
        (openai("data:image/png;base64,"), "The image is empty.", "messages[0].content[1].image_url"),
        (openai("data:image/png;base64,AAA!"), "The image is not valid base64.", "messages[0].content[1].image_url"),
        (openai(WEB), "The image from 'example.com' is empty.", "messages[0].content[1].image_url"),
        (anthropic(type="base64", media_type="x,", data="!"), "The image is not valid base64.", "messages[0].content[1].source"),
        (anthropic(type="url", url=WEB), "The image from 'example.com' is empty.", "messages[0].content[1].source"),
    ],
)
def test_an_error_names_the_image_and_its_place(part: dict[str, Any], message: str, param: str) -> None:
    refused = refusal(part)
    assert message in refused.message
    assert refused.param == param


def test_one_bad_image_among_good_ones_is_named() -> None:
    body = chat(openai(data_url(PNG)), openai(data_url(OTHERS["tiff"])), openai(data_url(PNG)))
    with pytest.raises(BadImage) as refused:
        settle(body, inspect(body, "scout", 5).images, {}, "scout", 20)
    assert refused.value.param == "messages[0].content[2].image_url"


@pytest.mark.parametrize(
    ("address", "host"),
    [("https://a.example/x/y?z", "a.example"), ("HTTP://u:p@a.example:81", "a.example"), ("http://[::1]:80/@", "[::1]"), ("http://", "")],
)
def test_host_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host
