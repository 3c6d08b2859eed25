"""The errors of a request's validation, in one short sentence.

Decides which of pydantic's errors are worth telling. A value that may have many forms (a message, an item, a tool) has an error for each
form that it does not have, most of them about forms that nobody meant; and pydantic shows the value with each. This module tells the few
errors that are deepest inside the request, without the values.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: Errors that are told, and the longest text of one.
MOST_ERRORS, MOST_CHARS = 4, 300

#: A part of a location that a client knows: the name of a field, or a place in a list. Others name Python's types and functions.
_FIELD = re.compile(r"[a-z_][a-z0-9_]*")
_NOT_FIELDS = frozenset(
    {"body", "str", "int", "float", "bool", "bytes", "dict", "list", "tuple", "set", "none", "nullable", "union", "default"}
)
#: Fields whose value says which form is meant.
_MARKS = frozenset({"type", "role", "object"})


def summary(errors: Sequence[object]) -> tuple[str, str | None]:
    """Returns a sentence of at most about 1.5 KB that tells the first few errors, and the field of the first one.

    Args:
        errors: as pydantic's `ValidationError.errors()` returns them; FastAPI adds texts of its own.
    """
    texts = [error for error in errors if isinstance(error, str)]
    found = [error for error in errors if isinstance(error, Mapping)]
    told = list(dict.fromkeys(_told(error) for error in _meant(found)))[:MOST_ERRORS]
    sentences = [_short(text) for text in texts[:MOST_ERRORS]] + [f"{field}: {message}" if field else message for field, message in told]
    param = told[0][0] if told else ""
    return "; ".join(sentences) or "The request has not the form that this endpoint takes.", param or None


def _meant(errors: Sequence[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """The errors inside the forms that were meant, the deepest first."""
    others = tuple({_loc(error)[:-1] for error in errors if error.get("type") == "literal_error" and _loc(error)[-1:] in _ENDS})
    meant = [error for error in errors if not any(_loc(error)[: len(other)] == other for other in others)]
    return sorted(meant or errors, key=lambda error: -len(_loc(error)))


_ENDS = frozenset((mark,) for mark in _MARKS)


def _told(error: Mapping[str, Any]) -> tuple[str, str]:
    if error.get("type") == "json_invalid":
        return "", "The body is not JSON."
    fields = [str(part) for part in _loc(error) if isinstance(part, int) or _is_field(part)]
    return ".".join(fields), _short(str(error.get("msg", "is not valid")).removeprefix("Value error, "))


def _loc(error: Mapping[str, Any]) -> tuple[Any, ...]:
    loc = error.get("loc")
    return tuple(loc) if isinstance(loc, list | tuple) else ()


def _is_field(part: object) -> bool:
    return isinstance(part, str) and part not in _NOT_FIELDS and _FIELD.fullmatch(part) is not None


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARS else text[:MOST_CHARS] + "…"
