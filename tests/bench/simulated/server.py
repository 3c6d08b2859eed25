"""Simulated engines behind HTTP, each on a port of its own: what vLLM's server says, at the time at which a GPU would say it.

An answer's tokens follow from its prompt alone, as a greedy engine's do, and a request that carries delivered tokens goes on behind them.
Serves `/v1/chat/completions` and `/v1/completions`, streamed and not, `/v1/models`, `/health`, `/metrics` with vLLM's names, and `/-/load`
with a replica's report to the gateways. Time can run faster than real: then a stream comes in two pieces, the first token and all others.
Prints its ports, and ends when its standard input does.
"""

import argparse
import asyncio
import json
import sys
import zlib
from collections.abc import Sequence
from typing import Any

import httptools
import msgspec

from deployments.policy.request.prompt_blocks import BYTES_PER_TOKEN
from deployments.policy.request.resume import GROUPS, TOKENS
from deployments.policy.routing import prompt_gossip as sent
from deployments.simulation.engine.request import Request, Size
from tests.bench import reporting
from tests.bench.simulated.cluster import MODEL
from tests.bench.simulated.engine import Engine, Headed
from tests.wire_format import LAST, Stream, chunk, event, usage

_JSON = b"application/json"
_DEFAULT_TOKENS = 16
_VOCABULARY = 50_000
_STREAMS = {is_chat: Stream(MODEL, 0, "chatcmpl-simulated", is_chat, tells_usage=True) for is_chat in (True, False)}


