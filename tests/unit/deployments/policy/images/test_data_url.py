"""`deployments.policy.images.data_url`: every spelling of a `data:` URL that clients use, and none that is no image in base64."""

import base64
from urllib.parse import quote

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.images.data_url import Content, content_of, decoded, encoded
from deployments.policy.images.picture import Unfit

DATA = b"\xfb\xff\xfe llamas"
TEXT = base64.b64encode(DATA).decode()
URL_SAFE = base64.urlsafe_b64encode(DATA).decode()


def in_lines(text: str, end: str = "\n") -> str:
    return end.join(text[at : at + 4] for at in range(0, len(text), 4)) + end


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{TEXT}",
        f"DATA:image/png;base64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:image/png;charset=utf-8;base64,{TEXT}",
        f"data:image/jpeg;name=a.jpg;base64,{TEXT}",
    ],
)
def test_what_an_engine_reads_stays(url: str) -> None:
    assert content_of(url) == Content(DATA, True)


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;BASE64,{TEXT}",
        f"data:image/png; base64,{TEXT}",
        f"data:image/png;base64 ,{TEXT}",
        f"data:image/png;base64;charset=utf-8,{TEXT}",
        f"data:image/png;base64,{in_lines(TEXT)}",
        f"data:image/png;base64,{in_lines(TEXT, chr(13) + chr(10))}",
        f"data:image/png;base64, {TEXT}\t",
        f"data:image/png;base64,{TEXT.rstrip('=')}",
        f"data:image/png;base64,{TEXT}==",
        f"data:image/png;base64,{URL_SAFE}",
        f"data:image/png;base64,{URL_SAFE.rstrip('=')}",
        f"data:image/png;base64,{quote(TEXT, safe='')}",
        f"data:image/png;base64,{TEXT.replace('+', '%2b').replace('/', '%2f').replace('=', '%3d')}%0A",
    ],
)
def test_other_spellings_are_read_and_told(url: str) -> None:
    assert content_of(url) == Content(DATA, False)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("data:", "without a comma"),
        ("data:image/png;base64", "without a comma"),
        (f"data:{';' * 1000},{TEXT}", "without a comma"),
        ("data:,x", "not in base64"),
        ("data:image/png,%89PNG", "not in base64"),
        ("data:base64,AAAA", "not in base64"),
        ("data:image/png;base64=1,AAAA", "not in base64"),
        ("data:image/png;base64,!", "not valid base64"),
        ("data:image/png;base64,A", "not valid base64"),
        ("data:image/png;base64,AA=A", "not valid base64"),
        ("data:image/png;base64,AAAA#x", "not valid base64"),
        ("data:image/png;base64,AAAä", "not valid base64"),
        ("data:image/png;base64,AAA\ud800", "not valid base64"),
        ("data:image/png;base64,%41AAA", "not valid base64"),
        ("data:image/png;base64,AAA%", "not valid base64"),
    ],
)
def test_what_is_no_base64_is_refused_without_its_content(url: str, why: str) -> None:
    with pytest.raises(Unfit, match=why) as refused:
        content_of(url)
    assert TEXT not in str(refused.value)
    assert "%89" not in str(refused.value)


def test_nothing_is_an_empty_image() -> None:
    assert content_of("data:image/png;base64,") == Content(b"", True)
    assert decoded(" \n") == Content(b"", False)


@pytest.mark.parametrize("shift", range(4))
def test_escapes_at_the_border_of_two_pieces_stay_whole(shift: int) -> None:
    data = bytes(3 * (1 << 18) - 3) + b"\xff" * 12
    text = "\n" * shift + quote(base64.b64encode(data).decode(), safe="")
    assert decoded(text) == Content(data, False)


def test_padding_between_two_pieces_is_refused_as_an_engine_refuses_it() -> None:
    text = "A" * ((1 << 20) - 2) + "=="
    assert encoded(decoded(text).data) == text
    with pytest.raises(Unfit):
        decoded(text + "AAAA")


SPELLINGS = st.lists(st.sampled_from([" ", "\n", "\r\n", "%0A", "%0d%0a", ""]), max_size=8)


@given(st.binary(max_size=60), SPELLINGS, st.booleans(), st.booleans())
def test_content_survives_every_spelling(data: bytes, spaces: list[str], safe: bool, padded: bool) -> None:
    text = (base64.urlsafe_b64encode if safe else base64.b64encode)(data).decode()
    text = text if padded else text.rstrip("=")
    for index, space in enumerate(spaces):
        at = index * 7 % (len(text) + 1)
        text = text if "%" in text[max(0, at - 2) : at] else text[:at] + space + text[at:]
    assert decoded(text).data == data


@given(st.text(alphabet="AQgw+/-_= \n%2B=", max_size=12))
def test_what_is_said_to_be_as_engines_take_it_is_taken_by_their_decoder(text: str) -> None:
    try:
        content = decoded(text)
    except Unfit:
        return
    if content.as_engines_take_it:
        assert pybase64.b64decode(text, validate=True) == content.data
