"""The tables of the config's fields in `configs/README.md`, made from the schema: `python -m tests.tools.schema_table` writes them,
and the schema's copy for editors.

Decides how a field is shown: its name, its form, its default and bounds, its description. What the schema says is in `configs`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from configs.json_schema import schema_text
from configs.schema import Config
from tests.tools.documents import ROOT

PAGE, SCHEMA = ROOT / "configs" / "README.md", ROOT / "configs" / "herd.schema.json"
BEGIN, END = "<!-- fields: python -m tests.tools.schema_table -->\n", "<!-- /fields -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One field of the config, as the page shows it."""

    path: str
    form: str
    default: str
    description: str


def rows(schema: type[BaseModel], above: str = "") -> list[Row]:
    """Returns a row for each field of a schema and of the sections in it, in the schema's order."""
    found, sections = [], []
    for name, field in schema.model_fields.items():
        inner, is_list = _inside(field.annotation)
        path = f"{above}{name}"
        found.append(Row(path, _form(field, inner, is_list), _default(field), field.description or ""))
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            sections += rows(inner, f"{path}{'[]' if is_list else ''}.")
        if get_origin(inner) is dict and isinstance(value := get_args(inner)[1], type) and issubclass(value, BaseModel):
            sections += rows(value, f"{path}.NAME.")
    return found + sections


def table() -> str:
    """Returns the tables of all sections, in Markdown."""
    sections: dict[str, list[Row]] = {}
    for row in rows(Config):
        sections.setdefault(row.path.rpartition(".")[0], []).append(row)
    return "\n".join(_section(section, of_it) for section, of_it in sections.items())


def written(page: str) -> str:
    """Returns the page with the tables as they are now.

    Raises:
        ValueError: the page has no place for them.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN.strip()} … {END}")
    return before + begin + table() + end + after


def _section(section: str, of_it: list[Row]) -> str:
    title = f"### `{section}`" if section else "### The file itself"
    lines = (f"| `{row.path.rpartition('.')[2]}` | {row.form} | {row.default} | {row.description.replace('|', ' ')} |" for row in of_it)
    return "\n".join([title, "", "| field | form | default | |", "|---|---|---|---|", *lines]) + "\n"


def _inside(annotation: Any) -> tuple[Any, bool]:
    """Finds the type inside `X | None`, `Annotated[X, …]` and `tuple[X, ...]`, and whether it is a list of them."""
    if get_origin(annotation) is Annotated:
        return _inside(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _inside(next(part for part in get_args(annotation) if part is not NoneType))
    if get_origin(annotation) is tuple:
        return _inside(get_args(annotation)[0])[0], True
    return annotation, False


def _form(field: FieldInfo, inner: Any, is_list: bool) -> str:
    if get_origin(inner) is Literal:
        form = ", ".join(f"`{word}`" for word in get_args(inner))
        return f"list of {form}" if is_list else form
    names = {str: "text", bool: "true or false", int: "whole number", float: "number", dict: "mapping"}
    form = "section" if isinstance(inner, type) and issubclass(inner, BaseModel) else names.get(get_origin(inner) or inner, "text")
    return f"list of {form}s" if is_list else ", ".join([form, *_bounds(field)])


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        match bound:
            case Gt(gt=least):
                yield f"above {least:,}"
            case Ge(ge=least):
                yield f"from {least:,}"
            case Le(le=most):
                yield f"to {most:,}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or default in ((), {}) or isinstance(default, BaseModel):
        return ""
    shown = default if isinstance(default, str) else json.dumps(default, default=lambda section: section.model_dump(exclude_none=True))
    return "`" + re.sub(r"\s+", " ", shown) + "`"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
