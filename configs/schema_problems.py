"""Tells what the schema refuses, by the field's path and with the values that are allowed.

Decides the words. Which values are allowed is the schema's.
"""

from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from configs.overlays import EXTENDS
from configs.problems import Problem, hint
from configs.provenance import path_of
from configs.schema import Config

_SECTION, _LIST = "must be a section, with its fields below it or in braces", "must be a list: each item behind a dash, or in brackets"
#: The words for pydantic's kinds of values, which have names of Python's.
FORMS = {"model_type": _SECTION, "dict_type": _SECTION, "tuple_type": _LIST, "list_type": _LIST}


def told(detail: Mapping[str, Any]) -> Problem:
    """Returns one of pydantic's errors as a problem."""
    location: tuple[int | str, ...] = detail["loc"]
    named = location[:-1] if location[-1:] == ("[key]",) else location  # pydantic's mark for a key that is wrong itself
    return Problem(path_of(named), _message(detail, named))


def _message(detail: Mapping[str, Any], location: tuple[int | str, ...]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_field(str(location[-1]), fields_at(Config, location[:-1]), (EXTENDS,) if len(location) == 1 else ())
        case "missing":
            return "is required"
        case "value_error":
            return str(detail["ctx"]["error"])
        case "string_pattern_mismatch":
            means = f"{description} " if (description := _description(location)) else ""
            return f"is not of the right form (got {_short(detail['input'])}). {means}It must match {detail['ctx']['pattern']}"
        case _:
            said = FORMS.get(detail["type"]) or f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
            return f"{said} (got {_short(detail['input'])})"


def _unknown_field(name: str, allowed: Iterable[str], more: Iterable[str]) -> str:
    """Tells the fields that are allowed; `more` may be meant too."""
    allowed = sorted(allowed)
    return f"unknown field; {hint(name, [*allowed, *more])}allowed here: {', '.join(allowed)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def fields_at(schema: type[BaseModel], location: Iterable[int | str]) -> tuple[str, ...]:
    """Returns the names of the fields at a place in the schema: `("models", 0, "scaling")` gives those of `Scaling`."""
    for field in _way(schema, location):
        schema = _model_in(field.annotation)
    return tuple(schema.model_fields)


def _description(location: Iterable[int | str]) -> str | None:
    """Returns the description of the field at a place, or of the one that the place is in."""
    return [field.description for field in _way(Config, location)][-1]


def _way(schema: type[BaseModel], location: Iterable[int | str]) -> Iterator[FieldInfo]:
    """Yields the fields on the way to a place, without indices of lists and keys of mappings."""
    key_is_next = False
    for part in location:
        if key_is_next:
            key_is_next = False
        elif isinstance(part, str):
            yield (field := schema.model_fields[part])
            key_is_next = get_origin(field.annotation) is dict
            schema = _model_in(field.annotation)


def _model_in(annotation: Any) -> type[BaseModel]:  # noqa: ANN401 (annotations have no common type)
    """Returns the one pydantic model inside `X`, `X | None`, `tuple[X, ...]` or `dict[str, X]`."""
    if get_origin(annotation) is dict:
        return _model_in(get_args(annotation)[1])
    if get_origin(annotation) in (Union, UnionType, tuple):
        inner = [part for part in get_args(annotation) if part not in (NoneType, Ellipsis)]
        return _model_in(inner[0])
    model: type[BaseModel] = annotation
    return model
