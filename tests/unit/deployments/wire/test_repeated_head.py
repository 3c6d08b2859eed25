"""`deployments.wire.client.repeated_head`: a head that comes again is what it would be if nothing had come before it."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.wire.client.once import Once
from deployments.wire.client.repeated_head import MOST_KEPT_BYTES
from deployments.wire.client.request_framing import RequestReader
from deployments.wire.client.request_head import Head
from tests.unit.http_streams import ours

FIRST = (
    b"POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nContent-Length:  %b\r\nX-Api: %b\r\nexpect: 100-continue\r\n\r\n"
)


def facts(head: Head) -> list[object]:
    """All that a head says. What was made of it is not of that."""
    return [getattr(head, name) for name in Head.__slots__ if not name.startswith("_") and name != "once"]


def heads(reader: RequestReader, *requests: tuple[bytes, bytes]) -> list[Head]:
    """The heads of a connection's requests: each a head, and a body of its length."""
    found = []
    for head, body in requests:
        reader.feed(head + body)
        one = reader.head()
        assert one is not None
        assert reader.whole or reader.body() == body
        found.append(one)
    return found


@given(st.lists(st.binary(max_size=1200), min_size=2, max_size=4))
def test_head_that_comes_again_says_what_it_would_say_as_the_first_one(bodies: list[bytes]) -> None:
    requests = [(FIRST % (b"%d" % len(body), b"k"), body) for body in bodies]
    together = heads(RequestReader(), *requests)
    assert [facts(one) for one in together] == [facts(heads(RequestReader(), one)[0]) for one in requests]


def test_head_that_comes_again_is_not_parsed_again() -> None:
    request = FIRST % (b"3", b"k"), b"abc"
    first, again, longer, other = heads(
        RequestReader(), request, request, (FIRST % (b"12", b"k"), b"a" * 12), (FIRST % (b"3", b"l"), b"abc")
    )
    assert again is first
    assert (longer.length, longer.headers[b"content-length"], first.headers[b"content-length"]) == (12, b"12", b"3")
    assert other.headers[b"x-api"] == b"l"
    assert longer.once is again.once is first.once, "what was made of it is made for every length"
    assert other.once is not first.once


def test_head_that_comes_again_leaves_nothing_to_the_garbage_collector() -> None:
    def kept() -> int:
        return sum(isinstance(one, Once) for one in gc.get_objects())

    reader, before = RequestReader(), kept()
    for length in range(1, 40):
        heads(reader, (FIRST % (b"%d" % length, b"k"), b"a" * length))
    assert kept() - before == 1


@pytest.mark.parametrize(
    "length", [b"", b"+3", b"3 3", b"0x3", b"1" * 19, b"3\r\nContent-Length: 3", b"3\r\ntransfer-encoding: chunked", b"\xb2"]
)
def test_length_that_is_refused_is_refused_behind_a_good_one_too(length: bytes) -> None:
    good, bad = FIRST % (b"3", b"k") + b"abc", FIRST % (length, b"k") + b"abc"
    assert ours([bad]).refused
    assert ours([good, bad]).refused == ours([bad]).refused
    assert len(ours([good, bad]).requests) == 1


def test_bytes_before_and_behind_the_length_are_all_compared() -> None:
    head, body = FIRST % (b"3", b"k"), b"abc"
    for place in range(len(head)):
        if not head[place : place + 1].isdigit():
            damaged = head[:place] + b"\x00" + head[place + 1 :]
            alone, behind = ours([damaged + body]), ours([head + body + damaged + body])
            assert (behind.refused, behind.requests[1:]) == (alone.refused, alone.requests)


def test_empty_body_behind_another_one_is_none() -> None:
    assert [one[2] for one in ours([FIRST % (b"3", b"k") + b"abc" + FIRST % (b"0", b"k") + FIRST % (b"1", b"k") + b"a"]).requests] == [
        b"abc",
        b"",
        b"a",
    ]


@pytest.mark.parametrize("head", [
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 1\r\n\r\n",
    FIRST % (b"1", b"k" * MOST_KEPT_BYTES),
], ids=["no body", "last one", "long"])  # fmt: skip
def test_head_is_not_kept_for_nothing(head: bytes) -> None:
    reader = RequestReader()
    heads(reader, (head, b"a" if b"ength" in head else b""))
    assert reader._last is None
