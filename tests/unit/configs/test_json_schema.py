"""`configs.json_schema`, and the copy of it that editors find beside the shipped configs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given

from configs.json_schema import json_schema, schema_text
from configs.schema import Config
from tests.unit.machines import ROOT
from tests.unit.samples import raw

SCHEMA = json_schema()
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
LINE = "# yaml-language-server: $schema={}herd.schema.json"


def problems(document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)]


def test_committed_schema_is_the_one_that_is_made() -> None:
    held = (ROOT / "configs/herd.schema.json").read_text(encoding="utf-8")
    assert held == schema_text(), "run `python -m tests.tools.schema_table`"


def test_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every property in a schema, at any depth."""
    if isinstance(schema, dict):
        for name, one in schema.get("properties", {}).items():
            yield f"{path}.{name}", one
        for key, inner in schema.items():
            yield from properties(inner, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, inner in enumerate(schema):
            yield from properties(inner, f"{path}/{index}")


def test_every_property_is_described() -> None:
    found = list(properties(SCHEMA))
    assert len(found) > 200
    assert [path for path, one in found if not one.get("description")] == []


@pytest.mark.parametrize(
    "said",
    [
        {"cluster": {"redis": "not an address"}},
        {"cluster": {"mounts": ["models"]}},
        {"cluster": {"onprem": {"head": "10.0.0.1", "cache": "kept"}}},
        {"gateway": {"tracing": {"endpoint": "collector"}}},
    ],
)
def test_schema_has_the_patterns_of_values_that_are_explained_in_words(said: dict[str, Any]) -> None:
    assert problems(said)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_has_the_schemas_form_and_names_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert problems(yaml.safe_load(text)) == []
    above = "../" * (len(path.relative_to(ROOT / "configs").parts) - 1)
    assert LINE.format(above) in text.splitlines()[:8]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"extends": "base.yaml", "x-note": [1], "gateway": {"x-why": "", "port": "${PORT:-8000}", "host": None}},
        {"extends": ["a.yaml", "herd:b.yaml"], "models": {"scout": {"replicas": 2, "context_tokens": "1M"}, "guard": None}},
        {"models": [{"id": "a", "context_tokens": "128K", "parallel": "auto"}, {"id": "b", "parallel": {"tensor": "${N}"}}]},
        {"cluster": {"environment": {"A": 1, "B": "x"}, "secrets": {"A": {"file": "/x"}}}},
    ],
)
def test_what_a_file_may_say_beside_fields_is_in_the_schema(document: Any) -> None:
    assert problems(document) == []


@pytest.mark.parametrize(
    "document",
    [
        {"nome": "a"},
        {"gateway": {"port": 0}},
        {"gateway": {"port": "http"}},
        {"models": [{"kind": "llama-3-8b"}]},
        {"models": [{"id": "a", "context_tokens": "many"}]},
        {"models": {"scout": {"replica": 2}}},
        {"extends": 3},
        {"models": [{"id": "a", "kind": "llama-9"}]},
        {"ray": 3},
    ],
)
def test_what_no_file_may_say_is_not(document: Any) -> None:
    assert problems(document)


@given(raw(Config))
def test_config_that_is_well_formed_has_the_schemas_form(document: dict[str, Any]) -> None:
    assert problems(document) == []
