"""A streamed answer with token ids, as vLLM writes it for gateways, whole and broken off."""

from tests.path.fake_engine import Script, then_breaks
from tests.path.herd import LLAMA
from tests.wire_format import LAST, Stream, chunk, error_event, event, usage


def said(number: int, created: int = 1, finish: str | None = None, ids: bool = True) -> bytes:
    """An event with or without token ids."""
    return event(f"{number} ", finish, [number] if ids else None, Stream(LLAMA, created, tells_usage=True))


def answer(count: int = 6, created: int = 1, ids: bool = True) -> list[bytes]:
    """A whole stream."""
    events = [said(number, created, "stop" if number == count - 1 else None, ids) for number in range(count)]
    return [*events, usage(3, count, Stream(LLAMA, created, tells_usage=True)), LAST]


def chunks(pieces: list[bytes]) -> bytes:
    return b"".join(map(chunk, pieces))


def breaking(after: int, *more: bytes) -> Script:
    return then_breaks(chunks(answer()[:after]), *more)


FAILURE = error_event(500, "EngineCore died")
WHOLE = b"".join(answer(ids=False))
