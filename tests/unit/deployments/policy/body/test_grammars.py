"""`deployments.policy.body.grammars`: what multiplies in schemas and patterns of any size."""

import json
from typing import Any

import pytest

from configs.requests import Requests
from deployments.policy.body import sizes
from deployments.policy.body.fields import unknown
from deployments.policy.body.grammars import Grammar, check_tools
from deployments.policy.errors.client_errors import BadRequest
from deployments.policy.request.served_models import catalog
from tests.unit.deployments.policy.body.test_patterns import USUAL
from tests.unit.samples import scout

REQUESTS = Requests()
SCOUT = catalog([scout()], created=1).models[0]
COSTLY = "[a-z]?" * 37
SAID = [{"role": "user", "content": "Hi"}]


def said(schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def optional(many: int, required: Any = None) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{number}": {} for number in range(many)}, "required": required}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("structured_outputs", {"regex": COSTLY}),
        ("structured_outputs", {"grammar": "root ::= " + "[a-z]? " * 37}),
        ("structured_outputs", {"grammar": "start: " + "[a-z]? " * 37}),
        ("structured_outputs", {"json": {"type": "string", "pattern": COSTLY}}),
        ("structured_outputs", {"json": json.dumps({"type": "string", "pattern": COSTLY})}),
        ("structured_outputs", {"json": json.dumps({"pattern": COSTLY}).replace("pattern", "\\u0070attern")}),
        ("structured_outputs", {"structural_tag": json.dumps({"format": {"type": "regex", "pattern": COSTLY}})}),
        ("response_format", said({"properties": {"a": {"items": [{"pattern": COSTLY}]}}})),
        ("response_format", said({"patternProperties": {COSTLY: {}}})),
        ("response_format", said({"anyOf": [{"pattern": f"{number}[a-z]{{25}}"} for number in range(28)]})),
    ],
)
def test_patterns_that_take_an_engine_long_are_refused(field: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=rf"'{field}' has more than 256 parts in its patterns, grammars.*Put literals") as refused:
        unknown("chat", {"messages": SAID, field: value}, REQUESTS)
    assert refused.value.param == field
    unknown("chat", {"messages": SAID, field: value}, Requests(pattern_parts=300))


@pytest.mark.parametrize("pattern", ["[a-z]?" * 36, "[a-z]?ab" * 200, "^.{1,100}$", *USUAL.values()])
def test_patterns_that_compile_fast_pass(pattern: str) -> None:
    Grammar().check("structured_outputs", {"regex": pattern, "pattern": {"grammar": None}}, REQUESTS)
    Grammar().check("response_format", said({"properties": {str(number): {"pattern": pattern} for number in range(30)}}), REQUESTS)


def strings(*lengths: int, least: int = 1) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{most}": {"type": "string", "minLength": least, "maxLength": most} for most in lengths}}


def test_schemas_with_lengths_as_people_send_them_pass() -> None:
    listed = {"type": "array", "items": strings(500), "minItems": 1, "maxItems": 100}
    Grammar().check("response_format", said({"properties": {"a": listed, "b": strings(*range(1, 129), 200, 500, 2000, 4096)}}), REQUESTS)


def test_different_long_lengths_of_strings_are_bounded() -> None:
    with pytest.raises(BadRequest, match="each different minLength or maxLength over 128 is 64") as refused:
        Grammar().check("response_format", said(strings(129, 200, 500, 2000, 4096)), REQUESTS)
    assert refused.value.param == "response_format"
    check_tools([{"function": {"name": "f", "parameters": strings(*range(129, 200))}}], REQUESTS)


def test_patterns_are_no_longer_together_than_a_schema() -> None:
    with pytest.raises(BadRequest, match="may have patterns of 65536 characters together") as refused:
        check_tools([{"pattern": str(number) * 33_000} for number in (1, 2)], REQUESTS)
    assert refused.value.param == "tools"


@pytest.mark.parametrize("required", [None, [], "p1", ["p1", "p2", 7, "other"]])
def test_properties_of_an_object_that_may_be_left_out_are_bounded(required: Any) -> None:
    needed = 2 if isinstance(required, list) and required else 0
    Grammar().check("response_format", said(optional(200 + needed, required)), REQUESTS)
    with pytest.raises(BadRequest, match=r"left out: as many as 201 in one object; there may be 200\. Name more of them in 'required'"):
        Grammar().check("response_format", said(optional(201 + needed, required)), REQUESTS)


def test_properties_that_may_be_left_out_count_in_all_objects_of_a_schema() -> None:
    Grammar().check("response_format", said({"anyOf": [optional(50)] * 16}), REQUESTS)
    Grammar().check("response_format", said(optional(900, [f"p{number}" for number in range(900)])), REQUESTS)
    with pytest.raises(BadRequest, match="as many as 207"):
        Grammar().check("response_format", said({"anyOf": [optional(50)] * 17}), REQUESTS)


@pytest.mark.parametrize("size", [100, 10_000_000])
@pytest.mark.parametrize(
    ("schemas", "param"),
    [([{"pattern": "[a-z]?" * 30}, {"pattern": "[a-z]*" * 30}], "tools"), ([{}, optional(201)], "tools[1]")],
)
def test_tools_of_bodies_of_any_size_are_bounded(schemas: list[Any], param: str, size: int) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}} for schema in schemas]
    with pytest.raises(BadRequest, match=r"patterns|left out") as refused:
        sizes.check("chat", {"messages": SAID, "tools": tools}, size, SCOUT, REQUESTS)
    assert refused.value.param == param


def test_tools_may_have_as_many_properties_together_as_they_like() -> None:
    check_tools([{"function": {"name": "f", "parameters": optional(40)}}] * 100, REQUESTS)
