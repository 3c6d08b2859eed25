"""`deployments.policy.body.grammars`: what multiplies in schemas and patterns of any size."""

import json
from typing import Any

import pytest

from configs.requests import Requests
from deployments.policy.body import sizes
from deployments.policy.body.fields import unknown
from deployments.policy.body.grammars import Grammar, check_tools
from deployments.policy.body.schema_costs import FORMATS
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
    with pytest.raises(
        BadRequest,
        match=r"left out: as many as 201 in one object; there may be 200, or half as many beside .* Name more of them in 'required'",
    ):
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


def properties(*schemas: Any) -> dict[str, Any]:
    """An object of which no property may be left out."""
    named = {f"p{number}": schema for number, schema in enumerate(schemas)}
    return {"type": "object", "properties": named, "required": list(named)}


def checked(schema: Any, way: str) -> None:
    """Checks a schema as an answer's form, as a text, and as a tool's parameters."""
    if way == "answer":
        unknown("chat", {"messages": SAID, "response_format": said(schema)}, REQUESTS)
    elif way == "text":
        unknown("chat", {"messages": SAID, "structured_outputs": {"json": json.dumps(schema)}}, REQUESTS)
    else:
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        body = {"messages": SAID, "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "f"}}}
        sizes.check("chat", body, len(json.dumps(body)), SCOUT, REQUESTS)


WAYS = pytest.mark.parametrize("way", ["answer", "text", "tool"])


@WAYS
@pytest.mark.parametrize("counting", [{"minProperties": 50}, {"maxProperties": 5}])
def test_object_that_counts_its_properties_may_leave_out_half_as_many(counting: dict[str, int], way: str) -> None:
    """200 of them took a compiler 18 s, and 100 take it 2 s."""
    checked(optional(100) | counting, way)
    checked(properties(*[{"type": "integer"}] * 300) | counting, way)
    with pytest.raises(BadRequest, match="as many as 202 in one object"):
        checked(optional(101) | counting, way)


@WAYS
@pytest.mark.parametrize(
    "costly",
    [
        [{"type": "string", "format": "uri-template"}] * 16,
        [{"type": "string", "format": "ipv6"}] * 129,
        [{"type": "integer", "minimum": -(10**17) + number, "maximum": 10**17 + number} for number in range(260)],
        [{"type": "number", "minimum": 1.5e-300, "maximum": 1.5e300}] * 16,
        [{"type": "integer", "exclusiveMinimum": 10**4000}] * 3,
    ],
    ids=["uri-template", "ipv6", "integers", "numbers", "digits"],
)
def test_formats_and_ranges_that_take_an_engine_long_are_refused(costly: list[Any], way: str) -> None:
    with pytest.raises(BadRequest, match=r"has more than 256 parts in its formats and ranges of numbers: 'uri-template' is 17"):
        checked(properties(*costly), way)
    checked(properties(*costly[: len(costly) // 2]), way)


@WAYS
def test_formats_and_ranges_as_people_send_them_pass(way: str) -> None:
    each = [
        {"type": "string", "format": name}
        for name in (*FORMATS, "email", "uri", "date-time", "date", "time", "uuid", "ipv4", "no-such-format")
    ]
    numbers = [{"type": "integer", "minimum": 0, "maximum": 100}, {"type": "number", "exclusiveMinimum": 0.5, "maximum": True}]
    checked(properties(*each * 2, *numbers * 100, {"format": 5}, {"minimum": None}), way)


def inside(levels: int, inner: Any) -> Any:
    for _ in range(levels):
        inner = {"type": "array", "items": inner}
    return inner


@WAYS
def test_schemas_inside_each_other_are_bounded(way: str) -> None:
    """An engine's event loop stood still for 12 s at 450 levels, and for 4 s where 14 arms had 150 each."""
    checked(inside(100, {"type": "string"}), way)
    checked({"anyOf": [inside(30, {"const": number}) for number in range(30)]}, way)
    for schema in (inside(150, {"type": "string"}), {"anyOf": [inside(90, {"const": number}) for number in range(5)]}):
        with pytest.raises(BadRequest, match=r"has too many schemas inside each other\. Make it flatter") as refused:
            checked(schema, way)
        assert refused.value.param in ("response_format", "structured_outputs", "tools[0]")


@pytest.mark.parametrize("name", ["json", "structural_tag"])
@pytest.mark.parametrize("text", ["{", '{"pattern":"a","x":NaN}', '{"pattern":"\\ud800"}', "[" * 100_000 + "]" * 100_000, "1" * 5000, ""])
def test_schema_in_a_text_that_cannot_be_read_goes_to_no_engine(name: str, text: str) -> None:
    """An engine's decoder takes NaN, half of a surrogate pair and more levels, so that what stands beside them went unchecked."""
    text = text if len(text) < 65_000 else "[" * 30_000 + "]" * 30_000
    with pytest.raises(BadRequest, match=rf"'structured_outputs.{name}' is not valid JSON") as refused:
        Grammar().check("structured_outputs", {name: text}, REQUESTS)
    assert refused.value.param == f"structured_outputs.{name}"
