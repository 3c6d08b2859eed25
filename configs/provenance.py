"""Where each value of a config comes from, and a document whose every value knows it.

Decides how a place is told: a file and a line, `--set`, and the variables that were filled in.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Origin:
    """The place that a value comes from."""

    source: str
    """A file's name, or `--set` and the path that it names."""
    line: int | None = None
    """Counted from 1; None where there are no lines."""
    variables: tuple[str, ...] = ()
    """The variables of the environment in the value, each with what became of it: `$PORT`, or `$PORT unset`."""

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        return f"{place} ({', '.join(self.variables)})" if self.variables else place


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document, with its origin: a `dict` or `list` of nodes, or a scalar."""

    value: Any
    origin: Origin


def plain(node: Node) -> Any:  # noqa: ANN401 (a document)
    """Returns a document without its origins."""
    match node.value:
        case dict() as mapping:
            return {key: plain(one) for key, one in mapping.items()}
        case list() as items:
            return [plain(one) for one in items]
        case scalar:
            return scalar


def origins(node: Node, path: str = "") -> Iterator[tuple[str, Origin]]:
    """Yields the path of each value in a document, as problems name it, with the value's origin; the document's own path is empty."""
    yield path, node.origin
    match node.value:
        case dict() as mapping:
            for key, one in mapping.items():
                yield from origins(one, extended(path, key))
        case list() as items:
            for index, one in enumerate(items):
                yield from origins(one, f"{path}[{index}]")


def nearest(found: Mapping[str, Origin], path: str) -> Origin | None:
    """Returns the origin of a value; for one that is not in the document, of the section that it would be in."""
    while path and path not in found:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return found.get(path)


def extended(path: str, part: object) -> str:
    """Returns the path of a key's value in a mapping, or of an item in a list."""
    if not isinstance(part, str):
        return f"{path}[{part}]"
    return f"{path}.{part}" if path else part


def path_of(location: Iterable[int | str]) -> str:
    """Returns the path of a place in a document: `models[1].scaling` of `("models", 1, "scaling")`."""
    path = ""
    for part in location:
        path = extended(path, part)
    return path
