"""Writes what was gathered into one archive that only its user can read, with a manifest; no secret gets in, and its size is bounded."""

import contextlib
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from deployments.commands.describing.bundle.redaction import redacted

#: A part is cut to its last bytes beyond this; logs are bounded where they are read.
MOST_BYTES = 4 << 20
MANIFEST = "manifest.json"


class Part(NamedTuple):
    """A file of the bundle."""

    path: str
    """Within the bundle."""
    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """Something that is gathered. It may fail without the others."""

    about: str
    gather: Callable[[], Iterable[Part]]


class Missing(NamedTuple):
    """Something that could not be gathered, and why."""

    about: str
    why: str


def gathered(sources: Iterable[Source], say: Callable[[str], None]) -> tuple[list[Part], list[Missing]]:
    """Gathers all sources, one after the other."""
    parts: list[Part] = []
    missing: list[Missing] = []
    for source in sources:
        say(source.about)
        try:
            parts += source.gather()
        except Exception as error:  # noqa: BLE001 (whatever is broken here is what the bundle is for)
            missing.append(Missing(source.about, f"{type(error).__name__}: {error}"))
    return parts, missing


def write(path: Path, parts: Iterable[Part], missing: Iterable[Missing], secrets: set[str], at_s: float) -> list[Part]:
    """Writes the archive; returns its parts as they are in it.

    Args:
        path: where; no file may be there.
        parts: what was gathered.
        missing: what could not be.
        secrets: values that must not be in it.
        at_s: the time of its files, in seconds since 1970.

    Raises:
        OSError: it cannot be written, or a file is there already.
    """
    kept = [Part(one.path, one.about, _bounded(redacted(one.text, secrets))) for one in parts]
    lacking = [{"about": one.about, "why": redacted(one.why, secrets)} for one in missing]
    files = [{"path": one.path, "about": one.about, **_digest(one.text)} for one in kept]
    whole = [Part(MANIFEST, "this list", json.dumps({"files": files, "missing": lacking}, indent=1) + "\n"), *kept]
    with _private(path) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for part in whole:
            data = part.text.encode()
            entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{part.path}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(at_s)
            archive.addfile(entry, io.BytesIO(data))
    return whole


def _digest(text: str) -> dict[str, object]:
    data = text.encode()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _bounded(text: str) -> str:
    return text if len(text) <= MOST_BYTES else f"[the first part is left out]\n{text[-MOST_BYTES:]}"


@contextlib.contextmanager
def _private(path: Path) -> Iterator[io.BufferedWriter]:
    """Opens a new file for this user alone; removes it if it does not become whole."""
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise
