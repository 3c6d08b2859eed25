"""How much work the tools of a request make for an engine: the text of the prompt that they become, and the grammars.

Decides by the tools' size as chat templates write them. The templates of Llama write tools as JSON with four spaces for each level, so that
8 KB of small values at the deepest level become a megabyte of prompt.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from configs.requests import Requests
from deployments.policy.body.grammars import Grammar, check_parts, check_size, check_tools
from deployments.policy.body.structure import DEEPEST_OF_ALL

#: Bytes of a body below which no grammar that is made of its tools takes long.
SMALL = 8192
#: Spaces for each level.
_INDENT = 4
#: Levels around a tool: the list of all tools, and the object with `type` and `function`.
_AROUND = 2
#: Characters of prompt that one byte of a body can become: a line of its own, at the deepest level, for every two bytes.
MOST_PER_BYTE = _INDENT * (_AROUND + DEEPEST_OF_ALL) // 2 + 1
#: Kinds of `tool_choice` that make no grammar of all tools together.
_ONE = frozenset({"none", "function", "tool"})


def characters(body: Mapping[str, Any], most: int, requests: Requests) -> int:
    """Counts the characters of prompt that tools become, and checks the size of their grammars.

    Args:
        body: the decoded body, whose shape `deployments.policy.body.fields` has checked.
        most: characters that the model takes; the count ends soon after it.
        requests: the config's numbers.

    Raises:
        BadRequest: a tool or the patterns of all are too large for a grammar, or all tools are where the model must call one of them.
    """
    total = 0
    for index, tool in enumerate(body["tools"]):
        check_size(f"tools[{index}]", tool, requests, "Make the schema smaller.")
        if total <= most:
            total += laid_out(tool, most - total)
    check_grammars(body, requests)
    return total


def check_grammars(body: Mapping[str, Any], requests: Requests) -> None:
    """Checks the grammars that an engine makes of tools.

    Raises:
        BadRequest: a tool is too large for a grammar, or all are where they are one: where the model must call one of them, or may and
            one of them is strict.
    """
    tools, choice = body["tools"], body.get("tool_choice")
    check_tools(tools, requests)
    kind, name = _meant(choice)
    for index, tool in enumerate(tools) if name is not None else ():
        if _inner(tool).get("name") == name:
            check_parts(f"tools[{index}]", _schema(tool), requests)
    is_free = kind == "auto"
    if kind not in _ONE and (not is_free or any(_inner(tool).get("strict") for tool in tools)):
        why = "One of the tools is strict" if is_free else "The model must call one of the tools"
        way_out = "leave 'strict' out" if is_free else "name the one"
        Grammar(f"{why}, which makes one grammar of all. Send fewer tools, or {way_out}.").check(
            "tools", {str(index): _schema(tool) for index, tool in enumerate(tools)}, requests
        )


def _meant(choice: object) -> tuple[str, str | None]:
    """Returns the kind of a `tool_choice`, and the tool that it names. One that names a tool need not say its kind."""
    if not isinstance(choice, dict):
        return (choice if isinstance(choice, str) else "auto"), None
    kind, name = choice.get("type"), _inner(choice).get("name")
    named = name if isinstance(name, str) else None
    return str(kind or ("auto" if named is None else "tool")), named


def _inner(tool: dict[str, Any]) -> dict[str, Any]:
    """Returns what names a tool, which chat completions keep under `function`."""
    inner = tool.get("function")
    return inner if isinstance(inner, dict) else tool


def _schema(tool: dict[str, Any]) -> object:
    inner = _inner(tool)
    return next((inner[name] for name in ("parameters", "input_schema") if name in inner), inner)


def laid_out(value: dict[str, Any], most: int) -> int:
    """Returns how many characters a tool, or anything else that a template writes as JSON, is in a prompt; or more than `most`."""
    text = msgspec.json.encode(value)
    opened = text.count(b"{") + text.count(b"[")
    lines = text.count(b",") + 2 * opened
    at_most = len(text) + lines * (1 + _INDENT * (_AROUND + min(opened, DEEPEST_OF_ALL)))
    return at_most if at_most <= most else len(text) + sum(_indentation(value))


def _indentation(value: object) -> Iterator[int]:
    """Yields the line ends and spaces that each list and object adds."""
    left = [(value, _AROUND)]
    while left:
        node, level = left.pop()
        if isinstance(node, dict | list) and node:
            yield (len(node) + 1) * (1 + _INDENT * (level + 1))
            inner = node.values() if isinstance(node, dict) else node
            left.extend((one, level + 1) for one in inner if type(one) in (dict, list))
