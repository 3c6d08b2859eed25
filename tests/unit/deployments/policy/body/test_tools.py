"""`deployments.policy.body.tools`: what the tools of a request become in a prompt and in a grammar."""

import json
from typing import Any

import pytest

from configs.requests import Requests
from deployments.policy.body import tools
from deployments.policy.errors.client_errors import BadRequest

REQUESTS = Requests()


def tool(parameters: Any, nested: bool = True) -> dict[str, Any]:
    function = {"name": "f", "parameters": parameters}
    return {"type": "function", "function": function} if nested else function


def deep(levels: int, inner: Any) -> Any:
    return inner if levels == 0 else {"a": deep(levels - 1, inner)}


@pytest.mark.parametrize(
    "parameters",
    [{}, {"type": "object", "properties": {str(i): {"type": "string", "enum": ["a", 1, None]} for i in range(20)}}, deep(60, [0] * 900)],
)
def test_tools_count_as_templates_write_them(parameters: Any) -> None:
    """Llama's templates write each with `tojson(indent=4)`."""
    written = len(json.dumps([[tool(parameters)]], indent=4))
    assert written * 0.9 - 100 <= tools.characters({"tools": [tool(parameters)]}, 0, REQUESTS) <= written * 1.1 + 100


def test_count_ends_when_it_is_too_much() -> None:
    many = {"tools": [tool(deep(60, [0] * 900))] * 100}
    assert 1000 < tools.characters(many, 1000, REQUESTS) < 1_000_000


@pytest.mark.parametrize("nested", [True, False])
def test_tool_that_is_too_large_for_a_grammar_is_named(nested: bool) -> None:
    wrong = tool({"enum": [f"value {i}" for i in range(1001)]}, nested)
    with pytest.raises(BadRequest) as refused:
        tools.characters({"tools": [tool({}, nested), wrong]}, 10**6, REQUESTS)
    assert refused.value.param == "tools[1]"


@pytest.mark.parametrize("choice", ["required", {"type": "any"}, {"type": "allowed_tools", "mode": "required"}])
@pytest.mark.parametrize(
    "parameters", [{"properties": {str(i): {} for i in range(400)}, "required": [str(i) for i in range(400)]}, {"description": "x" * 8000}]
)
def test_tools_of_one_grammar_are_bounded_together(choice: Any, parameters: Any) -> None:
    tools.characters({"tools": [tool(parameters)] * (8 if "description" in parameters else 4), "tool_choice": choice}, 10**7, REQUESTS)
    with pytest.raises(BadRequest, match=r"one grammar of all\. Send fewer tools") as refused:
        tools.characters({"tools": [tool(parameters)] * 11, "tool_choice": choice}, 10**7, REQUESTS)
    assert refused.value.param == "tools"


@pytest.mark.parametrize("choice", [None, "auto", "none", {"type": "function", "function": {"name": "f"}}, {"type": "tool", "name": "f"}])
def test_tools_that_make_no_grammar_together_are_bounded_one_by_one(choice: Any) -> None:
    many = {"tools": [{"name": "f", "input_schema": {"description": "x" * 8000}}, {"name": "g", "tools": []}] * 64, "tool_choice": choice}
    assert tools.characters(many, 10**7, REQUESTS) > 64 * 8000


def lengths(many: int) -> dict[str, Any]:
    """A schema of strings with so many different long lengths, each of which takes a compiler seconds."""
    return {"type": "object", "properties": {f"p{n}": {"type": "string", "maxLength": 200 + n} for n in range(many)}}


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    "choice",
    [
        "required",
        {"type": "any"},
        {"type": ["x"]},
        {"type": "function", "function": {"name": "f"}},
        {"type": "tool", "name": "f"},
        {"function": {"name": "f"}},
    ],
)
def test_tool_that_the_model_must_call_is_counted_as_the_grammar_that_it_becomes(choice: Any, nested: bool) -> None:
    tools.check_grammars({"tools": [tool(lengths(4), nested)], "tool_choice": choice}, REQUESTS)
    tools.check_grammars({"tools": [tool(lengths(5), nested)], "tool_choice": "auto"}, REQUESTS)
    with pytest.raises(BadRequest, match="has more than 256 parts in its patterns, grammars and lengths of strings") as refused:
        tools.check_grammars({"tools": [tool(lengths(5), nested)], "tool_choice": choice}, REQUESTS)
    tools.check_grammars({"tools": [tool(lengths(5), nested)], "tool_choice": {"type": "tool", "name": "other"}}, REQUESTS)
    assert str(refused.value.param).startswith("tools")


def strict(parameters: Any, nested: bool) -> dict[str, Any]:
    """A tool whose arguments the engine holds the model to."""
    made = tool(parameters, nested)
    (made["function"] if nested else made)["strict"] = True
    return made


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("choice", [{}, {"tool_choice": "auto"}, {"tool_choice": {"type": "auto"}}, {"tool_choice": {}}])
def test_strict_tool_makes_one_grammar_of_all(choice: dict[str, Any], nested: bool) -> None:
    many = [tool({"description": "x" * 8000}, nested)] * 9
    tools.check_grammars({"tools": many, **choice}, REQUESTS)
    with pytest.raises(BadRequest, match=r"One of the tools is strict, which makes one grammar of all.*leave 'strict' out"):
        tools.check_grammars({"tools": [*many, strict({}, nested)], **choice}, REQUESTS)
    tools.check_grammars({"tools": [*many, strict({}, nested)], "tool_choice": "none"}, REQUESTS)
    with pytest.raises(BadRequest, match="lengths of strings"):
        tools.check_grammars({"tools": [strict(lengths(5), nested)], **choice}, REQUESTS)
