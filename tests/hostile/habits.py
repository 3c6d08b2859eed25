"""Cases about browsers and clients: who may ask from where, in which encodings, and under which paths."""

import gzip
import itertools
import json
import struct
import zlib
from collections.abc import Iterator

from tests.hostile.case import (
    BUSY,
    CHAT,
    COMPLETIONS,
    COUNT,
    EITHER,
    FORBIDDEN,
    MESSAGES,
    RESPONSES,
    SERVED,
    TOKENIZE,
    Body,
    Case,
    label,
    saying,
    smallest,
    text,
)

_ASKED = json.dumps(saying()).encode()
_PREFLIGHT = (("access-control-request-method", "POST"), ("access-control-request-headers", "authorization, content-type"))
#: A preflight is answered; whether with leave depends on the config.
_ANSWERED = frozenset({200, 204, 403})


_EVIL = (("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors"))
_NOT_JSON = ("text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")
_LIKE_JSON = ("text/plain; application/json", "text/json", "application/jsonx", "xapplication/json", "a/b, application/json")
_JSON = ("application/json; charset=utf-8", "APPLICATION/JSON", "application/json;charset=UTF-8")
_FOREIGN_HOSTS = (
    "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "127.0.0.1@evil.example", "[::1].evil.example",
    "0x7f.1.evil.example",
)  # fmt: skip
_LOOPBACK_HOSTS = ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000")


def _content_types() -> Iterator[Case]:
    for path, (number, kind) in itertools.product((CHAT, COMPLETIONS, RESPONSES, MESSAGES, TOKENIZE, COUNT), enumerate(_NOT_JSON)):
        body, headers = text(smallest(path)), (("content-type", kind),)
        yield Case(f"content-type-form-{number}-{label(path)}", "security 17", body, path, headers=headers, statuses=FORBIDDEN)
    for number, kind in enumerate(_LIKE_JSON):
        yield Case(f"content-type-{number}", "security 17", text(saying()), headers=(("content-type", kind),), statuses=FORBIDDEN)
    for number, kind in enumerate(_JSON):
        yield Case(f"content-type-right-{number}", "security 17", text(saying()), headers=(("content-type", kind),), statuses=SERVED)


def _sites() -> Iterator[Case]:
    for path in (CHAT, COMPLETIONS, RESPONSES, MESSAGES, TOKENIZE):
        body, plain = text(smallest(path)), (*_EVIL, ("content-type", "text/plain"))
        yield Case(f"cross-site-{label(path)}", "security 17", body, path, headers=_EVIL, statuses=FORBIDDEN)
        yield Case(f"cross-site-plain-{label(path)}", "security 17", body, path, headers=plain, statuses=FORBIDDEN)
    for page in ("/-/status", "/-/targets", "/-/history", "/status", "/v1/models", "/health?generate=true"):
        yield Case(f"cross-site-{page}", "security 17", None, page, "GET", _EVIL, FORBIDDEN)
        yield Case(f"rebound-{page}", "security 17", None, page, "GET", (("host", "evil.example:8000"),), FORBIDDEN)
    for path, origin in itertools.product((CHAT, MESSAGES, "/v1/models"), ("http://localhost:3000", "https://evil.example", "null")):
        headers = (("origin", origin), *_PREFLIGHT)
        yield Case(f"preflight-{label(path)}-{origin}", "reports cors_preflight", None, path, "OPTIONS", headers, _ANSWERED)
    for site in ("none", "same-origin"):
        yield Case(f"fetch-site-{site}", "security 17", text(saying()), headers=(("sec-fetch-site", site),), statuses=SERVED)


def _hosts() -> Iterator[Case]:
    for number, host in enumerate(_FOREIGN_HOSTS):
        yield Case(f"host-{number}", "security 17", text(saying()), headers=(("host", host),), statuses=FORBIDDEN)
    for host in _LOOPBACK_HOSTS:
        yield Case(f"host-{host}", "security 17", text(saying()), headers=(("host", host),), statuses=SERVED)
    yield Case("host-none", "security 20", text(saying()), headers=(("host", ""),))
    yield Case("host-dot", "security 17", text(saying()), headers=(("host", "localhost.:8000"),), statuses=SERVED | FORBIDDEN)


