"""A body as JSON again, where something in it had to be changed, while all other requests go on."""

from typing import Any

import msgspec

from deployments.gateway.body.turns import Turns

#: Bytes of a body that is encoded at once: at most 5 ms.
LARGE = 4 << 20
#: Numbers that are encoded at once.
NUMBERS = 10_000


async def written(body: dict[str, Any], size: int) -> bytes:
    """Encodes a body.

    Args:
        body: the decoded body, as it shall be.
        size: bytes of the body as it came.
    """
    if size <= LARGE:
        return msgspec.json.encode(body)
    pieces: list[bytes] = []
    await _write(body, pieces, Turns())
    return b"".join(pieces)


async def _write(value: Any, pieces: list[bytes], turns: Turns) -> None:  # noqa: ANN401 (whatever a client sent)
    if isinstance(value, dict) and value:
        await _write_object(value, pieces, turns)
    elif isinstance(value, list) and value:
        await _write_list(value, pieces, turns)
    else:
        pieces.append(msgspec.json.encode(value))
        await turns.worked(len(pieces[-1]))


async def _write_object(value: dict[str, Any], pieces: list[bytes], turns: Turns) -> None:
    before = b"{"
    for name, inner in value.items():
        pieces.append(b"%b%b:" % (before, msgspec.json.encode(name)))
        before = b","
        await _write(inner, pieces, turns)
    pieces.append(b"}")


async def _write_list(value: list[Any], pieces: list[bytes], turns: Turns) -> None:
    numbers = {str, list, dict}.isdisjoint(map(type, value))
    before = b"["
    for begin in range(0, len(value), NUMBERS if numbers else 1):
        pieces.append(before)
        before = b","
        if numbers:
            pieces.append(msgspec.json.encode(value[begin : begin + NUMBERS])[1:-1])
            await turns.worked(len(pieces[-1]))
        else:
            await _write(value[begin], pieces, turns)
    pieces.append(b"]")
