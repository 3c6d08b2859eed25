"""How much work the members of a JSON schema make for the compiler of grammars, beside its patterns and its size.

Decides over one decoded schema. Measured with xgrammar 0.2.8, in seconds of a core:

    100 strings of one format    uri-template 4.6 (ten times as much with the vocabulary of Llama 4), ipv6 0.7, duration 0.3, others less
                                 than 0.15: their places are computed once
    ranges of numbers            300 of three digits 0.3, of 18 digits 1.8, 300 with fractions 1.7, 50 of 300 digits 1.3
    nesting                      one schema in 140 lists 0.3, in 300 2.3, in 450 12.7; 14 times 150 4.0, in the engine's event loop
    `minProperties` of objects   with 50 properties that may be left out 0.1, with 100 1.8, with 200 18
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

#: Parts of a string's format, as those of a pattern (`deployments.policy.body.patterns`), for each place where it stands.
FORMATS: Mapping[str, float] = MappingProxyType({"uri-template": 17, "ipv6": 2, "duration": 1})
#: Parts of any other format, known or not, and the digits of a range's bounds that are one part.
OTHER_FORMAT, DIGITS = 0.3, 36
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
#: A property that may be left out counts so many times where the object's properties are counted.
COUNTED = 2
_COUNTING = ("minProperties", "maxProperties")


def member_parts(schema: Mapping[str, Any]) -> float:
    """Counts the parts of what stands directly in one object of a schema: the format of a string, the range of a number."""
    kind = schema.get("format")
    parts = FORMATS.get(kind, OTHER_FORMAT) if isinstance(kind, str) else 0
    return parts + sum(_digits(schema[name]) for name in _BOUNDS if name in schema) / DIGITS


def _digits(bound: object) -> int:
    """Counts the characters of a number when it is written without an exponent."""
    if isinstance(bound, float):
        written, _, exponent = repr(bound).partition("e")
        return len(written) + abs(int(exponent or 0))
    return bound.bit_length() * 3 // 10 + 1 if isinstance(bound, int) else 0


def left_out(schema: Mapping[str, Any]) -> int:
    """Counts the properties of one object of a schema that may be left out: twice where it says how many properties there must be."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return 0
    needed = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set[str]()
    several = len(properties.keys() - needed)
    return several * COUNTED if any(schema.get(name) is not None for name in _COUNTING) else several


def nesting(value: Any, most: int) -> int:  # noqa: ANN401 (whatever a client sends)
    """Sums the squares of the depths of all lists and objects: each level is looked through by all levels around it.

    Ends soon after `most`.
    """
    total, left = 0, [(value, 1)]
    while left and total <= most:
        node, depth = left.pop()
        total += depth * depth
        inner = node.values() if isinstance(node, dict) else node
        left.extend((one, depth + 1) for one in inner if type(one) in (dict, list))
    return total
