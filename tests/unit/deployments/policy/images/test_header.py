"""`deployments.policy.images.header`: a header is read as Pillow reads it, and a file that costs a decoder too much is refused."""

import io
import struct
import warnings
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from deployments.policy.images.header import header
from deployments.policy.images.picture import MOST_FRAMES, Header, Unfit
from tests.unit.pictures import (
    FILES,
    OTHERS,
    SCAN,
    SIZE,
    animated,
    canvas,
    chunk,
    frame,
    gif,
    gif_frame,
    ihdr,
    jpeg,
    png,
    saved,
    segment,
    webp,
)

EMPTY = zlib.compress(b"")
CONTROL = b"!\xf9\4\0\0\0\0\0"
NETSCAPE = b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0"


def opened(data: bytes) -> tuple[tuple[int, int], str | None] | None:
    """Size and format as Pillow sees them; None where it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                return image.size, image.format
        except Exception:  # noqa: BLE001 (Pillow raises many kinds)
            return None


@pytest.mark.parametrize("name", FILES)
def test_size_is_pillows(name: str) -> None:
    found = header(FILES[name])
    assert opened(FILES[name]) is not None
    assert (found.width, found.height) == SIZE
    assert found.media_type.removeprefix("image/") in name
    assert found.frames == (3 if "animated" in name else 1)


@pytest.mark.parametrize("name", OTHERS)
def test_another_format_is_refused_and_the_four_are_named(name: str) -> None:
    with pytest.raises(Unfit, match=r"^is not a JPEG, PNG, WebP or GIF file"):
        header(OTHERS[name])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(20_000, 20_000), Header("image/png", 20_000, 20_000)),
        (png(head=ihdr(2**31 - 1, 1)), Header("image/png", 2**31 - 1, 1)),
        (jpeg(frame(60_000, 50_000), SCAN), Header("image/jpeg", 60_000, 50_000)),
        (jpeg(b"\xff\xff", frame(9, 7, 0xC2), SCAN), Header("image/jpeg", 9, 7)),
        (jpeg(b"\xff\xd0stray\xff\0", frame(9, 7), b"\xff\xd0", segment(0xFE, b"x"), SCAN), Header("image/jpeg", 9, 7)),
        (jpeg(frame(9, 7), SCAN, b"\1\xff\0\xff\xd0\2", b"\xff\xd8", SCAN, b"\3\xff\xd9", SCAN * 200), Header("image/jpeg", 9, 7)),
        (jpeg(frame(9, 7), SCAN, b"\xff\xda"), Header("image/jpeg", 9, 7)),
        (gif((3, 2), gif_frame()), Header("image/gif", 3, 2)),
        (gif((3, 2), CONTROL, NETSCAPE, b"!\xfe\0", gif_frame(5, 1, 60_000, 4)), Header("image/gif", 60_005, 5)),
        (gif((0, 0), gif_frame(), CONTROL, gif_frame()), Header("image/gif", 1, 1, 2)),
        (gif((3, 2), gif_frame())[:-4], Header("image/gif", 3, 2)),
        (webp((b"VP8L", b"\x2f" + struct.pack("<I", 99 | 49 << 14) + bytes(20))), Header("image/webp", 100, 50)),
        (webp((b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16_383, 50) + bytes(9))), Header("image/webp", 16_383, 50)),
        (webp(canvas(16_384, 9), (b"ANMF", b"x"), (b"ANMF", b"")), Header("image/webp", 16_384, 9, 2)),
    ],
)
def test_header_by_hand(data: bytes, expected: Header) -> None:
    assert header(data) == expected


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is empty"),
        (png(0, 1), "has no pixels"),
        (gif((0, 0), gif_frame(width=0)), "has no pixels"),
        (jpeg(b"\xff"), "damaged or incomplete JPEG"),
        (jpeg(frame()), "damaged or incomplete JPEG"),
        (jpeg(SCAN), "damaged or incomplete JPEG"),
        (jpeg(frame(), frame(60_000, 60_000), SCAN), "damaged or incomplete JPEG"),
        (jpeg(frame(), frame(1, 1, 0xDE), SCAN), "damaged or incomplete JPEG"),
        (jpeg(segment(0xC0, b"\x08\0\1"), SCAN), "damaged or incomplete JPEG"),
        (jpeg(b"\xff\x02", frame(), SCAN), "damaged or incomplete JPEG"),
        (jpeg(b"\xff\xfe\0\1", frame(), SCAN), "damaged or incomplete JPEG"),
        (jpeg(b"\xff", bytes(70_000), frame(), SCAN), "damaged or incomplete JPEG"),
        (jpeg(b"\xff", bytes(40_000), segment(0xFE, b""), bytes(40_000), frame(), SCAN), "damaged or incomplete JPEG"),
        (jpeg(segment(0xFE, b"") * 5000, frame(), SCAN), "damaged or incomplete JPEG"),
        (jpeg(frame(bits=12, marker=0xC1), SCAN), "of a kind that is not served"),
        (jpeg(frame(marker=0xC5), SCAN), "of a kind that is not served"),
        (jpeg(frame(marker=0xDE), SCAN), "of a kind that is not served"),
        (jpeg(frame(colours=2), SCAN), "of a kind that is not served"),
        (jpeg(frame(), SCAN * 101), "more than 100 scans"),
        (jpeg(frame(), SCAN, segment(0xFE, b"") * 5000), "more than 100 scans"),
        (jpeg(frame(), SCAN, segment(0xFE, b"\xff\xd9"), SCAN * 100), "more than 100 scans"),
        (png()[:30], "damaged or incomplete PNG"),
        (png()[:33], "damaged or incomplete PNG"),
        (png()[:40], "damaged or incomplete PNG"),
        (png(head=chunk(b"gAMA", bytes(13))), "damaged or incomplete PNG"),
        (png(head=ihdr(1, 1, bits=3)), "damaged or incomplete PNG"),
        (png(head=ihdr(1, 1, filtering=1)), "damaged or incomplete PNG"),
        (png(head=ihdr(1, 1)[:-1] + b"?"), "damaged or incomplete PNG"),
        (png(before=ihdr(20_000, 20_000)), "damaged or incomplete PNG"),
        (png(before=chunk(b"a\0bc", b"")), "damaged or incomplete PNG"),
        (png(before=chunk(b"gAMA", b"abcd")[:-1] + b"?"), "damaged or incomplete PNG"),
        (png(before=struct.pack(">I4s", 2**31, b"gAMA")), "damaged or incomplete PNG"),
        (png(head=ihdr(1, 1) + chunk(b"IEND", b"")), "damaged or incomplete PNG"),
        (png(before=chunk(b"zTXt", b"a\0\0" + EMPTY) * 65), "more than 64 packed texts"),
        (png(after=chunk(b"iCCP", b"a\0\0" + EMPTY) * 65), "more than 64 packed texts"),
        (png(after=chunk(b"IDAT", b"") * 20_000), "more than 16384 chunks"),
        (png(before=chunk(b"acTL", struct.pack(">II", 300, 0))), "has 300 frames; at most 256"),
        (b"GIF89a", "damaged or incomplete GIF"),
        (gif((1, 1)), "damaged or incomplete GIF"),
        (gif((1, 1), b"\0", gif_frame()), "damaged or incomplete GIF"),
        (gif((1, 1), b"!\xf9\0", gif_frame()), "damaged or incomplete GIF"),
        (gif((1, 1), b"!\xf9\3\0\0\0\0", gif_frame()), "damaged or incomplete GIF"),
        (gif((1, 1), b"!\xff\x0bNETSCAPE2.0\0", gif_frame()), "damaged or incomplete GIF"),
        (gif((1, 1), CONTROL[:5]), "damaged or incomplete GIF"),
        (gif((1, 1), gif_frame()[:5]), "damaged or incomplete GIF"),
        (gif((1, 1), *[gif_frame()] * (MOST_FRAMES + 1)), "has more than 256 frames"),
        (gif((1, 1), b"!\xfe" + b"\1a" * 300_000 + b"\0", gif_frame()), "too many blocks"),
        (gif((1, 1), gif_frame()[:-1] + b"\1a" * 300_000 + b"\0"), "too many blocks"),
        (gif((1, 1), b"!\xfe\1a\0" * 4097, gif_frame()), "too many blocks"),
        (gif((1, 1), gif_frame(), b"!\xfe\0" * 4097), "too many blocks"),
        (b"RIFF\0\0\0\0WEBP", "damaged or incomplete WebP"),
        (webp((b"VP8 ", bytes(20))), "damaged or incomplete WebP"),
        (webp((b"VP8L", bytes(20))), "damaged or incomplete WebP"),
        (webp((b"ALPH", bytes(20)), (b"VP8 ", b"\0\0\0\x9d\x01\x2a" + bytes(9))), "damaged or incomplete WebP"),
        (webp(canvas(1, 1), *[(b"ANMF", b"")] * 300), "has 300 frames; at most 256"),
        (webp(canvas(1, 1), *[(b"EXIF", b"")] * 5000), "too many chunks"),
    ],
)
def test_damaged_and_costly_files_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        header(data)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_have_a_bound(kind: str) -> None:
    assert header(animated(kind, MOST_FRAMES, (8, 8))).frames == MOST_FRAMES
    with pytest.raises(Unfit, match="frames"):
        header(animated(kind, MOST_FRAMES + 1, (8, 8)))


@pytest.mark.parametrize("more", range(-3, 3))
def test_a_marker_at_the_border_of_two_pieces_is_seen(more: int) -> None:
    picture = bytes((1 << 18) + more)
    with pytest.raises(Unfit, match="more than 100 scans"):
        header(jpeg(frame(), SCAN, picture, SCAN * 100))
    assert header(jpeg(frame(), SCAN, picture, b"\xff\xd9", SCAN * 100)).width == 8


def test_a_refusal_has_no_bytes_of_the_file() -> None:
    for data in (b"\x89PNG\r\n\x1a\nsecret", b"GIF89asecret", b"RIFFsecrWEBPsecret", b"\xff\xd8\xffsecret", b"secret"):
        with pytest.raises(Unfit) as refused:
            header(data)
        assert "secr" not in str(refused.value)


#: Bytes that mean something in one of the formats.
PIECES = st.sampled_from(
    [b"\0", b"\xff", b"\xff\xd9", SCAN, frame(60, 50), frame(60, 50, 0xDE), b"!\xf9\0", gif_frame(9, 9, 60, 50), ihdr(60, 50)]
)
CHANGES = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), PIECES | st.binary(max_size=3)), min_size=1, max_size=4)


@settings(max_examples=40 * settings().max_examples)
@given(st.sampled_from(sorted(FILES)), CHANGES)
@example("jpeg", [(2, 0, frame(60, 50, 0xDE))])
@example("gif", [(13, 0, b"!\xfe\0!\xf9\0")])
@example("png", [(33, 0, ihdr(60, 50))])
def test_whatever_passes_has_the_size_and_format_that_pillow_sees(name: str, changes: list[tuple[int, int, bytes]]) -> None:
    data = FILES[name]
    for at, gone, put in changes:
        data = data[:at] + put + data[at + gone :]
    try:
        found = header(data)
    except Unfit:
        return
    seen = opened(data)
    assert seen is None or (seen[0] == (found.width, found.height) and seen[1] in ("JPEG", "MPO", "PNG", "GIF", "WEBP"))


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF0000WEBPVP8X", b""]), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(magic: bytes, rest: bytes) -> None:
    try:
        found = header(magic + rest)
    except Unfit:
        return
    assert found.pixels > 0


@pytest.mark.parametrize("end", [10, 40, 100, 300])
def test_what_is_cut_off_behind_its_head_is_left_to_the_engine(end: int) -> None:
    data = saved("JPEG", size=(64, 64), quality=100)
    assert (header(data[: len(data) - 2]).width, header(data).width) == (64, 64)
    with pytest.raises(Unfit, match="JPEG"):
        header(data[:end])
