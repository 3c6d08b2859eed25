"""Values that an engine compiles into a grammar: JSON schemas, regular expressions, choices, grammars.

Decides by their size and by how their parts multiply. Nothing ends a compilation that has begun, and an engine has few threads for it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import msgspec

from configs.requests import Requests
from deployments.policy.body.bounds import KIB, refused
from deployments.policy.body.json_size import json_size
from deployments.policy.body.patterns import LENGTH, SHARED_LENGTH, grammar_cost, length_cost, regex_cost
from deployments.policy.body.schema_costs import FORMATS, left_out, member_parts, nesting

#: Members of `structured_outputs` that are an object, or its JSON as a text.
_MAY_BE_TEXT = ("json", "structural_tag")
#: Members that hold a regular expression: of JSON schemas, of `structured_outputs`, of structural tags.
_REGEXES = ("pattern", "regex", "whitespace_pattern")
#: One of these stands in the JSON of whatever has a pattern or a grammar; of a format, or of a range of numbers.
_WORDS = (b"pattern", b"regex", b"grammar")
_MEMBERS = (b'"format":', b'imum":')
#: The nesting that takes 0.3 s: one schema in 140 lists or objects, or 4000 members at a depth of 15. Fewer brackets are never too many.
MOST_NESTED, FEW_BRACKETS = 1_000_000, 120

#: Members with the bounds of a string's length.
_LENGTHS = ("minLength", "maxLength")

Count = Callable[[str, float], float]
Find = Callable[[Mapping[str, Any]], Iterator[tuple[Count, str]]]


@dataclass(frozen=True, slots=True)
class Grammar:
    """An object with a JSON schema, a regular expression, choices or a grammar somewhere in it.

    The time that compiling takes grows with the square of the members and of the values of an `enum` (xgrammar 0.2: 0.5 s for 1000
    properties that are required; 6.6 s for an enum of 10,000), and with the cube of the properties of one object that may be left out
    (100: 0.4 s, 200: 1.1 s, 400: 5 s, 1000: more than a minute). `minItems` and `maxItems` cost next to nothing, whatever they are.
    Patterns, grammars and the lengths of strings are counted in parts (`deployments.policy.body.patterns`), and so are formats and ranges
    of numbers; nesting costs the third power of its depth (`deployments.policy.body.schema_costs`).
    """

    way_out: str = "Make the schema smaller."

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401 (whatever a client sends)
        """See `deployments.policy.body.bounds.Rule.check`."""
        check_parts(at, check_size(at, value, requests, self.way_out), requests)


def check_size(at: str, value: Any, requests: Requests, way_out: str) -> dict[str, Any]:  # noqa: ANN401
    """Checks how much there is to compile, whatever it is.

    Returns:
        The grammar, with the schemas decoded that stand in it as a text.

    Raises:
        BadRequest: it is no object, or too large, or a schema in it that is a text is not JSON.
    """
    if not isinstance(value, dict):
        raise refused(at, "must be an object.")
    size = json_size(value, requests.schema_kib * KIB)
    if size > requests.schema_kib * KIB:
        raise refused(at, f"may have {requests.schema_kib * KIB:g} bytes, and has more. {way_out}")
    unpacked = _unpacked(at, value)
    if 2 * requests.enum_values < size:  # a value has two bytes or more: below that, nothing can be over the bounds
        _check_members(at, unpacked, requests, way_out)
    return unpacked


def check_parts(at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
    """Checks what multiplies in schemas of any size: properties that may be left out, nesting, formats and ranges of numbers, and the parts
    of all patterns together.

    Raises:
        BadRequest: they are too many.
    """
    text = msgspec.json.encode(value)
    _check_members_of(at, value, text, requests)
    if any(word in text for word in (*_WORDS, b"Length")):
        _check_patterns(at, value, requests, _patterns_and_lengths)


def check_tools(tools: list[dict[str, Any]], requests: Requests) -> None:
    """Checks the same of tools, which are a grammar each or one together: the members of each one, the patterns of all.

    Lengths are not counted: most tools become no grammar, and many different ones have many different lengths.

    Raises:
        BadRequest: they are too many.
    """
    has_patterns = False
    for index, tool in enumerate(tools):
        text = msgspec.json.encode(tool)
        _check_members_of(f"tools[{index}]", tool, text, requests)
        has_patterns = has_patterns or any(word in text for word in _WORDS)
    if has_patterns:
        _check_patterns("tools", tools, requests, _patterns)


def _check_members_of(at: str, value: Any, text: bytes, requests: Requests) -> None:  # noqa: ANN401
    """Checks what stands in single objects of a schema, and their depth; `text` is its JSON, which shows what need not be looked for."""
    if text.count(b":") > requests.optional_properties // 2:
        _check_left_out(at, value, requests)
    if text.count(b"{") + text.count(b"[") > FEW_BRACKETS and nesting(value, MOST_NESTED) > MOST_NESTED:
        raise refused(at, "has too many schemas inside each other. Make it flatter, or name its parts in '$defs' and refer to them.")
    if any(word in text for word in _MEMBERS):
        _check_formats(at, value, requests)


def _check_formats(at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
    if sum(member_parts(node) for node in _containers(value) if isinstance(node, dict)) > requests.pattern_parts:
        costly = ", ".join(f"'{name}' is {parts}" for name, parts in FORMATS.items())
        raise refused(
            at,
            f"has more than {requests.pattern_parts} parts in its formats and ranges of numbers: {costly}, and 36 digits of bounds are 1. "
            "Leave some of them out.",
        )


def _check_left_out(at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
    squares = 0
    for node in _containers(value):
        squares += left_out(node) ** 2 if isinstance(node, dict) else 0
        if squares > requests.optional_properties**2:
            raise refused(
                at,
                f"has too many properties that may be left out: as many as {isqrt(squares - 1) + 1} in one object; there may be "
                f"{requests.optional_properties}, or half as many beside minProperties or maxProperties. Name more of them in 'required', "
                "or make the schema smaller.",
            )


def _check_patterns(at: str, value: Any, requests: Requests, found: Find) -> None:  # noqa: ANN401
    seen = set[tuple[Count, str]]()
    parts, size = 0.0, 0
    for node in _containers(value):
        for pattern in set(found(node)) - seen if isinstance(node, dict) else ():
            seen.add(pattern)
            count, text = pattern
            size += len(text)
            if size > requests.schema_kib * KIB:
                raise refused(at, f"may have patterns of {requests.schema_kib * KIB:g} characters together, and has more. Send fewer.")
            parts += count(text, requests.pattern_parts - parts)
            if parts > requests.pattern_parts:
                raise refused(
                    at,
                    f"has more than {requests.pattern_parts} parts in its patterns, grammars and lengths of strings: '.' is 2.5, a class "
                    "is less, {m,n} is n of them, the n-th of those in a row that may be left out counts n times, and each different "
                    f"minLength or maxLength over {SHARED_LENGTH} is {LENGTH}. Put literals between them, write '*' instead of "
                    "'{0,100}', or send fewer.",
                )


def _patterns(node: Mapping[str, Any]) -> Iterator[tuple[Count, str]]:
    """Yields each pattern and grammar that stands directly in an object, and the function that counts its parts."""
    yield from ((regex_cost, text) for name in _REGEXES if isinstance(text := node.get(name), str))
    if isinstance(text := node.get("grammar"), str):
        yield grammar_cost, text
    if isinstance(names := node.get("patternProperties"), dict):
        yield from ((regex_cost, text) for text in names)


def _patterns_and_lengths(node: Mapping[str, Any]) -> Iterator[tuple[Count, str]]:
    """Yields the bounds of a string's length, too."""
    yield from _patterns(node)
    if any(isinstance(node.get(name), int) for name in _LENGTHS):
        yield length_cost, f"{node.get(_LENGTHS[0])} {node.get(_LENGTHS[1])}"


def _unpacked(at: str, value: dict[str, Any]) -> dict[str, Any]:
    """Returns a grammar with the schemas decoded that stand in it as a text: vLLM takes them in either form."""
    texts = {name: _decoded(f"{at}.{name}", text) for name in _MAY_BE_TEXT if isinstance(text := value.get(name), str)}
    return value | texts


def _decoded(at: str, text: str) -> object:
    """Decodes a schema. One that cannot be read here must reach no engine, whose decoder takes more: NaN for example, and any depth."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise refused(at, "is not valid JSON.") from error


def _check_members(at: str, value: Any, requests: Requests, way_out: str) -> None:  # noqa: ANN401
    total = 0
    for node in _containers(value):
        total += len(node)
        if total > requests.schema_members:
            raise refused(at, f"has more than {requests.schema_members} members. {way_out}")
        if isinstance(node, list) and len(node) > requests.enum_values:
            raise refused(at, f"has a list of {len(node)} values; a list in it may have {requests.enum_values}.")


def _containers(value: Any) -> Iterator[list[Any] | dict[str, Any]]:  # noqa: ANN401
    left = [value]
    while left:
        node = left.pop()
        if isinstance(node, list | dict):
            yield node
            left.extend(node.values() if isinstance(node, dict) else node)
