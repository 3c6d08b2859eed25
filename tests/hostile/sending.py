"""Sends one case over a connection of its own, and says what is wrong with the answer."""

import contextlib
import http.client
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.hostile.case import Case

#: What tells of the server's inside: addresses in memory, stack traces, files, vLLM's command line.
INTERNALS = re.compile(rb"0x[0-9a-fA-F]{8,}|Traceback|site-packages|--enable-auto-tool-choice|--tool-call-parser|NoneType")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 where nothing did."""

    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float
    first_s: float
    """To the head of the answer."""
    trouble: str = ""


def send(port: int, case: Case, host: str = "127.0.0.1") -> Answer:
    """Sends a case and reads its answer: no more than it may be long, and no longer than it may take."""
    data = case.body() if case.body is not None else b""  # some take seconds to make
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host, port, timeout=case.within_s)
    status, headers, body, first, trouble = 0, dict[str, str](), b"", 0.0, ""
    try:
        _put(connection, case, data)
        answer = connection.getresponse()
        first = time.perf_counter() - began
        status, headers = answer.status, {name.lower(): value for name, value in answer.getheaders()}
        body = _read(answer, case, began)
    except (OSError, http.client.HTTPException) as error:
        trouble = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return Answer(status, headers, body, time.perf_counter() - began, first, trouble)


def _put(connection: http.client.HTTPConnection, case: Case, data: bytes) -> None:
    headers = (
        {"host": f"127.0.0.1:{connection.port}", "content-type": "application/json"} if data else {"host": f"127.0.0.1:{connection.port}"}
    )
    headers |= {"content-length": str(len(data))} if data or case.method == "POST" else {}
    headers |= dict(case.headers)
    connection.putrequest(case.method, case.path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        if value:
            connection.putheader(name, value)
    connection.endheaders()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may be refused before it is whole
        connection.send(data)


def _read(answer: http.client.HTTPResponse, case: Case, began: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := answer.read1(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if size > case.most_bytes or time.perf_counter() - began > case.within_s:
            break
    return b"".join(pieces)


def complaints(case: Case, answer: Answer) -> Iterator[str]:
    """What is not as it must be."""
    if answer.trouble:
        yield answer.trouble
        return
    yield from _of_answer(case, answer)
    if answer.status >= 400 and case.method != "HEAD" and not case.path.startswith("/health"):
        yield from _of_error(case, answer)
    elif "text/event-stream" in answer.headers.get("content-type", ""):
        yield from _of_stream(answer.body)


def _of_answer(case: Case, answer: Answer) -> Iterator[str]:
    if answer.status not in case.statuses:
        yield f"status {answer.status}, not one of {sorted(case.statuses)}: {answer.body[:300]!r}"
    if len(answer.body) > case.most_bytes:
        yield f"more than {case.most_bytes} bytes"
    if answer.took_s > case.within_s:
        yield f"took {answer.took_s:.1f} s"
    if case.says.lower().encode() not in answer.body.lower():
        yield f"does not say {case.says!r}: {answer.body[:300]!r}"
    if case.shows is not None and case.shows[1] not in answer.headers.get(case.shows[0], ""):
        yield f"{case.shows[0]}: {answer.headers.get(case.shows[0])!r}"


def _of_error(case: Case, answer: Answer) -> Iterator[str]:
    try:
        error: dict[str, Any] = json.loads(answer.body)["error"]
        message, kind = error["message"], error["type"]
    except (ValueError, LookupError, TypeError):
        yield f"is no error as OpenAI's API has it: {answer.body[:200]!r}"
        return
    if not (isinstance(message, str) and message and isinstance(kind, str)):
        yield f"an error without a sentence: {error}"
    if found := INTERNALS.search(answer.body):
        yield f"shows the server's inside: {found[0]!r} in {answer.body[:300]!r}"
    for name, wanted in (("code", case.code), ("param", case.param)):
        if wanted is not None and error.get(name) != wanted:
            yield f"{name} is {error.get(name)!r}, not {wanted!r}: {message[:200]}"
    if case.not_code is not None and error.get("code") == case.not_code:
        yield f"code is {case.not_code!r}: {message[:200]}"
    if "retry-after" in answer.headers and 400 <= answer.status < 429 and answer.status != 408:
        yield "a client's mistake that asks to come again"


def _of_stream(body: bytes) -> Iterator[str]:
    """A stream ends with a reason, or tells an error."""
    ended = re.search(
        rb'"finish_reason": ?"|"error": ?\{|"stop_reason": ?"|response\.(completed|incomplete|failed)|"type": ?"message_stop"', body
    )
    if not ended:
        yield f"a stream without an end: {body[-300:]!r}"
