"""Reads a config's files: one, and those that it extends, as one document.

Decides where `extends` looks: beside the file that says it, or among the shipped configs with `herd:` before the name. Bounds the size of a
file, the length of a chain and the number of files.
"""

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from configs.given_files import contents
from configs.overlays import EXTENDS, merged, without_notes
from configs.problems import ConfigError, Problem
from configs.provenance import Node, Origin
from configs.yaml_text import MOST_BYTES, document

#: Stands before the name of a file that comes with this package.
SHIPPED = "herd:"
#: Stands for standard input, as a path.
STDIN = Path("-")
MOST_DEEP = 8
MOST_FILES = 32
NOT_A_MAPPING = "must be a mapping with at least the key `models`"
WAY_OUT = "copy that file too, or let `herd config show FILE --yaml` write one file of them all where they are"


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it is named: in errors and origins by `name`."""

    name: str
    path: Path

    @classmethod
    def of(cls, path: Path) -> "Source":
        """Returns a file that the command line names; `-` is standard input."""
        return cls("standard input" if path == STDIN else str(path), path)

    def beside(self, name: str) -> "Source":
        """Returns a file that this one extends."""
        if name.startswith(SHIPPED):
            return Source(name, Path(__file__).parent / name.removeprefix(SHIPPED))
        if self.name.startswith(SHIPPED) and not os.path.isabs(name):
            return self.beside(SHIPPED + os.path.normpath(os.path.join(os.path.dirname(self.name.removeprefix(SHIPPED)), name)))
        found = os.path.normpath(self.path.parent / name)
        return Source(found, Path(found))


@dataclass(slots=True)
class Files:
    """Reads documents, and counts their files."""

    names: list[str] = field(default_factory=list)
    """The files that were read, each before the first one that extends it."""
    _read: int = 0

    def document(self, source: Source, text: str | None = None) -> Node:
        """Reads a file with all that it extends; `text` is what is in it, where that is known already.

        Raises:
            ConfigError: one of the files cannot be read, is not YAML or is no mapping; they extend each other in a circle; or are too many.
        """
        return self._document(source, text, ())

    def _document(self, source: Source, text: str | None, chain: tuple[str, ...]) -> Node:
        said = document(self._text(source) if text is None else text, source.name)
        if not isinstance(said.value, dict):
            raise ConfigError(source.name, [Problem("", NOT_A_MAPPING)])
        named = said.value.get(EXTENDS)
        above = without_notes(Node({key: one for key, one in said.value.items() if key != EXTENDS}, said.origin))
        below = None
        for lower in self._extended(source, named, (*chain, source.name)):
            below = lower if below is None else merged(below, lower)
        if source.name not in self.names:
            self.names.append(source.name)
        return above if below is None else merged(below, above)

    def _extended(self, source: Source, named: Node | None, chain: tuple[str, ...]) -> list[Node]:
        if named is None:
            return []
        items = named.value if isinstance(named.value, list) else [named]
        found = []
        for item in items:
            if not isinstance(item.value, str) or not item.value:
                raise ConfigError(source.name, [Problem(EXTENDS, "must be the name of a file, or a list of names", str(item.origin))])
            lower = source.beside(item.value)
            if lower.name in chain:
                circle = " → ".join([*chain[chain.index(lower.name) :], lower.name])
                raise ConfigError(source.name, [Problem(EXTENDS, f"the files extend each other in a circle: {circle}", str(item.origin))])
            if len(chain) > MOST_DEEP:
                raise ConfigError(source.name, [Problem(EXTENDS, f"is a chain of more than {MOST_DEEP} files", str(item.origin))])
            found.append(self._lower(source, lower, item.origin, chain))
        return found

    def _lower(self, source: Source, lower: Source, origin: Origin, chain: tuple[str, ...]) -> Node:
        self._read += 1
        if self._read > MOST_FILES:
            raise ConfigError(source.name, [Problem(EXTENDS, f"brings in more than {MOST_FILES} files", str(origin))])
        if not os.path.exists(lower.path):  # of a Path it raises where a folder may not be entered
            raise ConfigError(source.name, [Problem(EXTENDS, f"{lower.name} is not there: {WAY_OUT}", str(origin))])
        return self._document(lower, None, chain)

    def _text(self, source: Source) -> str:
        try:
            found = sys.stdin.buffer.read(MOST_BYTES + 1) if source.path == STDIN else contents(source.path, MOST_BYTES)
        except OSError as error:
            raise ConfigError(source.name, [Problem("", f"cannot be read: {error.strerror or error}")]) from error
        if len(found) > MOST_BYTES:
            raise ConfigError(source.name, [Problem("", f"is larger than {MOST_BYTES >> 20} MiB")])
        try:
            return found.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(source.name, [Problem("", "is not text in UTF-8")]) from error
