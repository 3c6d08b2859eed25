"""Variables of the environment in a config: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar.

Decides which fields they are filled in. Texts that a shell, a container or a model reads stay as they are: there a $ may be meant. A
variable that is a secret by its name is refused, because a config is kept in plain text and shown.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from configs.node_environment import SECRET_WORDS
from configs.problems import Problem
from configs.provenance import Node, Origin, extended

_MARK = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<either>:-(?P<default>[^{}]*))?\}|(?P<wrong>\{))")
#: A variable as a shell has it, where a whole value or a folder begins with it.
_BARE = re.compile(r"^\$([A-Za-z_][A-Za-z0-9_]*)(?=/|$)")
#: Fields that stay as they are.
_AS_THEY_ARE = re.compile(
    r"^cluster\.(secret_command|secrets|run_options|environment|(onprem|aws|gcp|kuberay)\.environment)\b|^models\[\d+\]\.canary\."
)
#: Values here have no kind of their own that a text would be read as.
_OF_VLLM = re.compile(r"^models\[\d+\]\.engine\b")
WAYS = "write ${NAME}, ${NAME:-default}, or $$ for a dollar"


@dataclass(slots=True)
class Filling:
    """Fills the variables of a document in, and gathers the problems on the way."""

    environ: Mapping[str, str]
    scalar: Callable[[str], Any]
    """Reads a text as YAML does."""
    problems: list[Problem] = field(default_factory=list)

    def filled(self, node: Node, path: str = "") -> Node:
        """Returns the document with the variables' values."""
        match node.value:
            case dict() as mapping:
                return Node({key: self.filled(one, extended(path, key)) for key, one in mapping.items()}, node.origin)
            case list() as items:
                return Node([self.filled(one, f"{path}[{index}]") for index, one in enumerate(items)], node.origin)
            case str() as text if "$" in text and not stays(path):
                return self._text(text, path, node.origin)
            case _:
                return node

    def _text(self, text: str, path: str, origin: Origin) -> Node:
        if bare := _BARE.match(text):
            self._refuse(path, origin, f"${bare[1]} would be taken as it stands; {WAYS}")
        marks = list(_MARK.finditer(text))
        value: Any = _MARK.sub(lambda mark: self._value(mark, path, origin), text)
        if marks and marks[0].span() == (0, len(text)) and not marks[0]["dollar"] and _OF_VLLM.match(path):
            value = self.scalar(value)
        return Node(value, replace(origin, variables=tuple(dict.fromkeys(self._names(marks)))))

    def _value(self, mark: "re.Match[str]", path: str, origin: Origin) -> str:
        if mark["dollar"]:
            return "$"
        name = mark["name"]
        if name is None:
            return self._refuse(path, origin, f"${{ begins no variable here; {WAYS}")
        if is_secret(name):
            return self._refuse(
                path, origin, f"${{{name}}} is a secret by its name, and a config is kept in plain text: put it under cluster.secrets"
            )
        if mark["either"]:
            return self.environ.get(name) or mark["default"]
        if name not in self.environ:
            return self._refuse(path, origin, f"the variable {name} is not set: set it, or write ${{{name}:-default}}")
        return self.environ[name]

    def _names(self, marks: "list[re.Match[str]]") -> Iterator[str]:
        for mark in marks:
            if mark["name"]:
                used = self.environ.get(mark["name"]) or not mark["either"]
                yield f"${mark['name']}" if used else f"${mark['name']} unset"

    def _refuse(self, path: str, origin: Origin, message: str) -> str:
        self.problems.append(Problem(path, message, str(origin)))
        return ""


def stays(path: str) -> bool:
    """Tells whether a field's text stays as it is."""
    return _AS_THEY_ARE.match(path) is not None


def is_secret(name: str) -> bool:
    """Tells whether a variable is a secret by its name's last word."""
    return name.upper().rpartition("_")[2] in SECRET_WORDS


def escaped(value: Any, path: str = "") -> Any:  # noqa: ANN401 (a document)
    """Returns a document in which each dollar stands for itself when it is read again."""
    match value:
        case dict():
            return {key: escaped(one, extended(path, key)) for key, one in value.items()}
        case list():
            return [escaped(one, f"{path}[{index}]") for index, one in enumerate(value)]
        case str() if not stays(path):
            return value.replace("$", "$$")
        case _:
            return value
