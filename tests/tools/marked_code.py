"""Marked code on disk: to put marks into all pure files takes seconds, and each process of unit tests needs them."""

import marshal
import os
from hashlib import sha256
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType

from tests.tools import branch_marks

_MADE_BY = MAGIC_NUMBER + Path(branch_marks.__file__).read_bytes()


def kept(file: Path, source: bytes, path: str) -> tuple[CodeType, int]:
    """Returns the marked code of a source and the number of its marks: from the file if it is of this source, else made and kept there."""
    key = sha256(b"\0".join((_MADE_BY, path.encode(), source))).digest()
    try:
        there = file.read_bytes()
    except FileNotFoundError:
        there = b""
    if there.startswith(key):
        code, marks = marshal.loads(there[len(key) :])
        return code, marks
    code, meanings = branch_marks.marked(source.decode(), path)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}")  # another process may be at the same file
    beside.write_bytes(key + marshal.dumps((code, len(meanings))))
    beside.replace(file)
    return code, len(meanings)
