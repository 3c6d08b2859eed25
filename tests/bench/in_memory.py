"""A gateway whose clients and engines are in its own process, without sockets: what is left is the gateway's own work.

Decides what is asked: a chat request as a client sends it, and an engine's answer to it, whole or as a stream.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

from configs.schema import Limits
from deployments.wire.client.connection import ClientConnection
from deployments.wire.engine.connection import Connection
from deployments.wire.types import Address
from tests.path.fake_engine import FakeEngine
from tests.path.herd import LLAMA, Herd, herd_of
from tests.wire_format import LAST, Stream, chunk, event, usage

#: About 5,000 tokens.
LONG = "Tell me all that you know about llamas. " * 500
_OF = Stream("bench", 1795000000, "chatcmpl-0123456789abcdef0123456789abcdef", tells_usage=True)
_SERVER = b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n"
_JSON = (
    b'{"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion","created":1795000000,"model":"bench","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":" llama","tool_calls":[]},"logprobs":null,"finish_reason":"length"}],'
    b'"usage":{"prompt_tokens":12,"total_tokens":13,"completion_tokens":1}}'
)
ANSWER = _SERVER + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_JSON), _JSON)
ANSWER_BODY = _JSON
STREAM_HEAD = _SERVER + b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK = chunk(event(" llama", ids=[94776], of=_OF))
STREAM_END = b"".join(map(chunk, (event(" llama", "length", [94776], _OF), usage(12, 2, _OF), LAST, b"")))


def body(text: str = "000123 Tell me about llamas.", stream: bool = False) -> dict[str, Any]:
    """A chat request, as `tests.bench.load` sends it."""
    asked: dict[str, Any] = {"model": LLAMA, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
    asked |= {"temperature": 0, "ignore_eos": True}
    return asked | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})


def request(asked: dict[str, Any]) -> bytes:
    """Its bytes."""
    raw = json.dumps(asked).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
        b"User-Agent: Python/3.11 aiohttp/3.14.1\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n%b" % (len(raw), raw)
    )


ADDRESS = Address("127.0.0.1", 9001)


class Transport:
    """What stands for a socket: hands on what is written."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.write = take

    def get_extra_info(self, name: str) -> Any:
        """The peer, or a socket that takes every option."""
        return ("127.0.0.1", 1) if name == "peername" else SimpleNamespace(setsockopt=lambda *option: None)

    def is_closing(self) -> bool:
        """Never."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


def engine_connection(herd: Herd, take: Callable[[bytes], None], address: Address = ADDRESS) -> Connection:
    """A connection to an engine that hands on what the engine is sent."""
    made = Connection(address, herd.serving.engines._pool)
    made.connection_made(cast(asyncio.Transport, Transport(take)))
    return made


class Client:
    """A client, and the engines that answer its requests; those of a client before it answer no more."""

    def __init__(self, herd: Herd, answer: tuple[bytes, ...] = (ANSWER,)) -> None:
        """Args:
        herd: the gateway.
        answer: the pieces in which engines answer.
        """
        self._loop = asyncio.get_running_loop()
        self._answer = answer
        self._herd = herd
        self._end = b"0\r\n\r\n" if len(answer) > 1 else b""
        self._connection = ClientConnection(herd.serving.server)
        self._connection.connection_made(cast(asyncio.Transport, Transport(self._got)))
        self._left, self._asked = 0, b""
        self._done = self._loop.create_future()
        herd.serving.engines.close()  # connections whose engines answer otherwise
        herd.serving.engines._connect = self._connect  # type: ignore[method-assign]

    async def ask(self, asked: bytes, times: int) -> None:
        """Asks so often, one after the other, and reads the answers."""
        self._left, self._asked, self._done = times, asked, self._loop.create_future()
        self._connection.data_received(asked)
        await self._done

    async def _connect(self, address: Address) -> Connection:
        def said(_request: bytes) -> None:
            for piece in self._answer:
                self._loop.call_soon(connection.data_received, piece)

        connection = engine_connection(self._herd, said, address)
        return connection

    def _got(self, data: bytes) -> None:
        if not data.endswith(self._end):
            return
        self._left -= 1
        if self._left:
            self._loop.call_soon(self._connection.data_received, self._asked)
        else:
            self._done.set_result(None)


@contextlib.asynccontextmanager
async def gateway(replicas: int) -> AsyncIterator[Herd]:
    """A gateway that knows so many replicas."""
    engines = [cast(FakeEngine, SimpleNamespace(port=9001 + number)) for number in range(replicas)]
    async with herd_of(engines, Limits(), stop_s=1) as herd:
        yield herd
