"""The JSON Schema of a config, for editors and other tools: `herd schema`.

Decides what a file may say that is not a field: `extends`, notes (`x-…`), null that takes a field away, variables, `1M`. No field is
required but a model's `id`, because a file may be laid over another one; `herd validate` knows what is missing.
"""

import json
from typing import Any

from configs.overlays import EXTENDS, NOTE
from configs.schema import Config, Model
from configs.token_counts import FORM

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: A variable may stand where a field wants something else than a text.
VARIABLE = {"type": "string", "pattern": r"\$\{", "description": "A variable of the environment: ${NAME} or ${NAME:-default}."}
EXTENDED = {
    "description": "This file is laid over these files: names beside it, or herd:NAME for a config that comes with herd.",
    "anyOf": [{"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string", "minLength": 1}}],
}
BY_ID = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"$ref": "#/$defs/ModelByItsId"}, {"type": "null"}]},
    "description": "Over another file: models of that file by id or alias. null takes a model away.",
}


def json_schema() -> dict[str, Any]:
    """Returns the schema of one file, in the dialect 2020-12."""
    made = Config.model_json_schema(mode="validation")
    sections = made.pop("$defs")
    found = {name: _section(one) for name, one in sections.items()}
    found["Variable"] = VARIABLE
    found["ModelByItsId"] = {**found[Model.__name__], "required": []}
    found["Parallelism"] = {"anyOf": [{"const": "auto"}, found["Parallelism"]], "description": found["Parallelism"]["description"]}
    root = _section(made)
    root["properties"]["models"]["anyOf"].insert(1, BY_ID)
    root["properties"] = {EXTENDS: EXTENDED, **root["properties"]}
    title = {"title": "A herd", "description": "The config of a herd, as `herd up` takes it. Each field is in configs/README.md."}
    return {"$schema": DIALECT, **root, **title, "$defs": found}


def schema_text() -> str:
    """Returns the schema as a file has it."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _section(section: dict[str, Any]) -> dict[str, Any]:
    properties = {name: _field(name, one) for name, one in section["properties"].items()}
    kept = {key: value for key, value in section.items() if key not in ("required", "title")}
    return {
        **kept,
        "properties": properties,
        "patternProperties": {f"^{NOTE}": {"description": "A note, or values with an anchor: herd leaves it out."}},
        "required": ["id"] if section.get("title") == Model.__name__ else [],
    }


def _field(name: str, field: dict[str, Any]) -> dict[str, Any]:
    """Returns a field that may also be null, a variable where it is no plain text, and tokens as people write them."""
    told = {key: field[key] for key in ("description", "default") if key in field and not isinstance(field[key], dict | None)}
    form = {key: value for key, value in field.items() if key not in ("description", "default", "title")}
    if "patternProperties" in form:  # variables for processes: numbers are taken for texts
        form = {**form, "patternProperties": {key: _or_number(one) for key, one in form["patternProperties"].items()}}
    forms = form.pop("anyOf", []) + ([form] if form else [])
    more: list[dict[str, Any]] = []
    if any(one.get("type") in ("integer", "number", "boolean") or "enum" in one or "pattern" in one for one in forms):
        more.append({"$ref": "#/$defs/Variable"})
    if name.endswith("_tokens"):
        more.append({"type": "string", "pattern": f"^{FORM}$"})
    if {"type": "null"} not in forms:
        more.append({"type": "null"})
    return told | {"anyOf": [*forms, *more]}


def _or_number(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "type": ["string", "number"]} if value.get("type") == "string" else value
