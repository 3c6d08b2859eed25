"""What an installed package says of a name that the herd relies on and that the package does not document.

A `Seam` is such a name, the file that uses it, and what that file takes for granted. `told` asks the installed package.
"""

import ast
import dataclasses
import importlib
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Seam:
    """A name, and what is taken for granted of it. With neither `takes` nor `has`, only that it is there."""

    used_by: str
    """Our file, below `deployments/`, without its ending."""
    name: str
    """`module:attribute.of.it`."""
    takes: tuple[str, ...] | None = None
    """All parameters of a function, in order: one more, or another order, is for a human to look at."""
    has: tuple[str, ...] = ()
    """Parameters of a function, or fields, methods and attributes of a class; it may have others."""

    def wrong(self, found: dict[str, list[str]] | None) -> str | None:
        """Returns what is no longer as it was, for the reader of a failed test; None where all is."""
        where = f"deployments/{self.used_by}.py relies on {self.name}"
        if found is None:
            return f"{where}: it is gone"
        if self.takes is not None and list(self.takes) != found["takes"]:
            return f"{where}: it takes {found['takes']}, no longer {list(self.takes)}"
        missing = [one for one in self.has if one not in found["has"]]
        return f"{where}: it has no {', '.join(missing)}" if missing else None


def told(names: Iterable[str]) -> list[dict[str, list[str]] | None]:
    """Returns what each name takes and has, by the package that is installed; None where it is gone."""
    return [_told(name) for name in names]


def _told(name: str) -> dict[str, list[str]] | None:
    module, _, path = name.partition(":")
    try:
        found = reduce(getattr, path.split(".") if path else (), importlib.import_module(module))
    except (ImportError, AttributeError):
        return None
    takes = _parameters(found)
    return {"takes": takes, "has": sorted({*takes, *dir(found), *(_attributes(found) if isinstance(found, type) else ())})}


def _parameters(found: Any) -> list[str]:
    try:
        return list(inspect.signature(found).parameters)
    except (TypeError, ValueError):
        return []


def _attributes(found: type) -> Iterator[str]:
    """Yields the fields that a class declares, and the attributes that its methods assign."""
    yield from getattr(found, "model_fields", ())
    if dataclasses.is_dataclass(found):
        yield from (field.name for field in dataclasses.fields(found))
    for one in found.__mro__:
        yield from getattr(one, "__annotations__", ())
        try:
            source = ast.parse(textwrap.dedent(inspect.getsource(one)))
        except (OSError, TypeError, SyntaxError):  # made in C
            continue
        for node in ast.walk(source):
            match node:
                case ast.Attribute(value=ast.Name("self"), attr=name, ctx=ast.Store()):
                    yield name


def imported(room: str, package: str) -> set[tuple[str, str]]:
    """Returns what the files of a room import of a package: the file as `Seam.used_by` calls it, and the name as `Seam.name` does."""
    found = set()
    for path in sorted((ROOT / "deployments" / room).rglob("*.py")):
        used_by = str(path.relative_to(ROOT / "deployments").with_suffix(""))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package:
                found |= {(used_by, f"{node.module}:{one.name}") for one in node.names}
    return found


def unlisted(seams: Iterable[Seam], imports: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Returns the imports that no seam speaks of."""
    listed = {(seam.used_by, seam.name.replace(":", ".")) for seam in seams}
    return {
        (used_by, name)
        for used_by, name in imports
        if not any(used_by == by and f"{one}.".startswith(name.replace(":", ".") + ".") for by, one in listed)
    }
