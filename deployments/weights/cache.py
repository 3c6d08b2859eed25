"""One repository in the Hub's cache of a node: the layout of `huggingface_hub`, so that whatever reads that cache finds what is pulled.

Decides when a file counts as there: when its content was checked here and its blob has not been touched since. A folder of the herd's own
beside the snapshots, `herd`, holds the manifests and a mark for each checked blob; others pass it by.
"""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from cluster.catalogue.weights import COMMIT, File, Manifest, Room, Source

READ_BYTES = 1 << 20


class WeightsError(RuntimeError):
    """Weights cannot be had; the message says why and what to do. Ray carries it from node to node."""


def cache_of(source: Source, own: Path | None = None) -> "Cache":
    """A source's place on this node, whose own cache is the Hub's unless another one is named."""
    from huggingface_hub.constants import HF_HUB_CACHE

    root = Path(source.cache or own or HF_HUB_CACHE).expanduser().absolute()
    return Cache(root, source.repository)


class Cache:
    """The files of one repository on this node."""

    def __init__(self, root: Path, repository: str) -> None:
        self.root = root
        self.repository = repository
        self._folder = root / f"models--{repository.replace('/', '--')}"

    def blob(self, file: File) -> Path:
        """Where a file's content is."""
        return self._folder / "blobs" / file.digest

    def partial(self, file: File) -> Path:
        """Where what has come so far of it is."""
        return self._folder / "blobs" / f"{file.digest}.incomplete"

    def lock(self, file: File) -> Path:
        """The lock that `huggingface_hub` takes for this file: neither it nor another pull brings the file at the same time."""
        return self.root / ".locks" / self._folder.name / f"{file.digest}.lock"

    def snapshot(self, commit: str) -> Path:
        """The folder that an engine reads."""
        return self._folder / "snapshots" / commit

    def holds(self, file: File) -> bool:
        """The file is here, checked, and as it was then."""
        with contextlib.suppress(OSError):
            return (
                self._mark(file).read_text(encoding="utf-8") == _stamp(self.blob(file))
                and self.blob(file).stat().st_size == file.size_bytes
            )
        return False

    def accept(self, file: File, content: Path) -> bool:
        """Checks what has come of a file, and makes it the file's blob; whether it is what it should be."""
        stamp = _stamp(content)
        if digest_of(content, file.size_bytes, len(file.digest)) != file.digest:
            return False
        content.replace(self.blob(file))
        _write(self._mark(file), stamp)
        return True

    def damaged(self, manifest: Manifest) -> list[str]:
        """Reads every file and says which are not what they should be, without any network.

        Such a file is removed, so that the next pull brings it again. An engine that has it open keeps it.
        """
        found = []
        for file in manifest.files:
            blob = self.blob(file)
            if not blob.exists() or not self.accept(file, blob):
                found.append(file.path)
                for path in (self._mark(file), blob):
                    path.unlink(missing_ok=True)
        return found

    def arrived_bytes(self, manifest: Manifest) -> int:
        """Counts the bytes of a manifest's files that are here, begun ones included."""
        return sum(self._arrived(file) for file in {file.digest: file for file in manifest.files}.values())

    def _arrived(self, file: File) -> int:
        if self.holds(file):
            return file.size_bytes
        with contextlib.suppress(OSError):
            return min(file.size_bytes, self.partial(file).stat().st_size)
        return 0

    def complete(self, manifest: Manifest) -> bool:
        """Everything is here, and where an engine looks for it."""
        folder = self.snapshot(manifest.commit)
        return bool(manifest.files) and all(self.holds(file) and (folder / file.path).exists() for file in manifest.files)

    def keep(self, manifest: Manifest) -> None:
        """Writes a manifest down, before its files come: a pull that was broken off knows what it was about."""
        _write(self._manifests / f"{manifest.commit}.json", manifest.model_dump_json(indent=1))

    def publish(self, manifest: Manifest) -> Path:
        """Puts the files where an engine looks for them, and says which commit the revision is; the folder."""
        folder = self.snapshot(manifest.commit)
        for file in manifest.files:
            pointer = folder / file.path
            pointer.parent.mkdir(parents=True, exist_ok=True)
            if not pointer.exists():
                _link(self.blob(file), pointer)
        if not COMMIT.fullmatch(manifest.revision):
            _write(self._folder / "refs" / manifest.revision, manifest.commit)
        return folder

    def known(self, source: Source) -> list[Manifest]:
        """The manifests of a source's revision, as it was whenever it was pulled here; the last one first."""
        found = [one for path in self._manifests.glob("*.json") if (one := _read(path)) is not None]
        ours = [one for one in found if source.revision in (one.revision, one.commit)]
        return sorted(ours, key=lambda one: one.resolved_s, reverse=True)

    def room(self, manifests: "list[Manifest]") -> Room:
        """Compares the manifests' missing bytes with the disk's free ones."""
        needed = sum(manifest.size_bytes - self.arrived_bytes(manifest) for manifest in manifests)
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        return Room(str(self.root), needed, shutil.disk_usage(there).free)

    @property
    def _manifests(self) -> Path:
        return self._folder / "herd"

    def _mark(self, file: File) -> Path:
        return self._manifests / "checked" / file.digest


def digest_of(path: Path, size_bytes: int, length: int) -> str:
    """A file's content as the Hub names it: SHA-256, or git's SHA-1 of a blob where the name has 40 digits."""
    hashed = hashlib.sha1(b"blob %d\0" % size_bytes, usedforsecurity=False) if length == 40 else hashlib.sha256()
    with path.open("rb") as content:
        while chunk := content.read(READ_BYTES):
            hashed.update(chunk)
    return hashed.hexdigest()


def _stamp(blob: Path) -> str:
    stat = blob.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _link(blob: Path, pointer: Path) -> None:
    """Relative, as the cache's own links are: a cache that is moved stays whole."""
    with _replaced(pointer) as new:
        new.symlink_to(os.path.relpath(blob, pointer.parent))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replaced(path) as new:
        new.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """A name for what then stands at `path` at once: whoever reads sees the old or the new one, never half."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".herd-") as folder:
        new = Path(folder) / "new"
        yield new
        new.replace(path)


def _read(path: Path) -> Manifest | None:
    """A manifest from the disk; none where it is not one."""
    with contextlib.suppress(OSError, ValidationError):
        return Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    return None
