"""An engine that answers whatever it is asked, at once: a process of its own, for what is sent to a gateway by the ten thousands.

Prints its port, and ends when its standard input does. An answer of many bytes is asked for with `"seed": MIB`.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

from tests.bench.fake_server import content_length, serve
from tests.bench.process import serving
from tests.wire_format import LAST, Stream, chunk, event, vllm_error

_HEAD = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\n"
_STREAM = _HEAD + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_JSON = _HEAD + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_BAD = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_OF = Stream("fake")
_ANSWER = b'{"id":"x","object":"chat.completion","created":1,"model":"fake","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
#: The size of one event of a long answer.
_LONG = 1 << 14


_LLAMA, _MANY = chunk(event(" llama", ids=[1], of=_OF)), chunk(event("x" * _LONG, ids=[1], of=_OF))
_END = chunk(event("", "stop", [1], _OF)) + chunk(LAST) + chunk(b"")


class _Connection(asyncio.Protocol):
    """One connection of a gateway: one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = bytearray()
        self._room = asyncio.Event()
        self._room.set()
        self._streaming: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, ended, _ = self._received.partition(b"\r\n\r\n")
        if not ended:
            return
        whole = len(head) + 4 + content_length(head)
        if len(self._received) >= whole:
            body = bytes(self._received[len(head) + 4 : whole])
            self._received.clear()
            self._answer(body)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._streaming is not None:
            self._streaming.cancel()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def _answer(self, body: bytes) -> None:
        try:
            asked: Any = json.loads(body) if body else {}
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            error = json.dumps(vllm_error(400, "The engine got what is no JSON object.")).encode()
            self._transport.write(_BAD % (len(error), error))
        elif asked.get("stream"):
            self._streaming = asyncio.get_running_loop().create_task(self._stream(asked.get("seed")))
        else:
            self._transport.write(_JSON % (len(_ANSWER), _ANSWER))

    async def _stream(self, mib: object) -> None:
        self._transport.write(_STREAM + _LLAMA)
        events = (mib << 20) // _LONG if isinstance(mib, int) and 0 < mib <= 64 else 0
        for _ in range(events):
            await self._room.wait()
            self._transport.write(_MANY)
        self._transport.write(_END)


@contextlib.contextmanager
def fake_engine() -> Iterator[int]:
    """A fake engine while this lasts; its port."""
    with serving("tests.hostile.fake_engine") as one:
        yield int(one.line)


if __name__ == "__main__":
    asyncio.run(serve(_Connection))
