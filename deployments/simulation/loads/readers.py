"""Requests from files in the formats that people have: Mooncake's, Azure's, vLLM's benchmark results, and a simple CSV."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite

import msgspec

from deployments.simulation.loads.traces import Traced, mooncake

#: No request has more tokens: the longest context of all models is a tenth of them.
MOST_TOKENS = 100_000_000
#: Columns of the two kinds of CSV: the time, the prompt's tokens, the answer's tokens.
_AZURE = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_SIMPLE = ("at_s", "prompt_tokens", "output_tokens")


class UnreadableTrace(ValueError):
    """A file is no trace in a format that is known."""


class _Benchmark(msgspec.Struct):
    """The part that is read of a result of `vllm bench serve --save-result --save-detailed`."""

    start_times: list[float]
    input_lens: list[int]
    output_lens: list[int]


def requests(data: bytes) -> list[Traced]:
    """Returns the requests of a file in the order of their times; the first one comes at 0.

    Formats are told by the content: JSON lines are Mooncake's (and vLLM's `timed_trace`); a JSON object is a detailed result of vLLM's
    benchmark client; a CSV is Azure's (`TIMESTAMP,ContextTokens,GeneratedTokens`) or has the columns `at_s,prompt_tokens,output_tokens`.

    Raises:
        UnreadableTrace: it is none of these, or has no request.
    """
    try:
        found = _read(data)
    except (msgspec.DecodeError, ValueError, KeyError, TypeError) as error:
        raise UnreadableTrace(f"the trace cannot be read: {error}") from error
    if not found:
        raise UnreadableTrace("the trace has no request")
    for number, one in enumerate(found, 1):
        if not (isfinite(one.at_s) and 0 <= one.prompt_tokens <= MOST_TOKENS and 0 <= one.output_tokens <= MOST_TOKENS):
            raise UnreadableTrace(f"its request {number} has no time, or no number of tokens from 0 to {MOST_TOKENS:,}")
    found.sort(key=lambda one: one.at_s)
    begin_s = found[0].at_s
    return [Traced(one.at_s - begin_s, one.prompt_tokens, one.output_tokens, one.blocks) for one in found]


def _read(data: bytes) -> list[Traced]:
    if not data.lstrip().startswith(b"{"):
        return _table(data.decode("utf-8-sig"))
    first, _, rest = data.strip().partition(b"\n")
    if rest.lstrip().startswith(b"{") or b'"hash_ids"' in first:
        return mooncake(data)
    result = msgspec.json.decode(data, type=_Benchmark)
    return _traced(list(zip(result.start_times, result.input_lens, result.output_lens, strict=True)))


def _table(text: str) -> list[Traced]:
    rows = csv.DictReader(io.StringIO(text))
    columns = rows.fieldnames or ()
    if set(_AZURE) <= set(columns):
        at, prompt, output = _AZURE
        return _traced([(_seconds(row[at]), int(row[prompt]), int(row[output])) for row in rows])
    if set(_SIMPLE) <= set(columns):
        at, prompt, output = _SIMPLE
        return _traced([(float(row[at]), int(row[prompt]), int(row[output])) for row in rows])
    raise UnreadableTrace(f"its columns are {', '.join(columns)}; {', '.join(_SIMPLE)} are wanted, or Azure's {', '.join(_AZURE)}")


def _seconds(text: str) -> float:
    """Returns the seconds of a time since 1970; Azure's are in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _traced(rows: Sequence[tuple[float, int, int]]) -> list[Traced]:
    return [Traced(at_s, prompt, output, ()) for at_s, prompt, output in rows]
