"""A client that reads what it is told: the text of an answer and its usage, streamed or not."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp


class Failed(Exception):
    """No whole answer came; the message says what did."""

    def __init__(self, status: int, message: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    text: str
    completion_tokens: int


@dataclass
class Tally:
    """What became of all requests."""

    requests: int = 0
    failed: int = 0
    wrong: int = 0
    """Answers with another text than undisturbed, or another number of tokens."""
    complaints: list[str] = field(default_factory=list)

    def complain(self, error: BaseException) -> None:
        """Keeps the beginning of what was said."""
        self.complaints.append(f"{type(error).__name__}: {error}"[:300])


def _nothing(_text: str) -> None: ...


async def answered(
    http: aiohttp.ClientSession, url: str, body: dict[str, Any], told: Callable[[str], None] = _nothing, **headers: str
) -> Answer:
    """Asks, and reads to the end.

    Args:
        http: the session.
        url: where, with the path.
        body: the request.
        told: called with each piece of a streamed text.
        headers: further ones; underscores stand for hyphens.

    Raises:
        Failed: it was refused, or told of an error in the middle.
        aiohttp.ClientError: the connection broke.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.post(url, json=body, headers=named) as response:
        if response.status != 200:
            after = response.headers.get("retry-after")
            raise Failed(response.status, await response.text(), int(after) if after else None)
        if not body.get("stream"):
            whole = await response.json()
            return Answer(_text(whole["choices"]), whole["usage"]["completion_tokens"])
        return await _streamed(response, told)


async def _streamed(response: aiohttp.ClientResponse, told: Callable[[str], None]) -> Answer:
    pieces, tokens, done = [], 0, False
    async for line in response.content:
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if "error" in event:
                raise Failed(200, event["error"]["message"])
            tokens = event["usage"]["completion_tokens"] if event.get("usage") else tokens
            if piece := _text(event["choices"]):
                pieces.append(piece)
                told(piece)
        done = done or line.startswith(b"data: [DONE]")
    if not done:
        raise Failed(200, "the stream ended before its end")
    return Answer("".join(pieces), tokens)


def _text(choices: list[dict[str, Any]]) -> str:
    return "".join((one.get("delta") or one.get("message") or one).get("content") or one.get("text") or "" for one in choices)
