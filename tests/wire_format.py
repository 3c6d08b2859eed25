"""An engine's bytes as vLLM 0.29 and uvicorn write them, for fake engines and tests to write the same.

`tests/alone/test_seams_events.py` holds the events against vLLM's own serving code, `tests/alone/test_seams_uvicorn.py` the chunks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

#: The last event of a stream of chat or completions.
LAST = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Stream:
    """What all events of a stream of chat or completions share."""

    model: str = "herd/llama"
    created: int = 1
    id: str = "chatcmpl-1"
    is_chat: bool = True
    tells_usage: bool = False
    """The client asked for an event that tells how many tokens the answer took."""
    fingerprint: str = "vllm-0.29.0-12345678"
    """Of the engine; it stands in the last event that has content."""

    def write(self, choices: Sequence[dict[str, Any]], **more: Any) -> bytes:
        """Writes an event with these choices."""
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        body = {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}
        return b"data: " + msgspec.json.encode(body | more) + b"\n\n"


CHAT = Stream()
COMPLETION = Stream(id="cmpl-1", is_chat=False)


def opening(of: Stream = CHAT, prompt_ids: Sequence[int] | None = None) -> bytes:
    """Writes the first event of a chat, which says nothing.

    Args:
        of: the stream.
        prompt_ids: the prompt's tokens, for a client that asked for token ids.
    """
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    return of.write([choice], prompt_token_ids=prompt_ids, prompt_text=None)


def event(
    content: str | dict[str, Any] = "llama",
    finish: str | None = None,
    ids: Sequence[int] | None = None,
    of: Stream = CHAT,
    **more: Any,
) -> bytes:
    """Writes an event of tokens.

    Args:
        content: the text, or a chat's delta: `{}` where nothing can be shown yet.
        finish: why the answer ends here.
        ids: the tokens, for a client that asked for token ids.
        of: the stream.
        more: `stop_reason`, `logprobs`, `index`; in completions `prompt_ids`, for a client that asked for token ids.
    """
    said: dict[str, Any] = {"text": content}
    if of.is_chat:
        said = {"delta": {"content": content} if isinstance(content, str) else content}
    choice = {"index": more.get("index", 0)} | said | {"logprobs": more.get("logprobs"), "finish_reason": finish}
    if finish is not None or not of.is_chat:
        choice["stop_reason"] = more.get("stop_reason")
    if not of.is_chat:
        choice["prompt_token_ids"] = more.get("prompt_ids")
    fingerprint = {"system_fingerprint": of.fingerprint} if finish is not None and not of.tells_usage else {}
    return of.write([choice | {"token_ids": ids}], **fingerprint)


def usage(prompt: int, completion: int, of: Stream = CHAT) -> bytes:
    """Writes the event that tells how many tokens an answer took, for a client that asked for it."""
    told = {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}
    return of.write((), usage=told, system_fingerprint=of.fingerprint)


def vllm_error(status: int, message: str, param: str | None = None, kind: str = "BadRequestError") -> dict[str, Any]:
    """Makes a refusal in vLLM's shape: the HTTP status is the code."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def error_event(status: int, message: str, param: str | None = None, kind: str = "InternalServerError") -> bytes:
    """Writes the event of an error inside a stream of chat or completions, which has spaces in it."""
    return b"data: " + json.dumps(vllm_error(status, message, param, kind)).encode() + b"\n\n"


#: How a stream ends that nothing is wrong with: the reason for its end, then the end.
DONE = event("", "stop") + LAST


def chunk(data: bytes) -> bytes:
    """Frames a piece of an answer; nothing is the answer's end."""
    return b"%x\r\n%b\r\n" % (len(data), data)
