"""Reads and writes files that an operator names on a command line or in a config: whatever has that name, within bounds of size and time.

Decides what is read: files, and pipes such as `<(command)` gives, for as long as somebody writes into them. A folder, a device and a socket
are no files.
"""

import errno
import os
import select
import stat
import time
from pathlib import Path

#: A pipe that nobody writes into for so long is given up; commands that decrypt a file ask their key's service first.
SILENT_S = 15.0
PIECE = 1 << 16
KINDS = ((stat.S_ISDIR, "is a folder"), (stat.S_ISSOCK, "is a socket"), (stat.S_ISCHR, "is a device"), (stat.S_ISBLK, "is a device"))


class CannotRead(OSError):
    """A file cannot be read; the message says why, without its name."""


class CannotWrite(OSError):
    """A file cannot be written; the message says why, without its name."""


def contents(path: Path, most: int, silent_s: float = SILENT_S) -> bytes:
    """Returns what is in a file, or at most one byte more than `most`, so that the caller sees that it is larger.

    Raises:
        CannotRead: it is not there, is no file, may not be read, or is a pipe into which nobody writes.
    """
    try:
        _refuse(os.stat(path).st_mode)
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # of a pipe, it would wait for somebody who writes
    except (OSError, ValueError) as error:
        raise CannotRead(_why(error)) from error
    try:
        _refuse(os.fstat(file).st_mode)
        return _whole(file, most + 1, silent_s)
    except OSError as error:
        raise CannotRead(_why(error)) from error
    finally:
        os.close(file)


def write(path: Path, text: str, *, anew: bool = False) -> None:
    """Writes a text, over what was there unless it must be a new file.

    Raises:
        CannotWrite: it may not be written, is there already, or is a pipe that nobody reads.
    """
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_EXCL if anew else os.O_TRUNC), 0o666)
        os.set_blocking(file, True)
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            opened.write(text)
    except (OSError, ValueError) as error:
        raise CannotWrite(_why(error)) from error


def _refuse(mode: int) -> None:
    for is_it, said in KINDS:
        if is_it(mode):
            raise CannotRead(f"{said}, and not a file")


def _whole(file: int, most: int, silent_s: float) -> bytes:
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    pieces, size, deadline = [], 0, time.monotonic() + silent_s
    pipe = stat.S_ISFIFO(os.fstat(file).st_mode)
    while size < most:
        if pipe and not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise CannotRead(f"is a pipe, and nobody wrote into it for {silent_s:g} s")
        piece = os.read(file, min(PIECE, most - size))
        if not piece:
            break
        pieces.append(piece)
        size, deadline = size + len(piece), time.monotonic() + silent_s
    return b"".join(pieces)


def _why(error: OSError | ValueError) -> str:
    if isinstance(error, CannotRead):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return "is a pipe, and nobody reads from it" if error.errno == errno.ENXIO else error.strerror
    return str(error)