class _Exchange(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._request: Request | None = None
        self._new()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._request is not None:
            self._engine.abort(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == sent.HEADER:
            self._told = value

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        path, _, query = self._path.decode().partition("?")
        told, body, method = self._told, b"".join(self._body), self._parser.get_method()
        self._new()
        if method == b"POST" and path in ("/v1/chat/completions", "/v1/completions"):
            self._complete(msgspec.json.decode(body), told, chat="chat" in path)
        elif path == "/metrics":
            self._reply(200, self._engine.metrics(), b"text/plain; version=0.0.4")
        elif path == "/health":
            self._reply(200, b"")
        elif path == "/-/load":
            reporting.answer(self._engine.reports, query.encode(), self._transport)
        elif path == "/v1/models":
            card = {
                "id": MODEL,
                "object": "model",
                "created": 0,
                "owned_by": "simulated",
                "max_model_len": self._engine.scheduler.size.kv_tokens,
            }
            self._reply(200, msgspec.json.encode({"object": "list", "data": [card]}))
        else:
            self._reply(404, b'{"error":{"message":"Not Found","type":"NotFoundError","code":404}}')

    def _new(self) -> None:
        self._path = self._told = b""
        self._body: list[bytes] = []
        self._parser = httptools.HttpRequestParser(self)

    def _complete(self, asked: dict[str, Any], told: bytes, chat: bool) -> None:
        prompt = rendered(asked)
        answer = _Answer(self, asked, chat, prompt)
        try:
            left = answer.resume(asked.get("vllm_xargs") or {})
            if left:
                headed = Headed(asked.get("priority") or 0, told)
                self._request = self._engine.submit(prompt + b" " * BYTES_PER_TOKEN * answer.said, left, headed, answer.tell)
        except ValueError as error:
            self._reply(400, msgspec.json.encode({"error": {"message": str(error), "type": "BadRequestError", "code": 400}}))

    def _reply(self, status: int, body: bytes, kind: bytes = _JSON) -> None:
        self.write(b"HTTP/1.1 %d OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, kind, len(body), body))

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def reply_with(self, answer: dict[str, Any]) -> None:
        self._reply(200, msgspec.json.encode(answer))


class _Answer:
    """What one request is told, as it is told it."""

    def __init__(self, exchange: _Exchange, asked: dict[str, Any], chat: bool, prompt: bytes) -> None:
        self.said = 0
        self._exchange = exchange
        self._stream, self._ids = bool(asked.get("stream")), bool(asked.get("return_token_ids"))
        self._usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        self._wanted = asked.get("max_completion_tokens") or asked.get("max_tokens") or _DEFAULT_TOKENS
        self._chat = chat
        self._prompt_tokens = len(prompt) // BYTES_PER_TOKEN
        self._key = zlib.crc32(prompt)
        self._open = False

    def resume(self, given: dict[str, Any]) -> int:
        """Says again what another engine had said; how many tokens are left.

        Raises:
            ValueError: this engine would have said something else.
        """
        delivered = given.get(TOKENS, [])
        if delivered != tokens_of(self._key, 0, len(delivered)):
            raise ValueError("these are not the tokens of this prompt")
        for count in given.get(GROUPS, ()):
            self._say(count, self.said + count == self._wanted)
        return self._wanted - self.said

    def tell(self, tokens: int, last: bool) -> None:
        """So many tokens more, or all the rest."""
        self._say(self._wanted - self.said if last else tokens, last)

    def _say(self, count: int, last: bool) -> None:
        tokens = tokens_of(self._key, self.said, count)
        self.said += count
        if self._stream:
            self._stream_on(tokens, last)
        elif last:
            self._exchange.reply_with(self._whole(tokens_of(self._key, 0, self.said)))

    def _stream_on(self, tokens: list[int], last: bool) -> None:
        if not self._open:
            self._open = True
            self._exchange.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n")
        of = _STREAMS[self._chat]
        if tokens:
            self._exchange.write(chunk(event(text_of(tokens), "length" if last else None, tokens if self._ids else None, of)))
        if last:
            if self._usage:
                self._exchange.write(chunk(usage(self._prompt_tokens, self.said, of)))
            self._exchange.write(chunk(LAST) + chunk(b""))

    def _whole(self, tokens: list[int]) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length", "token_ids": tokens if self._ids else None}
        choice |= {"message": {"role": "assistant", "content": text_of(tokens)}} if self._chat else {"text": text_of(tokens)}
        kind = "chat.completion" if self._chat else "text_completion"
        return {"id": "chatcmpl-simulated", "object": kind, "created": 0, "model": MODEL, "choices": [choice], "usage": self._used()}

    def _used(self) -> dict[str, int]:
        return {"prompt_tokens": self._prompt_tokens, "completion_tokens": self.said, "total_tokens": self._prompt_tokens + self.said}


def tokens_of(key: int, begin: int, count: int) -> list[int]:
    """The tokens that follow a prompt of this key (its CRC-32), from one place on: any numbers, but always the same."""
    return [zlib.crc32(b"%d" % place, key) % _VOCABULARY for place in range(begin, begin + count)]


def text_of(tokens: Sequence[int]) -> str:
    """What a client reads of them."""
    return "".join(f" {token}" for token in tokens)


def rendered(asked: dict[str, Any]) -> bytes:
    """The prompt as a template would write it; only text."""
    if "prompt" in asked:
        return str(asked["prompt"]).encode()
    return "".join(f"<|{message.get('role')}|>{message.get('content')}" for message in asked.get("messages", ())).encode()


async def _serve(replicas: int, size: Size, scale: float, port: int) -> None:
    loop = asyncio.get_running_loop()
    engines = [Engine(size, scale) for _ in range(replicas)]
    running = []
    for engine in engines:
        server = await loop.create_server(lambda engine=engine: _Exchange(engine), "127.0.0.1", port, backlog=1024)  # type: ignore[misc]
        engine.port = server.sockets[0].getsockname()[1]
        running.append(asyncio.create_task(engine.run()))
    print(json.dumps([engine.port for engine in engines]), flush=True)
    ended = loop.run_in_executor(None, sys.stdin.read)
    await asyncio.wait([ended, *running], return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        if task.done():
            task.result()  # what broke it, for everybody to see
        task.cancel()


def main() -> None:
    """Serves until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--kv-tokens", type=int, default=400_000)
    parser.add_argument("--block-tokens", type=int, default=512)
    parser.add_argument("--step-tokens", type=int, default=1024)
    parser.add_argument("--scale", type=float, default=1.0, help="how many times faster than real")
    parser.add_argument("--sequences", type=int, default=256, help="requests that one engine runs at once")
    parser.add_argument("--port", type=int, default=0, help="of a single replica; 0: any that is free")
    asked = parser.parse_args()
    size = Size(asked.kv_tokens, asked.block_tokens, asked.step_tokens, asked.sequences)
    asyncio.run(_serve(asked.replicas, size, asked.scale, asked.port))


if __name__ == "__main__":
    main()
