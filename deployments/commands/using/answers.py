"""Asks an endpoint for an answer and yields it as it is generated, with its figures at the end."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

#: The last event of a stream.
DONE = "data: [DONE]"


class ChatError(RuntimeError):
    """The endpoint refused, or broke off; the message is its own."""


@dataclass(slots=True)
class Answer:
    """An answer that is being generated. Times are in seconds since the request was sent."""

    text: str = ""
    tokens: int | None = None
    """As the endpoint counts them; None if the answer was stopped before it said so."""
    first_s: float | None = None
    last_s: float = 0.0
    finish: str | None = None
    pieces: int = 0

    def take(self, event: dict[str, Any], at_s: float) -> str:
        """Takes one event of the stream; returns the text in it.

        Raises:
            ChatError: it is an error.
        """
        if "error" in event:
            raise ChatError(_of_error(event["error"]))
        if usage := event.get("usage"):
            self.tokens = usage.get("completion_tokens")
        choice = (event.get("choices") or [{}])[0]
        self.finish = choice.get("finish_reason") or self.finish
        piece: str = choice.get("delta", {}).get("content") or ""
        if piece:
            self.first_s = at_s if self.first_s is None else self.first_s
            self.last_s, self.pieces = at_s, self.pieces + 1
            self.text += piece
        return piece


def generated(client: httpx.Client, body: dict[str, Any], answer: Answer, clock: Callable[[], float] = time.monotonic) -> Iterator[str]:
    """Yields the answer's text, piece by piece, and fills in `answer`. If it is left early, the connection is closed.

    Args:
        client: of the endpoint.
        body: the request, without what makes it a stream.
        answer: an empty one.
        clock: gives seconds.

    Raises:
        ChatError: the endpoint cannot be reached, refused the request, or broke off.
    """
    asked = body | {"stream": True, "stream_options": {"include_usage": True}}
    began, ended = clock(), False
    try:
        with client.stream("POST", "/v1/chat/completions", json=asked) as response:
            if response.status_code != 200:
                response.read()
                raise ChatError(_refusal(response))
            for line in response.iter_lines():
                ended = ended or line == DONE
                if line.startswith("data: {") and (piece := answer.take(json.loads(line[6:]), clock() - began)):
                    yield piece
    except httpx.HTTPError as error:
        said = str(error) or type(error).__name__
        raise ChatError(f"{client.base_url} {'broke off' if answer.pieces else 'cannot be reached'}: {said}") from error
    except json.JSONDecodeError as error:
        raise ChatError(f"{client.base_url} sent an event that is not JSON.") from error
    if not ended:
        raise ChatError(f"{client.base_url} broke off in the middle of the answer.")


def figures(answer: Answer) -> str:
    """Tells how long an answer is and how fast it came, in one line: `24 tokens, the first after 0.05 s, then 31 tokens/s`.

    The rate is that of all tokens behind the first. Tokens that the endpoint has not counted are the pieces of the stream, and `about`.
    """
    if answer.first_s is None:
        return "nothing was said"
    count = answer.tokens if answer.tokens is not None else answer.pieces
    told = (
        f"{'' if answer.tokens is not None else 'about '}{count} token{'' if count == 1 else 's'}, the first after {answer.first_s:.2f} s"
    )
    took_s = answer.last_s - answer.first_s
    rate = f", then {(count - 1) / took_s:,.0f} tokens/s" if count > 1 and took_s > 0 else ""
    return f"{told}{rate}{'; cut off by the longest answer that is allowed' if answer.finish == 'length' else ''}"


def _refusal(response: httpx.Response) -> str:
    try:
        return _of_error(response.json()["error"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code}"


def _of_error(error: Any) -> str:  # noqa: ANN401 (whatever the endpoint sent)
    return str(error.get("message", "the engine failed")) if isinstance(error, dict) else str(error)
