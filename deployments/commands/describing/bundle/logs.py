"""Reads the ends of logs, as many bytes in all as are asked for: of a folder's files, the newest first, or of the lines of all nodes."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from deployments.commands.describing.bundle.archive import Part
from deployments.policy.records.log_lines import GATEWAY, MODEL, RAY, Line, Query

Read = Callable[[Query], tuple[list[Line], list[str]]]
"""Returns the lines that a query asks for, oldest first, and the names of the nodes that did not answer."""

#: Of one file, at most.
MOST_OF_A_FILE = 1 << 20
#: Newest lines of each file of a node.
MOST_LINES = 5000


def log_ends(folder: Path, under: str, most_bytes: int) -> Iterator[Part]:
    """Yields the end of each file below a folder until so many bytes are read. Links are not followed.

    Args:
        folder: the folder of the logs.
        under: the folder within the bundle.
        most_bytes: of all files together.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not there")
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in sorted(found, key=_changed, reverse=True):
        if most_bytes <= 0:
            return
        data = _end(path, min(MOST_OF_A_FILE, most_bytes))
        if data:
            most_bytes -= len(data)
            yield Part(f"{under}/{path.relative_to(folder)}", "the end of a log", data.decode(errors="replace"))


def line_ends(read: Read, under: str, most_bytes: int) -> tuple[list[Part], list[str]]:
    """Returns the newest lines of models, gateways and Ray as a file for each replica or process, and the nodes that did not answer.

    Args:
        read: reads the lines of all nodes.
        under: the folder within the bundle.
        most_bytes: of all lines together; the oldest ones are left out.
    """
    lines, silent = list[Line](), list[str]()
    for what in (MODEL, GATEWAY, RAY):
        found, missing = read(Query(what, lines=MOST_LINES))
        lines += found
        silent += missing
    files = defaultdict[str, list[str]](list)
    for line in sorted(lines, key=lambda one: one.when, reverse=True):
        text = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(line.when))} {line.text}\n"
        most_bytes -= len(text.encode(errors="replace"))
        if most_bytes < 0:
            break
        files["/".join(_safe(one) for one in (line.node, line.model, line.replica) if one)].append(text)
    return [Part(f"{under}/{name}.log", "the end of a log", "".join(reversed(texts))) for name, texts in sorted(files.items())], silent


def _safe(name: str) -> str:
    return "".join(one if one.isalnum() or one in "-_.#:" else "_" for one in name).lstrip(".") or "_"


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def _end(path: Path, most: int) -> bytes:
    """Returns the last bytes of a file, from the beginning of a line on."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - most))
            data = file.read(most)
    except OSError:
        return b""
    return data if size <= most else data.partition(b"\n")[2]
