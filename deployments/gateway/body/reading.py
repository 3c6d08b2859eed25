"""A request's body as a mapping, however large it is, while all other requests go on.

Decides how a body is decoded; whether it may be, by `policy.body.structure` and by the model that it names. A decoder's call cannot be
interrupted, not even by another thread, so that a large body is decoded value by value, and others have their turn in between.
"""

import asyncio
from typing import Any

import msgspec

from configs.requests import Requests
from deployments.gateway.body.turns import Turns
from deployments.policy.body.bounds import MIB
from deployments.policy.body.sizes import CHARACTERS_PER_TOKEN
from deployments.policy.body.structure import FEW_NUMBERS, Structure, is_simple, pieces
from deployments.policy.errors.client_errors import BadRequest, BodyTooLarge
from deployments.policy.request.calls import INVALID, decoded, model_of
from deployments.policy.request.served_models import Catalog

#: Up to this a body is decoded at once: a millisecond, whatever is in it.
SMALL = 64 << 10
#: Bytes whose structure is counted at a time: at most 10 ms.
PIECE = 256 << 10
#: Beyond this, value by value. Text and images take 1 to 3 ms per MiB.
LARGE = 4 * MIB
#: Where images stand: messages, a message, its content, a part, its address.
LEVELS = 6
#: Bytes of a value that is decoded at once.
STEP = 1 << 20
#: Bytes of a number and the spaces around it.
NUMBER = 16


def read_small(raw: bytes, catalog: Catalog) -> dict[str, Any]:
    """Decodes a body of at most `SMALL` bytes.

    Raises:
        BadRequest: it is no JSON object, nested too deep, or has too many numbers that take long to decode.
        UnknownModel: no model is called as it says.
    """
    if not is_simple(raw):
        _weigh(raw, Structure())
    body = decoded(raw)
    catalog.check_name(body.get("model"))
    return body


async def read(raw: bytes, catalog: Catalog, requests: Requests) -> dict[str, Any]:
    """Decodes a larger body.

    Raises:
        BadRequest: it is no JSON object, nested too deep, or of more parts than the config allows.
        BodyTooLarge: one text in it, or all the spaces between its values, are longer than the config allows.
        UnknownModel: no model is called as it says; found before the rest is decoded.
    """
    await _weighed(raw, catalog, requests)
    if len(raw) <= LARGE:
        catalog.check_name(model_of(raw))
        return decoded(raw)
    try:
        members = _members(raw)
        catalog.check_name(msgspec.json.decode(members.get("model", b"null")))
        return await _values(members, 1, Turns())
    except msgspec.ValidationError as error:
        raise BadRequest("The body must be a JSON object.", code="invalid_json") from error
    except INVALID as error:
        raise BadRequest(f"The body is not JSON: {error}.", code="invalid_json") from error


def _weigh(piece: bytes, structure: Structure) -> None:
    structure.feed(piece)
    if structure.too_deep:
        raise BadRequest("The body is nested too deep: no more than 64 lists and objects may stand inside each other.", code="invalid_json")
    if structure.slow_numbers > FEW_NUMBERS:
        raise BadRequest(
            f"The body has more than {FEW_NUMBERS} numbers with an exponent or of hundreds of digits. Write numbers without exponents, "
            "or send fewer.",
            code="request_too_large",
        )


async def _weighed(raw: bytes, catalog: Catalog, requests: Requests) -> None:
    structure = Structure()
    longest = max(model.context_tokens for model in catalog.models)
    values = requests.structure + longest  # a prompt in token ids is one long list of numbers
    escapes = requests.structure + longest * CHARACTERS_PER_TOKEN
    for piece in pieces(raw, PIECE):
        _weigh(piece, structure)
        if structure.built > requests.structure or structure.separators > values or structure.escapes > escapes:
            raise BadRequest(
                f"The body has more than {requests.structure} lists, objects and strings, or more than any prompt fills. "
                "Send less in one request.",
                code="request_too_large",
            )
        if max(structure.longest, structure.outside - NUMBER * structure.separators) > requests.text_mib * MIB:
            raise BodyTooLarge(requests.text_mib)
        await asyncio.sleep(0)


def _members(raw: Any) -> dict[str, Any]:  # noqa: ANN401
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


async def _gently(raw: Any, level: int, turns: Turns) -> Any:  # noqa: ANN401
    """Decodes a value; a large one from its parts.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    await turns.worked(len(raw))
    if len(raw) <= STEP:
        return msgspec.json.decode(raw)
    first = bytes(memoryview(raw)[:1])
    if level == LEVELS or first not in (b"{", b"["):
        return msgspec.json.decode(raw)
    if first == b"{":
        return await _values(_members(raw), level + 1, turns)
    return await _list(raw, level + 1, turns)


async def _values(members: dict[str, Any], level: int, turns: Turns) -> dict[str, Any]:
    return {name: await _gently(value, level, turns) for name, value in members.items()}


async def _list(raw: Any, level: int, turns: Turns) -> list[Any]:  # noqa: ANN401
    if b'"' not in bytes(memoryview(raw)[:PIECE]):
        text = bytes(raw)
        if text.count(b"[") == 1 and b'"' not in text and b"{" not in text:
            return await _numbers(text)
    return [await _gently(value, level, turns) for value in msgspec.json.decode(raw, type=list[msgspec.Raw])]


async def _numbers(text: bytes) -> list[Any]:
    """Decodes a list that holds no other lists, objects or strings: it can be cut at every comma."""
    values: list[Any] = []
    begin, last = 1, text.rindex(b"]")
    while begin <= last:
        end = text.find(b",", begin + PIECE, last)
        end = last if end < 0 else end
        values += msgspec.json.decode(b"[%b]" % text[begin:end])
        await asyncio.sleep(0)
        begin = end + 1
    return values
