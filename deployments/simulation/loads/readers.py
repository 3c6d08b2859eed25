"""Requests from files in the formats that people have: Mooncake's, Azure's, vLLM's benchmark results, and a simple CSV."""

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from math import isfinite

import msgspec

from deployments.simulation.loads.traces import Traced, mooncake

#: No request has more tokens: the longest context of all models is a tenth of them.
MOST_TOKENS = 100_000_000
#: A message shows so many characters of a file.
MOST_SHOWN = 60
#: The first bytes of what gzip, zstd, xz, bzip2 and zip write.
PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"PK\x03\x04")
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
    if data.startswith(PACKED):
        raise UnreadableTrace("it is compressed: unpack it first, with gunzip for example")
    try:
        found = _read(data.removeprefix(codecs.BOM_UTF8))
    except (msgspec.DecodeError, csv.Error, ValueError) as error:
        raise UnreadableTrace(f"the trace cannot be read: {error}") from error
    if not found:
        raise UnreadableTrace("the trace has no request")
    for number, one in enumerate(found, 1):
        if not (isfinite(one.at_s) and 0 <= one.prompt_tokens <= MOST_TOKENS and 0 <= one.output_tokens <= MOST_TOKENS):
            raise UnreadableTrace(f"its request {number} has no time, or no number of tokens from 0 to {MOST_TOKENS:,}")
    found.sort(key=lambda one: one.at_s)
    begin_s = found[0].at_s
    # An engine computes at least one token of a prompt, and its answer has one; vLLM's client writes 0 for a request that failed.
    return [Traced(one.at_s - begin_s, max(1, one.prompt_tokens), max(1, one.output_tokens), one.blocks) for one in found]


def _read(data: bytes) -> list[Traced]:
    if not data.lstrip().startswith((b"{", b"[")):
        return _table(data.decode())
    first, _, rest = data.strip().partition(b"\n")
    if rest.lstrip().startswith(b"{") or b'"timestamp"' in first:
        return mooncake(data)
    result = msgspec.json.decode(data, type=_Benchmark)
    if not len(result.start_times) == len(result.input_lens) == len(result.output_lens):
        raise UnreadableTrace("its start_times, input_lens and output_lens are not of one length: take a result that was not cut off")
    return _traced(list(zip(result.start_times, result.input_lens, result.output_lens, strict=True)))


def _table(text: str) -> list[Traced]:
    rows = csv.DictReader(io.StringIO(text))
    columns = rows.fieldnames or ()
    if set(_AZURE) <= set(columns):
        return _traced(list(_rows(rows, _AZURE, _seconds)))
    if set(_SIMPLE) <= set(columns):
        return _traced(list(_rows(rows, _SIMPLE, float)))
    has = f"its columns are {_short(', '.join(columns))}" if columns else "it is empty"
    raise UnreadableTrace(f"{has}; {', '.join(_SIMPLE)} are wanted, or Azure's {', '.join(_AZURE)}")


def _rows(rows: "csv.DictReader[str]", names: Sequence[str], seconds: Callable[[str], float]) -> Iterator[tuple[float, int, int]]:
    """Yields the requests of a table.

    Raises:
        UnreadableTrace: a row lacks a number; the message names its line.
    """
    at, prompt, output = names
    for row in rows:
        said = [str(row[name] or "") for name in names]
        try:
            yield seconds(row[at]), int(row[prompt]), int(row[output])
        except (ValueError, TypeError) as error:  # a row that is too short has None
            raise UnreadableTrace(
                f"its line {rows.line_num} has {_short(', '.join(said))} for {', '.join(names)}: a time and two whole numbers are wanted"
            ) from error


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _seconds(text: str) -> float:
    """Returns the seconds of a time since 1970; Azure's are in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _traced(rows: Sequence[tuple[float, int, int]]) -> list[Traced]:
    return [Traced(at_s, prompt, output, ()) for at_s, prompt, output in rows]