def _encoded(name: str, data: Body, kind: str, statuses: frozenset[int] = SERVED, of: str = "reports gzip_body") -> Case:
    return Case(f"encoding-{name}", of, data, headers=(("content-encoding", kind),), statuses=statuses, within_s=15)


def _zstd(data: bytes) -> bytes:
    """A frame of zstandard of one raw block (RFC 8878), for up to 64 KiB: no library is needed for it."""
    block = (1 | len(data) << 3).to_bytes(3, "little")
    return b"\x28\xb5\x2f\xfd" + b"\x60" + (len(data) - 256).to_bytes(2, "little") + block + data


def bomb(mib: int) -> bytes:
    """Makes a small body in gzip (RFC 1952) that is large when it is unpacked.

    One MiB is compressed and repeated, for an attacker beside a busy herd would take minutes to compress a GiB: behind a full flush,
    deflate refers to nothing before it.
    """
    begin, middle, end = b'{"model":"smollm2","x":"', b"x" * (1 << 20), b'"}'
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    blocks = [deflate.compress(piece) + deflate.flush(zlib.Z_FULL_FLUSH) for piece in (begin, middle)]
    crc = zlib.crc32(begin)
    for _ in range(mib):
        crc = zlib.crc32(middle, crc)
    size = len(begin) + mib * len(middle) + len(end)
    trailer = struct.pack("<II", zlib.crc32(end, crc), size % (1 << 32))
    head = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    return b"".join([head, blocks[0], blocks[1] * mib, deflate.compress(end), deflate.flush(), trailer])


def _encodings() -> Iterator[Case]:
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    padded = json.dumps(saying("Hi" * 200)).encode()
    yield _encoded("gzip", lambda: gzip.compress(_ASKED), "gzip")
    yield _encoded("x-gzip", lambda: gzip.compress(_ASKED), "x-gzip", SERVED | {400, 415})
    yield _encoded("gzip-upper", lambda: gzip.compress(_ASKED), "GZIP")
    yield _encoded("gzip-members", lambda: gzip.compress(_ASKED[:20]) + gzip.compress(_ASKED[20:]), "gzip", SERVED | {400})
    yield _encoded("deflate", lambda: zlib.compress(_ASKED), "deflate")
    yield _encoded("deflate-raw", lambda: raw.compress(_ASKED) + raw.flush(), "deflate", SERVED | {400})
    yield _encoded("zstd", lambda: _zstd(padded), "zstd")
    yield _encoded("identity", lambda: _ASKED, "identity")
    for kind in ("br", "compress", "x", "gzip, gzip", "gzip, br", "gzip;q=1"):
        yield _encoded(kind, lambda: _ASKED, kind, frozenset({400, 415}))
    for kind in ("gzip", "deflate", "zstd"):
        yield _encoded(f"{kind}-broken", lambda: b"x" * 100, kind, frozenset({400}))
        yield _encoded(f"{kind}-not-json", lambda kind=kind: _squeezed(kind)(b"x" * 300), kind, frozenset({400}))  # type: ignore[misc]
        yield _encoded(f"{kind}-cut", lambda kind=kind: _squeezed(kind)(padded)[:-20], kind, frozenset({400}))  # type: ignore[misc]
    yield _encoded("gzip-bomb-1-gib", lambda: bomb(1024), "gzip", frozenset({400, 413}), "security 5, sibling")
    yield _encoded("gzip-bomb-twice", lambda: gzip.compress(bomb(256)), "gzip, gzip", frozenset({400, 413, 415}), "security 5, sibling")
    window = b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x01\0\0"
    yield _encoded("zstd-window", lambda: window, "zstd", frozenset({400, 413}), "security 5, sibling")
    claims = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\0\0"
    yield _encoded("zstd-claims-a-tib", lambda: claims, "zstd", frozenset({400, 413}), "security 5, sibling")


