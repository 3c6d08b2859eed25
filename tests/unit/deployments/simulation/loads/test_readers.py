"""Traces in the formats that people have become requests in order, and anything else is refused with what is wanted."""

import pytest

from deployments.simulation.loads import readers
from deployments.simulation.loads.traces import Traced

AZURE = b"""TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
SIMPLE = b"at_s,prompt_tokens,output_tokens\n5,10,3\n2.5,20,4\n"
MOONCAKE = b"""{"timestamp": 3000, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 6000, "input_length": 7322, "output_length": 490, "hash_ids": [0, 14]}
"""
BENCHMARK = b'{"date": "x", "start_times": [7.5, 7.0], "input_lens": [10, 20], "output_lens": [3, 4], "ttfts": [0.1, 0.2]}'


def test_azures_trace_begins_at_its_first_request() -> None:
    first, second = readers.requests(AZURE)
    assert first == Traced(0.0, 374, 44, ())
    assert second == Traced(second.at_s, 396, 109, ())
    assert second.at_s == pytest.approx(4.314579, abs=1e-5)


def test_simple_table_is_sorted_by_time() -> None:
    assert readers.requests(SIMPLE) == [Traced(0.0, 20, 4, ()), Traced(2.5, 10, 3, ())]


def test_mooncakes_trace_keeps_its_blocks() -> None:
    assert readers.requests(MOONCAKE) == [Traced(0.0, 6758, 500, (0, 1)), Traced(3.0, 7322, 490, (0, 14))]
    assert readers.requests(MOONCAKE.splitlines()[0]) == [Traced(0.0, 6758, 500, (0, 1))]


def test_marks_at_the_begin_and_a_line_alone_are_no_hindrance() -> None:
    for trace in (AZURE, SIMPLE, MOONCAKE, BENCHMARK):
        assert readers.requests(b"\xef\xbb\xbf" + trace) == readers.requests(trace)
        assert readers.requests(trace.replace(b"\n", b"\r\n")) == readers.requests(trace)
    assert readers.requests(b'{"timestamp": 5, "input_length": 3, "output_length": 4}\n') == [Traced(0.0, 3, 4, ())]


def test_requests_without_tokens_have_one_of_each() -> None:
    assert readers.requests(b"at_s,prompt_tokens,output_tokens\n1,0,0\n") == [Traced(0.0, 1, 1, ())]


def test_result_of_vllms_benchmark_is_sent_again_at_its_times() -> None:
    assert readers.requests(BENCHMARK) == [Traced(0.0, 20, 4, ()), Traced(0.5, 10, 3, ())]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is empty; at_s"),
        (b"\x1f\x8b\x08\x00", "is compressed: unpack it first"),
        (b"x" * 1_000_000, "field larger than field limit"),
        (b"x" * 1_000, "its columns are x{60}…; at_s"),
        (b"[1, 2]", "Expected `object`"),
        (b"a,b\n1,2\n", "at_s, prompt_tokens, output_tokens are wanted"),
        (b"at_s,prompt_tokens,output_tokens\n", "has no request"),
        (b"at_s,prompt_tokens,output_tokens\n0,1,1\n1,x,2\n", "its line 3 has 1, x, 2 for at_s, prompt_tokens"),
        (b"at_s,prompt_tokens,output_tokens\n1,2\n", "its line 2 has 1, 2,  for at_s"),
        (AZURE + b"yesterday,1,2\n", "its line 4 has yesterday, 1, 2 for TIMESTAMP"),
        (b'{"timestamp": 1}\n{"timestamp": 2}', "missing required field"),
        (b'{"start_times": [1], "input_lens": [], "output_lens": [1]}', "are not of one length"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_file_that_is_no_trace_is_refused_with_a_reason(data: bytes, says: str) -> None:
    with pytest.raises(readers.UnreadableTrace, match=says):
        readers.requests(data)


@pytest.mark.parametrize("row", ["nan,1,1", "inf,1,1", "0,-1,1", "0,1,1000000000"])
def test_time_or_length_that_cannot_be_is_refused_by_its_request(row: str) -> None:
    with pytest.raises(readers.UnreadableTrace, match="request 2"):
        readers.requests(f"at_s,prompt_tokens,output_tokens\n0,1,1\n{row}\n".encode())
