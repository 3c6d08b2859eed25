"""Reads YAML texts into documents whose values know their lines, within bounds of size and depth.

Decides what is refused as YAML: two equal keys, of which PyYAML keeps the last, more values than a config ever has, and what PyYAML itself
refuses.
"""

import re
from typing import Any

import yaml

from configs.problems import ConfigError, Problem
from configs.provenance import Node, Origin

#: A herd's config has some thousand characters.
MOST_BYTES = 1 << 20
MOST_DEPTH = 40
#: Aliases count as often as they are used: nine lines can name a billion values.
MOST_VALUES = 50_000
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
TOO_DEEP = "is nested too deeply"


class _Loader(yaml.SafeLoader):
    """Refuses two equal keys, of which PyYAML keeps the last, and values whose errors PyYAML does not raise as YAML's."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 (its types are wrong about it)
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (key.tag, key.value) in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} is here twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 (whatever the YAML says)
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:  # a date like 2026-02-31, a !!bool that is none
            kind = node.tag.rpartition(":")[2]
            raise yaml.constructor.ConstructorError(None, None, f"{node.value!r} is not a {kind}", node.start_mark) from error


def _as_yaml_1_2(tag: str, pattern: "re.Pattern[str]") -> tuple[str, "re.Pattern[str]"]:
    """Returns a rule of PyYAML's without YAML 1.1's numbers to the base of sixty: `ends: 18:00` would be 1080."""
    return tag, re.compile(rf"(?!.*:)(?:{pattern.pattern})", pattern.flags) if tag in NUMBERS else pattern


_Loader.yaml_implicit_resolvers = {
    first: [_as_yaml_1_2(*rule) for rule in rules] for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _TooLarge(Exception):
    """A text has more in it than a config may have; the message says of what."""


class _Numbering:
    """Copies what a text says, each value with its line, and counts the values."""

    def __init__(self, loader: _Loader, source: str) -> None:
        self._loader, self._source, self._left = loader, source, MOST_VALUES

    def node(self, said: yaml.Node, value: Any, line: int, depth: int = 0) -> Node:  # noqa: ANN401 (whatever the YAML says)
        self._left -= 1
        if depth > MOST_DEPTH:
            raise _TooLarge(TOO_DEEP)
        if self._left < 0:
            raise _TooLarge(f"has more than {MOST_VALUES:,} values")
        if isinstance(said, yaml.MappingNode) and isinstance(value, dict):  # not of a tag that makes something else of a mapping
            inside: Any = {key: self.node(one, value[key], at, depth + 1) for key, (one, at) in self._pairs(said).items()}
        elif isinstance(said, yaml.SequenceNode) and isinstance(value, list) and said.tag == "tag:yaml.org,2002:seq":
            inside = [self.node(one, item, one.start_mark.line, depth + 1) for one, item in zip(said.value, value, strict=True)]
        else:
            inside = value
        return Node(inside, Origin(self._source, line + 1))

    def _pairs(self, said: yaml.MappingNode) -> dict[Any, tuple[yaml.Node, int]]:
        """Returns each key's node of a mapping and the key's line; keys that were merged in (`<<`) stand in the mapping already."""
        return {self._loader.construct_object(key, deep=True): (one, key.start_mark.line) for key, one in said.value}


def document(text: str, source: str) -> Node:
    """Reads a YAML text; `source` names it in origins and errors. The document itself has no line.

    Raises:
        ConfigError: it is not YAML, or has more in it than a config may have.
    """
    try:
        loader = _Loader(text)
        said = loader.get_single_node()
        if said is None:
            return Node(None, Origin(source))
        value = loader.construct_document(said)
        found = _Numbering(loader, source).node(said, value, said.start_mark.line)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(source, [Problem("", f"is not YAML: {error.problem}{_place(error.problem_mark)}")]) from error
    except yaml.reader.ReaderError as error:
        raise ConfigError(source, [Problem("", f"is not YAML: {error.reason} (at character {error.position + 1})")]) from error
    except RecursionError as error:
        raise ConfigError(source, [Problem("", TOO_DEEP)]) from error
    except _TooLarge as error:
        raise ConfigError(source, [Problem("", str(error))]) from error
    return Node(found.value, Origin(source))


def _place(mark: yaml.Mark | None) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
