"""Reads the ends of the log files of a folder, the newest first, as many bytes in all as are asked for."""

from collections.abc import Iterator
from pathlib import Path

from deployments.commands.describing.bundle.archive import Part

#: Of one file, at most.
MOST_OF_A_FILE = 1 << 20


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
