"""A streamed answer with token ids, as vLLM writes it for gateways, whole and broken off."""

import json

from tests.path.fake_engine import LAST, Script, then_breaks
from tests.path.herd import LLAMA


def said(number: int, created: int = 1, finish: str | None = None, ids: bool = True) -> bytes:
    """An event as vLLM writes it, with or without token ids."""
    choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": finish, "token_ids": [number] if ids else None}
    body = {"id": "chatcmpl-1", "created": created, "model": LLAMA, "choices": [choice]}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def answer(count: int = 6, created: int = 1, ids: bool = True) -> list[bytes]:
    """A whole stream."""
    events = [said(number, created, "stop" if number == count - 1 else None, ids) for number in range(count)]
    usage = b'data: {"id":"chatcmpl-1","created":%d,"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":%d}}\n\n'
    return [*events, usage % (created, count), LAST]


def chunks(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def breaking(after: int, *more: bytes) -> Script:
    return then_breaks(chunks(answer()[:after]), *more)


FAILURE = b'data: {"error": {"message": "EngineCore died", "type": "InternalServerError", "param": null, "code": 500}}\n\n'
WHOLE = b"".join(answer(ids=False))
