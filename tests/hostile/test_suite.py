"""The suite itself: cases are told apart, the fuzzers repeat themselves, and the comparison reads HTTP as it should."""

import gzip
import json
import zlib
from collections import Counter
from pathlib import Path

import pytest

from tests.hostile import fuzz_bytes
from tests.hostile.__main__ import Again, main
from tests.hostile.attacks import ATTACKS
from tests.hostile.case import Case
from tests.hostile.cases import ALL, QUICK
from tests.hostile.fuzz_bytes import NotHttp, answers_in, requests_in
from tests.hostile.habits import bomb
from tests.hostile.parts import TIMED
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


#: Up to the trailers; a chunk looks like one of those that the reference parser does not take.
CHUNKS = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n13\r\n\r\ncontent-length: 9\r\n0\r\n"


@pytest.mark.parametrize(
    ("data", "most"),
    [
        (GET, 2),  # and one more, should it be followed by something
        (GET * 3, 4),
        (GET + b"connection", 2),
        (b"\0", 1),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(GET) + GET + fuzz_bytes.LAST, 2),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" + GET, 1),
        (GET + b"\r\n" + fuzz_bytes.LAST, 2),
        (CHUNKS + b"content-length: 0 x\r\n\r\n" + fuzz_bytes.LAST, 2),
        (CHUNKS + b"content-length: 5\r\nContent-Length: 6\r\n\r\n" + fuzz_bytes.LAST, 2),
        (CHUNKS + b"transfer-encoding: gzip\r\n\r\n" + GET + fuzz_bytes.LAST, 3),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0 x\r\n\r\n" + GET, 1),
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


def test_bomb_is_what_it_claims_to_be() -> None:
    assert json.loads(gzip.decompress(bomb(3))) == {"model": "smollm2", "x": "x" * (3 << 20)}


def test_bomb_of_a_gib_is_made_of_one_compressed_mib(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    compressor = zlib.compressobj

    class Counting:
        def __init__(self, *how: int) -> None:
            self._one = compressor(how[0], how[1], how[2])

        def compress(self, data: bytes) -> bytes:
            fed.append(len(data))
            return self._one.compress(data)

        def flush(self, *how: int) -> bytes:
            return self._one.flush(*how)

    monkeypatch.setattr("tests.hostile.habits.zlib.compressobj", Counting)
    body = bomb(1024)
    assert sum(fed) < 2 << 20 > len(body)
    assert int.from_bytes(body[-4:], "little") > 1 << 30


def test_attacks_that_are_run_again_change_their_own_rows_only(tmp_path: Path) -> None:
    file = tmp_path / "hostile.json"
    rows = [{"name": name, "held": False, "sent": 1} for name in ("a", "b", "c")]
    before = {
        "date": "then",
        "gateway": {"attacks": [{"name": "b"}]},
        "herd": {"undisturbed": {"stall_ms": 1}, "attacks": rows, "cases": {}},
    }
    file.write_text(json.dumps(before), encoding="utf-8")
    again = Again(file)
    again(undisturbed={"stall_ms": 7})
    assert json.loads(file.read_text(encoding="utf-8")) == before
    again(attacks=[{"name": "b", "held": True, "sent": 2}])
    again(attacks=[{"name": "b", "held": True, "sent": 2}, {"name": "new", "held": True, "sent": 3}])
    after = json.loads(file.read_text(encoding="utf-8"))
    a, b, c, new = after["herd"].pop("attacks")
    assert (a, c) == (rows[0], rows[2])
    assert (b["sent"], b["held"], b["undisturbed"], new["undisturbed"]) == (2, True, {"stall_ms": 7}, {"stall_ms": 7})
    del before["herd"]["attacks"]  # type: ignore[attr-defined]
    assert after == before


def test_attack_that_is_none_is_refused_with_the_names_of_all(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["tests.hostile", "--attack", "no-such"])
    with pytest.raises(SystemExit):
        main()
    told = capsys.readouterr().err
    assert "no-such" in told
    assert all(name in told for name in TIMED)


def test_attacks_that_are_timed_are_there() -> None:
    assert set(TIMED) <= {case.name for case in ALL} | set(ATTACKS)
