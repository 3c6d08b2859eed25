"""The suite itself: cases are told apart, the fuzzers repeat themselves, and the comparison reads HTTP as it should."""

import json
from collections import Counter

import pytest

from tests.hostile import fuzz_bytes
from tests.hostile.case import Case
from tests.hostile.cases import ALL, QUICK
from tests.hostile.fuzz_bytes import NotHttp, answers_in, requests_in
from tests.hostile.sending import Answer, complaints

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
ERROR = json.dumps({"error": {"message": "No.", "type": "invalid_request_error", "param": "n", "code": None}}).encode()


def test_names_of_cases_are_different() -> None:
    assert not [name for name, count in Counter(case.name for case in ALL).items() if count > 1]


def test_quick_part_has_cases_of_every_kind() -> None:
    assert 100 < len(QUICK) < 400


def test_a_seed_gives_the_same_bytes() -> None:
    assert [fuzz_bytes.case(seed) for seed in range(50)] == [fuzz_bytes.case(seed) for seed in range(50)]
    assert len({fuzz_bytes.case(seed) for seed in range(50)}) == 50


@pytest.mark.parametrize(
    ("data", "most"),
    [
        (GET, 2),  # and one more, should it be followed by something
        (GET * 3, 4),
        (GET + b"connection", 2),
        (b"\0", 1),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(GET) + GET + fuzz_bytes.LAST, 2),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + GET, 1),
    ],
)
def test_most_answers(data: bytes, most: int) -> None:
    assert requests_in(data) == most


def test_answers_are_counted() -> None:
    chunked = b"HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    assert answers_in(OK + b"HTTP/1.1 100 Continue\r\n\r\n" + chunked + OK) == [200, 400, 200]


@pytest.mark.parametrize("raw", [b"{}", OK + b"{}", b"HTTP/1.1 200 OK\r\na: b\r\na: c\r\n\r\n", b"HTTP/1.1 2 OK\r\n\r\n"])
def test_what_is_no_answer_is_told(raw: bytes) -> None:
    with pytest.raises(NotHttp):
        answers_in(raw)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (Answer(400, {}, ERROR, 0.1, 0.1), ""),
        (Answer(502, {}, ERROR, 0.1, 0.1), "status 502"),
        (Answer(400, {}, b"x", 0.1, 0.1), "is no error"),
        (Answer(400, {}, ERROR.replace(b"No.", b"<x at 0x7FB1EF681810>"), 0.1, 0.1), "inside"),
        (Answer(400, {}, ERROR.replace(b'"n"', b'"m"'), 0.1, 0.1), "param is 'm'"),
        (Answer(400, {}, ERROR, 99, 0.1), "took 99"),
        (Answer(400, {"retry-after": "1"}, ERROR, 0.1, 0.1), "asks to come again"),
        (Answer(0, {}, b"", 0.1, 0.1, "TimeoutError"), "TimeoutError"),
        (Answer(200, {"content-type": "text/event-stream"}, b"data: [DONE]\n\n", 0.1, 0.1), "a stream without an end"),
    ],
)
def test_wrong_answer_is_told(answer: Answer, wrong: str) -> None:
    case = Case("x", "y", statuses=frozenset({200, 400}), param="n")
    told = " ".join(complaints(case, answer))
    assert wrong in told
    assert bool(wrong) == bool(told)
