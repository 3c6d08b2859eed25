"""How a config is laid over another one, and `--set` over both.

Decides the rules: mappings merge, and a value of the upper one replaces the lower one's; null takes a field away. A list replaces a list,
but where the items of both have an `id` they merge by it; a mapping over such a list names its items by id or alias. `x-…` keys are notes.
"""

from collections.abc import Iterator
from typing import Any

from configs.problems import ConfigError, Problem, hint
from configs.provenance import Node, Origin, extended

#: Names the files that a file is laid over.
EXTENDS = "extends"
#: Keys that begin so hold anchors and notes of the file's writer. Kubernetes' own names below `cluster.kuberay` may begin so too.
NOTE = "x-"
_OTHERS_NAMES = "cluster.kuberay."


def without_notes(node: Node, path: str = "") -> Node:
    """Returns a document without its `x-…` keys."""
    match node.value:
        case dict() as mapping:
            kept = {key: one for key, one in mapping.items() if not _is_note(key) or path.startswith(_OTHERS_NAMES)}
            return Node({key: without_notes(one, extended(path, key)) for key, one in kept.items()}, node.origin)
        case list() as items:
            return Node([without_notes(one, f"{path}[{index}]") for index, one in enumerate(items)], node.origin)
        case _:
            return node


def _is_note(key: object) -> bool:
    return isinstance(key, str) and key.startswith(NOTE)


def merged(lower: Node, upper: Node, path: str = "") -> Node:
    """Lays a document over another one.

    Raises:
        ConfigError: the upper one names an item that a list has not.
    """
    known = _by_id(lower)
    if isinstance(upper.value, dict) and known is not None:
        return Node(_named_items(lower, known, upper, path), upper.origin)
    if isinstance(upper.value, dict):
        below = lower.value if isinstance(lower.value, dict) else {}
        return Node(_mapping(below, upper, path), upper.origin)
    above = _by_id(upper)
    if above is None:
        return upper
    below = dict.fromkeys(above, Node(None, upper.origin)) if known is None else known
    joined = [merged(one, above[name], extended(path, name)) if name in above else one for name, one in below.items()]
    new = (merged(Node(None, one.origin), one, extended(path, name)) for name, one in above.items() if name not in below)
    return Node([*joined, *new], upper.origin)


def _mapping(below: dict[Any, Node], upper: Node, path: str) -> dict[Any, Node]:
    found = dict(below)
    for key, one in upper.value.items():
        if one.value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key, Node(None, one.origin)), one, extended(path, key))
    return found


def _by_id(node: Node) -> dict[str, Node] | None:
    """Returns the items of a list by their ids; None for anything else, or where an item has no id of its own."""
    if not isinstance(node.value, list):
        return None
    ids = [one.value["id"].value for one in node.value if isinstance(one.value, dict) and "id" in one.value]
    names = {name for name in ids if isinstance(name, str)}
    return dict(zip(ids, node.value, strict=True)) if len(names) == len(node.value) > 0 else None


def _named_items(lower: Node, known: dict[str, Node], upper: Node, path: str) -> list[Node]:
    names = _names(lower)
    found: dict[str, Node] = dict(known)
    for name, one in upper.value.items():
        if name not in names:
            ids = ", ".join(known)
            message = f"nothing in this list has the id {str(name)!r}; {hint(str(name), names)}the ids are: {ids}"
            raise ConfigError(one.origin.source, [Problem(extended(path, name), message, str(one.origin))])
        if one.value is None:
            found.pop(names[name], None)
        else:
            found[names[name]] = merged(found.get(names[name], one), one, extended(path, name))
    return list(found.values())


def _names(node: Node) -> dict[str, str]:
    """Returns the ids and aliases of a list's items, each with the item's id."""
    found: dict[str, str] = {}
    for name, one in (_by_id(node) or {}).items():
        aliases = one.value.get("aliases")
        for alias in aliases.value if aliases is not None and isinstance(aliases.value, list) else ():
            if isinstance(alias.value, str):
                found.setdefault(alias.value, name)
        found[name] = name
    return found


def assigned(lower: Node, path: str, value: Any) -> Node:  # noqa: ANN401 (whatever the YAML says)
    """Lays one value over a document, at a path like `gateway.port` or `models.scout.replicas`; null takes the field away.

    Raises:
        ConfigError: the path is none, or names an item that a list has not.
    """
    origin = Origin(f"--set {path}")
    parts = list(_parts(lower, path))
    if not all(parts):
        raise ConfigError(str(origin), [Problem("", "write a path and a value: --set gateway.port=8001")])
    node = _as_node(value, origin)
    for part in reversed(parts):
        node = Node({part: node}, origin)
    return merged(lower, node)


def _parts(node: Node | None, path: str) -> Iterator[str]:
    """Yields the names in a path. The ids of items may have dots: of several that the path begins with, the longest is meant."""
    names = _names(node) if node is not None else {}
    fitting = [name for name in names if path == name or path.startswith(f"{name}.")]
    part = max(fitting, key=len, default=path.partition(".")[0])
    yield part
    if len(path) > len(part):
        yield from _parts(_child(node, names.get(part, part)), path[len(part) + 1 :])


def _child(node: Node | None, name: str) -> Node | None:
    if node is None:
        return None
    found = node.value if isinstance(node.value, dict) else _by_id(node) or {}
    child: Node | None = found.get(name)
    return child


def _as_node(value: Any, origin: Origin) -> Node:  # noqa: ANN401 (whatever the YAML says)
    match value:
        case dict():
            return Node({key: _as_node(one, origin) for key, one in value.items()}, origin)
        case list():
            return Node([_as_node(one, origin) for one in value], origin)
        case _:
            return Node(value, origin)
