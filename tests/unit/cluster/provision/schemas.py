"""Schemas that others publish, as validators: each is read and checked once, because they are large."""

import json
from functools import cache
from typing import Any

import jsonschema

from tests.unit.machines import ROOT

FOLDER = ROOT / "tests/unit/published_schemas"


@cache
def validator(name: str, *, closed: bool = False) -> Any:
    """Returns what `validate`s a value by a published schema; a closed one refuses fields that the schema does not name."""
    schema = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(_closed(schema) if closed else schema)


def _closed(schema: Any) -> Any:
    """Kubernetes drops a field that nobody knows, and says nothing: here it is an error."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(one) for name, one in schema.items()}
    return inner | {"additionalProperties": False} if isinstance(schema.get("properties"), dict) and "type" in schema else inner
