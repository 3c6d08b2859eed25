"""`deployments.wire.client.request_framing`: one stream of bytes has one number of requests, wherever the network cuts it."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployments.wire.client.chunked_body import MOST_FRAMING_BYTES, MOST_TRAILER_BYTES, MOST_TRAILERS, ChunkedBody
from deployments.wire.client.request_framing import MOST_FIELDS, MOST_HEAD_BYTES, MOST_LINE_BYTES, RequestReader
from deployments.wire.client.request_head import Head
from deployments.wire.client.unreadable import Unreadable
from tests.unit.http_streams import STREAMS, Found, damaged, ours, reference

GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"


def post(*headers: bytes, body: bytes = b"", host: bytes = b"host: a", version: bytes = b"1.1") -> bytes:
    """A POST with these header lines."""
    return b"\r\n".join([b"POST /p HTTP/" + version, host, *headers, b"", b""]) + body


def cut_everywhere(data: bytes) -> set[Found]:
    """What is found in the stream in two pieces, for every place between them, and byte by byte."""
    found = {ours([data[:at], data[at:]]) for at in range(len(data) + 1)}
    return found | {ours(data[at : at + 1] for at in range(len(data)))}


@given(STREAMS)
def test_every_cut_of_a_well_formed_stream_gives_the_requests_of_the_reference_parser(data: bytes) -> None:
    whole = ours([data])
    assert cut_everywhere(data) == {whole}
    theirs = reference(data)
    assert (whole.refused, theirs.refused) == (0, 0)
    assert whole.requests == theirs.requests[: len(whole.requests)]
    assert whole.closed or len(whole.requests) == len(theirs.requests)


@given(damaged())
def test_every_cut_of_a_damaged_stream_gives_the_same_requests(data: bytes) -> None:
    assert cut_everywhere(data) == {ours([data])}


@given(damaged(), st.lists(st.integers(0, 400), max_size=12))
@settings(max_examples=10 * settings().max_examples)
@example(b"\r\n" + GET, [])
def test_what_the_reference_parser_refuses_is_refused_and_what_both_take_is_the_same(data: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    mine = ours(data[begin:end] for begin, end in pairwise(places))
    theirs = reference(data)
    both = min(len(mine.requests), len(theirs.requests))
    assert mine.requests[:both] == theirs.requests[:both]
    if len(mine.requests) > both:
        assert not theirs.refused or theirs.strict, "refused by the reference only"
    elif len(theirs.requests) > both:
        assert mine.refused or mine.closed, "missed by ours"


AS_BODY = (b"content-length: %d" % len(SMUGGLED),)
OFFER = (b"connection: Upgrade", b"upgrade: foo")
H2C = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAA")
CHUNKED = b"transfer-encoding: chunked"
SMUGGLING = {
    "offer in a chunk": post(CHUNKED, body=b"d\r\n\r\nupgrade:zzz\r\n0\r\n\r\n" + post(*AS_BODY, body=SMUGGLED)),
    "offer and a body": post(*OFFER, *AS_BODY, body=SMUGGLED),
    "pipelined offer and a body": GET + post(*OFFER, *AS_BODY, body=SMUGGLED),
    "h2c with its settings": post(*H2C, b"content-length: 5", body=b"12345") + GET,
    "chunks behind an offer": GET + post(*OFFER, CHUNKED, body=b"1\r\na\r\n0\r\nx: y\r\n\r\n" + GET),
    "trailers": post(CHUNKED, body=b"3\r\nabc\r\n0\r\ncontent-length: 50\r\nx: y\r\n\r\n") + GET,
}


@pytest.mark.parametrize(("name", "targets"), [
    ("offer in a chunk", [b"/p", b"/p"]),
    ("offer and a body", [b"/p"]),
    ("pipelined offer and a body", [b"/", b"/p"]),
    ("h2c with its settings", [b"/p"]),
    ("chunks behind an offer", [b"/", b"/p"]),
    ("trailers", [b"/p", b"/"]),
])  # fmt: skip
def test_a_body_is_never_read_as_a_request_wherever_the_network_cuts(name: str, targets: list[bytes]) -> None:
    (found,) = cut_everywhere(SMUGGLING[name])
    assert [target for _, target, _ in found.requests] == targets
    assert not found.refused


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (post(b"content-length: 5", b"content-length: 5"), 400),
        (post(b"content-length: 5", b"content-length: 6"), 400),
        (post(b"content-length: 5", b"transfer-encoding: chunked"), 400),
        (post(b"transfer-encoding: chunked", b"content-length: 5"), 400),
        (post(b"content-length: +5"), 400),
        (post(b"content-length: 5,5"), 400),
        (post(b"content-length: -1"), 400),
        (post(b"content-length: 0x5"), 400),
        (post(b"content-length:"), 400),
        (post(b"content-length: 5 5"), 400),
        (post(b"content-length: " + b"9" * 30), 400),
        (post(b"content-length: " + b"9" * 19), 400),
        (post(b"transfer-encoding: gzip, chunked"), 501),
        (post(b"transfer-encoding: chunked, identity"), 400),
        (post(b"transfer-encoding: identity"), 501),
        (post(b"transfer-encoding: xchunked"), 501),
        (post(b"transfer-encoding: chunked", b"transfer-encoding: chunked"), 400),
        (post(b"transfer-encoding:"), 400),
        (post(b"transfer-encoding: chunked", version=b"1.0"), 400),
        (post(b"x: y", host=b"x: z"), 400),
        (post(b"host: b"), 400),
        (post(host=b"host: a b"), 400),
        (post(host=b"host: a/b"), 400),
        (post(host=b"host: a@b"), 400),
        (post(b"x: y", b" folded"), 400),
        (post(b"x : y"), 400),
        (post(b"x"), 400),
        (post(b": y"), 400),
        (post(b"x: a\0b"), 400),
        (post(b"x: a\rb"), 400),
        (post(b"x: a\nb: c"), 400),
        (post(b"x\xff: c"), 400),
        (b"GET / HTTP/1.1\nhost: a\n\n", 400),
        (b"GET / HTTP/1.1\rhost: a\r\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/0.9\r\nhost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", 400),
        (b"NONE / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"\r\n\r\n" + GET, 400),
        (b"\rGET", 400),
        (b"GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET http://[a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET http://a@b/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        (b"GET /" + b"x" * MOST_LINE_BYTES + b" HTTP/1.1\r\nhost: a\r\n\r\n", 414),
        (post(*[b"a: b"] * MOST_FIELDS), 431),
        (post(b"x: " + b"y" * MOST_HEAD_BYTES), 431),
        (b"x" * 5, 400),
    ],
)  # fmt: skip
def test_request_that_is_refused_is_refused_wherever_the_network_cuts(data: bytes, status: int) -> None:
    assert ours([data]) == Found((), refused=status)
    step = max(1, len(data) // 300)
    assert {ours([data[:at], data[at:]]) for at in range(0, len(data), step)} == {Found((), refused=status)}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"+5\r\nabcde\r\n", 400),
        (b"0x5\r\nabcde\r\n", 400),
        (b"5 \r\nabcde\r\n", 400),
        (b" 5\r\nabcde\r\n", 400),
        (b"-5\r\nabcde\r\n", 400),
        (b"5_0\r\nabcde\r\n", 400),
        (b"\r\nabcde\r\n", 400),
        (b";a\r\nabcde\r\n", 400),
        (b"5\nabcde\r\n", 400),
        (b"5\r\r\nabcde\r\n", 400),
        (b"5;a\nb\r\nabcde\r\n", 400),
        (b"5;" + b"a" * 300 + b"\r\nabcde\r\n", 400),
        (b"00000000000000005\r\nabcde\r\n", 400),
        (b"5\r\nabcdef\r\n", 400),
        (b"5\r\nabcde\n0\r\n\r\n", 400),
        (b"5\r\nabcde\r0\r\n\r\n", 400),
        (b"0\r\n\n", 400),
        (b"0\r\nx y: z\r\n\r\n", 400),
        (b"0\r\n folded\r\n\r\n", 400),
        (b"0\r\nx: \0\r\n\r\n", 400),
        (b"0\r\n" + b"x: y\r\n" * (MOST_TRAILERS + 2) + b"\r\n", 431),
        (b"0\r\nx: " + b"y" * MOST_TRAILER_BYTES + b"\r\n\r\n", 431),
        (b"0\r\nx: " + b"y" * MOST_TRAILER_BYTES, 431),
        (b"1;%b\r\na\r\n" % (b"x" * 250) * (MOST_FRAMING_BYTES // 250), 400),
    ],
)
def test_chunks_that_are_refused_are_refused_wherever_the_network_cuts(body: bytes, status: int) -> None:
    data = post(b"transfer-encoding: chunked", body=body)
    assert ours([data]) == Found((), refused=status)
    step = max(1, len(data) // 300)
    assert {ours([data[:at], data[at:]]) for at in range(0, len(data), step)} == {Found((), refused=status)}


@pytest.mark.parametrize("before", [b"", b"f00000\r\n" + b"x" * 0xF00000 + b"\r\n"])
@pytest.mark.parametrize("size", [1, 6, 12])
def test_tiny_chunks_are_few_whatever_came_before(size: int, before: bytes) -> None:
    body = ChunkedBody()
    body.take(before)
    tiny, most = b"%x\r\n%b\r\n" % (size, b"x" * size), MOST_FRAMING_BYTES // (5 - size // 4)
    assert body.take(tiny * most) == (b"x" * size * most, len(tiny) * most)
    with pytest.raises(Unreadable, match="Send larger chunks"):
        body.take(tiny)


def test_chunks_of_24_bytes_may_be_as_many_as_they_are() -> None:
    body = ChunkedBody()
    for _ in range(20):
        assert len(body.take((b"18\r\n" + b"x" * 24 + b"\r\n") * 3000)[0]) == 72_000


@pytest.mark.parametrize(
    ("data", "target", "host"),
    [
        (b"GET http://a:80/b?c=d HTTP/1.1\r\nhost: e\r\n\r\n", b"/b?c=d", b"a:80"),
        (b"GET http://a HTTP/1.1\r\nhost: a\r\n\r\n", b"/", b"a"),
        (b"GET http://a/b HTTP/1.0\r\n\r\n", b"/b", None),
        (b"OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", b"*", b"a"),
        (b"GET //b?c?d HTTP/1.1\r\nhost: [::1]:8000\r\n\r\n", b"//b?c?d", b"[::1]:8000"),
    ],
)
def test_target_is_kept_as_it_came_and_an_absolute_one_names_the_host(data: bytes, target: bytes, host: bytes | None) -> None:
    reader = RequestReader()
    reader.feed(data)
    head = reader.head()
    assert head is not None
    assert (head.target, head.headers.get(b"host")) == (target, host)


@pytest.mark.parametrize(
    ("headers", "version", "closes", "expects"),
    [
        ([], b"1.1", False, False),
        ([b"connection: keep-alive"], b"1.1", False, False),
        ([b"connection: x, Close"], b"1.1", True, False),
        ([b"connection: closed"], b"1.1", False, False),
        ([b"connection: x", b"connection: close"], b"1.1", True, False),
        ([b"connection: keep-alive"], b"1.0", True, False),
        ([b"upgrade: h2c"], b"1.1", True, False),
        ([b"expect: 100-Continue"], b"1.1", False, True),
        ([b"expect: 100-continue"], b"1.0", True, False),
        ([b"expect: more"], b"1.1", False, False),
    ],
)
def test_head_says_whether_the_connection_goes_on(headers: list[bytes], version: bytes, closes: bool, expects: bool) -> None:
    reader = RequestReader()
    reader.feed(post(*headers, version=version))
    head = reader.head()
    assert head is not None
    assert (head.closes, head.expects_continue, head.old) == (closes, expects, version == b"1.0")


def test_headers_of_one_name_are_one_list() -> None:
    reader = RequestReader()
    reader.feed(post(b"X-A: 1", b"x-a: 2"))
    head = reader.head()
    assert head is not None
    assert head.headers == {b"host": b"a", b"x-a": b"1, 2"}


def test_spaces_around_a_value_are_no_part_of_it() -> None:
    reader = RequestReader()
    reader.feed(post(b"transfer-encoding:\tchunked", b"connection:  close ", b"x-a:", host=b"host: a ", body=b"1\r\na\r\n0\r\n\r\n"))
    head = reader.head()
    assert head is not None
    assert (head.chunked, head.closes, head.headers[b"host"], head.headers[b"x-a"]) == (True, True, b"a", b"")


def test_head_without_its_end_is_refused() -> None:
    with pytest.raises(Unreadable, match="ends too early"):
        Head().parse(b"GET / HTTP/1.1\r\nhost: a\r\n")


def test_bytes_that_are_not_read_yet_are_counted() -> None:
    reader = RequestReader()
    assert reader.head() is None
    reader.feed(b"\r")
    assert reader.head() is None
    reader.feed(b"\n" + post(b"content-length: 5", body=b"abc"))
    assert reader.head() is not None
    assert (reader.held, reader.whole, reader.body(), reader.held) == (3, False, b"abc", 0)
    reader.feed(b"deGET")
    assert (reader.body(), reader.whole, reader.held) == (b"de", True, 3)


def test_head_and_chunked_body_of_the_largest_size_are_taken() -> None:
    fields = [b"x-%d: %b" % (number, b"y" * 600) for number in range(MOST_FIELDS - 2)]
    body = b"".join(b"1\r\na\r\n" for _ in range(12_000)) + b"0\r\n" + b"x: y\r\n" * (MOST_TRAILERS) + b"\r\n"
    found = ours([post(*fields, b"transfer-encoding: chunked", body=body)])
    assert found.requests == ((b"POST", b"/p", b"a" * 12_000),)


def test_refusal_says_in_the_shape_of_all_errors_what_is_wrong() -> None:
    reader = RequestReader()
    reader.feed(post(*[b"a: b"] * MOST_FIELDS))
    with pytest.raises(Unreadable, match="more than 100 headers") as refused:
        reader.head()
    assert refused.value.fields()["code"] == "headers_too_large"