def _squeezed(kind: str):  # type: ignore[no-untyped-def]
    return {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": _zstd}[kind]


def _paths() -> Iterator[Case]:
    hinted = SERVED | {301, 307, 308, 404}
    for number, path in enumerate(
        ("/v1//chat/completions", "//v1/chat/completions", "/v1/chat/completions/", "/v1/chat//completions", "/chat/completions")
    ):
        yield Case(f"path-{number}", "reports double_slash", text(saying()), path, statuses=hinted, says="/v1/chat/completions")
    yield Case("path-models-slash", "reports double_slash", None, "/v1/models/", "GET", statuses=hinted, says="/v1/models")
    yield Case(
        "path-v1-twice",
        "reports v1_twice",
        text(saying()),
        "/v1/v1/chat/completions",
        statuses=frozenset({404}),
        says="/v1/v1/chat/completions",
    )
    for number, path in enumerate(
        (
            "/sleep", "/collective_rpc", "/v1/load_lora_adapter", "/docs", "/openapi.json", "/pause", "/abort_requests", "/-/load",
            "/metrics", "/v1/chat/completions/..", "/v1/./chat/completions", "/v1/chat/completions%00", "/v1/chat/completions;x",
            "/%2d/status", "/v1/../sleep", "/v1/%2e%2e/sleep", "/v1/chat/completions/render", "/inference/v1/generate", "/-/status/x",
            "/-//status", "/V1/MODELS", "/%73tatus", "/Status", "/status/", "//status", "/-/../status", "/-/history/x",
        )
    ):  # fmt: skip
        for method in ("GET", "POST"):
            statuses = frozenset({400, 404, 405}) | (SERVED if path == "/openapi.json" else frozenset())
            yield Case(
                f"path-hidden-{number}-{method}", "security, tried", text({}) if method == "POST" else None, path, method, statuses=statuses
            )
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "GET"):
        yield Case(f"method-{method}", "security, tried", None, CHAT, method, statuses=frozenset({400, 405, 501}))
    yield Case("head-models", "reports head_requests", None, "/v1/models", "HEAD", statuses=SERVED)
    yield Case("options-bare", "reports cors_preflight", None, CHAT, "OPTIONS", statuses=frozenset({200, 204, 405}))


def _clients() -> Iterator[Case]:
    yield Case("count_tokens", "reports count_tokens", text(smallest(COUNT)), COUNT, statuses=SERVED, says="input_tokens")
    yield Case(
        "count_tokens-beta",
        "reports count_tokens",
        text(smallest(COUNT, "smollm2")),
        COUNT + "?beta=true",
        statuses=SERVED,
        says="input_tokens",
    )
    yield Case("count_tokens-scout", "reports count_tokens", text(smallest(COUNT, "scout")), COUNT, statuses=SERVED, says="input_tokens")
    yield Case("alias-listed", "reports alias_listed", None, "/v1/models", "GET", statuses=SERVED, says='"smollm2"')
    yield Case("accel-buffering", "reports accel_buffering", text(saying(stream=True)), statuses=SERVED, shows=("x-accel-buffering", "no"))
    yield Case(
        "h2c-offer",
        "reports h2c_offer",
        text(saying()),
        headers=(("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings")),
        statuses=SERVED,
    )
    yield Case(
        "websocket-offer", "security 1", text(saying()), headers=(("upgrade", "websocket"), ("connection", "Upgrade")), statuses=EITHER
    )
    yield Case("health-generate", "security 14", None, "/health?generate=true", "GET", statuses=SERVED | {403, 401} | BUSY, within_s=60)
    for name, error in (
        ("stop", {"stop_sequences": ["a"] * 1_000}),
        ("temperature", {"temperature": "x"}),
        ("system", {"system": [{"type": "x"}]}),
    ):
        body = text(smallest(MESSAGES) | error | {"stream": True})
        yield Case(f"messages-wrong-{name}", "reports messages_refused_stream", body, MESSAGES, statuses=EITHER)
    yield Case("stream-refused", "reports refused_stream", text(saying(stream=True, temperature="x")), statuses=frozenset({400}))


CASES = (*_content_types(), *_sites(), *_hosts(), *_encodings(), *_paths(), *_clients())
