"""`deployments.wire.client.content_encoding`: compressed bodies are decoded, and never to more than the limit."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from random import Random

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.policy.errors.client_errors import BadRequest, BodyTooLarge, Unavailable, WrongMedia
from deployments.wire.client.content_encoding import MOST_AT_ONCE, MOST_FRAMES, decoded

MIB = 1 << 20


def uncounted(_size: int) -> None:
    """Takes every piece."""


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
EACH = pytest.mark.parametrize(
    ("name", "encode"), [*ENCODERS.items(), ("deflate", raw_deflate), ("x-gzip", gzip.compress), ("GZip", gzip.compress)]
)


@EACH
@pytest.mark.parametrize("size", [0, 1, 100, MOST_AT_ONCE, MOST_AT_ONCE + 1, MIB])
async def test_body_is_what_it_was(name: str, encode: Callable[[bytes], bytes], size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert await decoded(name.encode(), encode(data), 1, uncounted) == data


async def test_large_body_that_cannot_be_compressed_is_what_it_was() -> None:
    data = Random(1).randbytes(MOST_AT_ONCE + 1)
    assert await decoded(b"gzip", gzip.compress(data), 1, uncounted) == data


@given(st.sampled_from(sorted(ENCODERS)), st.binary(max_size=2000))
@settings(deadline=None)
async def test_any_body_is_what_it_was(name: str, data: bytes) -> None:
    assert await decoded(name.encode(), ENCODERS[name](data), 1, uncounted) == data


@EACH
async def test_body_over_the_limit_is_refused(name: str, encode: Callable[[bytes], bytes]) -> None:
    for size in (MIB // 8 + 1, 4 * MIB):
        with pytest.raises(BodyTooLarge):
            await decoded(name.encode(), encode(b"x" * size), 1 / 8, uncounted)
    assert len(await decoded(name.encode(), encode(b"x" * (MIB // 8)), 1 / 8, uncounted)) == MIB // 8


def bomb(name: str) -> bytes:
    """256 MiB of zeros, in little, and without an end, for a decoder may not come so far."""
    if name == "zstd":
        packer = zstd.ZstdCompressor()
        return b"".join(packer.compress(bytes(MIB)) for _ in range(256)) + packer.flush()
    squeezer = zlib.compressobj(9, wbits=31 if name == "gzip" else 15)
    begin = squeezer.compress(bytes(MIB)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return begin + (squeezer.compress(bytes(MIB)) + squeezer.flush(zlib.Z_FULL_FLUSH)) * 255


@pytest.mark.parametrize("name", sorted(ENCODERS))
async def test_bomb_stops_at_the_limit(name: str) -> None:
    data = bomb(name)
    assert len(data) < MIB
    counted: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            await decoded(name.encode(), data, 1, counted.append)
        assert sum(counted) <= 1 * MIB  # what was decoded beyond the limit was one byte, and is not kept
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


@EACH
async def test_cut_and_wrong_data_are_the_clients_mistake(name: str, encode: Callable[[bytes], bytes]) -> None:
    data = encode(b"some text " * 100)
    for wrong in (b"", data[:1], data[:-1], data[: len(data) // 2], b'{"model": "x"}', b"\xff" * 50):
        with pytest.raises(BadRequest) as refused:
            await decoded(name.encode(), wrong, 1, uncounted)
        assert (refused.value.status, refused.value.reason) == (400, "invalid_encoding")


@pytest.mark.parametrize("name", ["gzip", "zstd"])
async def test_frames_behind_each_other_are_one_body(name: str) -> None:
    encode = ENCODERS[name]
    assert await decoded(name.encode(), encode(b"one, ") + encode(b"two"), 1, uncounted) == b"one, two"
    with pytest.raises(BadRequest, match="goes on behind"):
        await decoded(name.encode(), encode(b"") * (MOST_FRAMES + 1), 1, uncounted)


async def test_anything_behind_deflated_data_is_refused() -> None:
    for encode in (zlib.compress, raw_deflate):
        with pytest.raises(BadRequest, match="goes on behind"):
            await decoded(b"deflate", encode(b"a") + b"more", 1, uncounted)


async def test_zstd_with_a_window_larger_than_browsers_and_servers_agreed_on_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    data = packer.compress(b"x" * 100) + packer.flush()
    with pytest.raises(BadRequest):
        await decoded(b"zstd", data, 1, uncounted)


@pytest.mark.parametrize("name", ["br", "gzip, zstd", "gzip, gzip", "compress", "none", "\xff"])
async def test_other_encodings_are_refused_with_those_that_are_taken(name: str) -> None:
    with pytest.raises(WrongMedia, match="gzip, deflate or zstd") as refused:
        await decoded(name.encode("latin-1"), b"", 1, uncounted)
    assert (refused.value.status, refused.value.param) == (415, "content-encoding")


@pytest.mark.parametrize("name", [b"", b"identity", b" Identity "])
async def test_identity_is_no_encoding(name: bytes) -> None:
    assert await decoded(name, b"as it is", 1, uncounted) == b"as it is"


async def test_decoded_bytes_are_counted_while_they_are_made() -> None:
    counted: list[int] = []

    def count(size: int) -> None:
        counted.append(size)
        if sum(counted) > 20 * MIB:
            raise Unavailable("full")

    with pytest.raises(Unavailable):
        await decoded(b"gzip", gzip.compress(bytes(64 * MIB)), 64, count)
    assert sum(counted) < 32 * MIB
