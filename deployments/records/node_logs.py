"""Reads the log files of one Ray node: the newest lines first asked for, and then what has come since.

Decides how much is read: files are read from their end, in blocks, and never more than a bounded number of lines is held. Files of
replicas that have died are read like others. What a file and a line are is `policy.records.log_lines`'.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deployments.policy.records.log_lines import (
    Line,
    Owner,
    Query,
    asks_for,
    is_of_a_worker,
    is_settled,
    lines_of,
    owner_by_head,
    owner_by_name,
)

BLOCK = 1 << 18
#: Bytes of one file that are looked through for the newest lines, and that are taken at once while a file grows.
MOST_BYTES, MOST_NEW_BYTES = 1 << 26, 1 << 22
HEAD = 1 << 16
#: Lines of a node that are held at once.
MOST_LINES = 20_000
FOLDERS = ("", "serve")


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    owner: Owner
    worker: bool
    identity: int
    size: int


class NodeLogs:
    """The log files below one folder, and how far each has been read."""

    def __init__(self, folder: Path | None = None, node: str = "") -> None:
        """Args:
        folder: of the session's logs; None: of this process's own Ray.
        node: what the node is called.
        """
        if folder is None:
            from deployments.ray_calls.nodes import logs_folder

            folder = logs_folder()
        self._folder = folder
        self._node = node
        self._owners: dict[int, Owner] = {}
        self._read_to: dict[int, int] = {}
        self._began = False

    def read(self, query: Query) -> list[Line]:
        """Returns the newest lines that a query asks for; from the second call on, those that have been written since. Oldest first.

        Raises:
            re.error: `grep` is no regular expression.
        """
        pattern = re.compile(query.grep) if query.grep else None
        found: list[Line] = []
        for file in self._files(query):
            lines = self._grown(file, pattern) if file.identity in self._read_to or self._began else self._newest(file, query, pattern)
            of_file = [Line(when, self._node, file.owner.model, file.owner.replica, text) for when, text in lines if when >= query.since]
            found += of_file[-query.lines :] if not self._began else of_file
        self._began = True
        return sorted(found, key=lambda line: line.when)[-MOST_LINES:]

    def _files(self, query: Query) -> Iterator[_File]:
        for folder in FOLDERS:
            for entry in _entries(self._folder / folder):
                try:
                    seen = entry.stat()
                    owner = self._owner(entry.name, Path(entry.path), seen.st_ino)
                except OSError:  # it has just been taken away
                    continue
                if owner is not None and asks_for(query, owner):
                    yield _File(Path(entry.path), owner, is_of_a_worker(entry.name), seen.st_ino, seen.st_size)

    def _owner(self, name: str, path: Path, identity: int) -> Owner | None:
        """Finds the owner of a file; what its first lines say is remembered."""
        if identity in self._owners or not is_of_a_worker(name):
            return self._owners.get(identity) or owner_by_name(name)
        with path.open("rb") as file:
            owner = owner_by_head(name, file.read(HEAD).decode(errors="replace"))
        if owner is not None and is_settled(owner):
            self._owners[identity] = owner
        return owner

    def _newest(self, file: _File, query: Query, pattern: "re.Pattern[str] | None") -> list[tuple[float, str]]:
        """Reads a file from its end, until there are enough lines, or they are older than asked for."""
        self._read_to[file.identity] = file.size
        at, held, found = file.size, b"", list[tuple[float, str]]()
        while at > 0 and file.size - at < MOST_BYTES and len(found) < query.lines:
            begin = max(0, at - BLOCK)
            block = _read(file.path, begin, at - begin) + held
            at = begin
            held, _, whole = block.partition(b"\n") if at else (b"", b"", block)
            if at and not whole:
                continue  # one line that is longer than the block
            lines = list(self._shown(file, whole, file.path.stat().st_mtime if not found else found[0][0]))
            found = _matching(lines, pattern) + found
            if lines and lines[0][0] < query.since:
                break
        return found[-query.lines :]

    def _grown(self, file: _File, pattern: "re.Pattern[str] | None") -> list[tuple[float, str]]:
        """Reads the whole lines that a file has got since it was last read."""
        begin = self._read_to.get(file.identity, 0)
        if file.size < begin:  # emptied
            begin = 0
        block = _read(file.path, begin, min(file.size - begin, MOST_NEW_BYTES))
        end = len(block) if len(block) == MOST_NEW_BYTES and b"\n" not in block else block.rfind(b"\n") + 1
        self._read_to[file.identity] = begin + end
        return _matching(self._shown(file, block[:end], time.time()), pattern)

    def _shown(self, file: _File, block: bytes, before: float) -> Iterator[tuple[float, str]]:
        texts = block.decode(errors="replace").split("\n")
        return lines_of(texts, file.worker, float(time.localtime().tm_gmtoff), before)


def _matching(lines: Iterable[tuple[float, str]], pattern: "re.Pattern[str] | None") -> list[tuple[float, str]]:
    return list(lines) if pattern is None else [one for one in lines if pattern.search(one[1])]


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as found:
            return sorted((entry for entry in found if entry.is_file(follow_symlinks=False)), key=lambda entry: entry.name)
    except OSError:
        return []


def _read(path: Path, begin: int, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            return file.read(count)
    except OSError:
        return b""
