"""An engine that costs nothing to ask: a process of its own that streams tokens at a fixed pace, in chunks as vLLM writes them.

Prints its port, and ends when its standard input does, so that it outlives nobody.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any, cast

import uvloop

from deployments.engine.load_reports import LoadReports
from tests.bench import reporting
from tests.bench.fake_server import content_length, serve
from tests.bench.process import serving
from tests.wire_format import LAST, Stream, chunk, event, usage

PACE_S = 0.02
_OF = Stream("bench", 1795000000, "chatcmpl-0123456789abcdef0123456789abcdef", tells_usage=True)
_USAGE = b'"usage":{"prompt_tokens":12,"total_tokens":%d,"completion_tokens":%d}}'
_HEAD = b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n"
_STREAM = _HEAD + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_JSON = _HEAD + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_ANSWER = (
    b'{"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion","created":1795000000,"model":"bench","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":" llama","tool_calls":[]},"logprobs":null,"finish_reason":"length"}],'
)


#: As vLLM writes a token to who asks for its id, and to who does not.
_IDS: dict[bool, list[int] | None] = {True: [94776], False: None}
_TOKEN_CHUNKS = {asked: chunk(event(" llama", ids=ids, of=_OF)) for asked, ids in _IDS.items()}
#: The last one says why the answer ends.
_LAST_CHUNKS = {piece: chunk(event(" llama", "length", _IDS[asked], _OF)) for asked, piece in _TOKEN_CHUNKS.items()}


class _Idle:
    """A replica that is never full, behind any port."""

    def __init__(self) -> None:
        self.port = 0
        self.reports = LoadReports(self._report)

    async def _report(self) -> dict[str, Any]:
        known = {"id": "fake", "model": "llama-4-scout-tiny", "host": "127.0.0.1", "port": self.port, "state": "ready"}
        return known | {"ongoing": 0, "running": 0, "waiting": 0}


class _Connection(asyncio.Protocol):
    """One connection of a gateway: one request at a time."""

    def __init__(self, replica: _Idle) -> None:
        self._replica = replica

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, body = self._received.partition(b"\r\n\r\n")
        if ended and len(body) == content_length(head):
            self._received = b""
            if head.startswith(b"GET "):
                self._replica.port = self._transport.get_extra_info("sockname")[1]
                query = head.partition(b"?")[2].partition(b" ")[0]
                reporting.answer(self._replica.reports, query, self._transport)
            else:
                self._replica.reports.arrived(None)
                self._answer(json.loads(body))

    def _answer(self, asked: dict[str, int]) -> None:
        tokens = asked["max_tokens"]
        if asked.get("stream"):
            self._transport.write(_STREAM)
            self._token(_TOKEN_CHUNKS[bool(asked.get("return_token_ids"))], tokens, tokens, self._loop.time())
        else:
            body = _ANSWER + _USAGE % (12 + tokens, tokens)
            self._transport.write(_JSON % (len(body), body))

    def _token(self, piece: bytes, left: int, tokens: int, due: float) -> None:
        """Writes a chunk and waits for the next one's time, which a late one does not move."""
        if self._transport.is_closing():
            return
        self._transport.write(piece if left > 1 else _LAST_CHUNKS[piece])
        if left > 1:
            self._loop.call_at(due + PACE_S, self._token, piece, left - 1, tokens, due + PACE_S)
            return
        for last in (usage(12, tokens, _OF), LAST, b""):
            self._transport.write(chunk(last))


@contextlib.contextmanager
def fake_engine() -> Iterator[int]:
    """A fake engine while this lasts; its port."""
    with serving("tests.bench.fake_engine") as one:
        yield int(one.line)


async def _main() -> None:
    replica = _Idle()
    await serve(lambda: _Connection(replica))


if __name__ == "__main__":
    uvloop.run(_main())
