"""How one file arrives whole: begun files go on where they stopped, nothing counts before its content is checked.

Decides when to try again and when to give up. One process at a time brings a file to a node's cache, by the lock of `huggingface_hub`.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # it is there, and loaded lazily

from cluster.catalogue.weights import File, Manifest
from deployments.weights.cache import Cache, WeightsError
from deployments.weights.origins import MOST_PLAIN_BYTES, FromHub, HubUnreachable, NodeUnreachable, NotYet, Origin

#: Files on their way to a node at once; the Hub gives one connection a part of the line only.
AT_ONCE = 8
#: Content that is not what it should be is fetched again so often, and a Hub that broke off without a byte more.
DAMAGED_TIMES = 3
BROKEN_TIMES = 5
#: How often a node that has not got a file yet is asked again, and how long a silent one is hoped for: Ray takes up to a minute to see that
#: a node is lost, and then somebody else is asked.
ASK_AGAIN_S = 0.2
SILENT_S = 180.0


@dataclass
class Fetch:
    """The files of one manifest on their way to this node."""

    cache: Cache
    manifest: Manifest
    origin: Callable[[], Origin]
    """Where to get files from; another one when the node before has gone."""
    silent_s: float = SILENT_S
    damaged: list[str] = field(default_factory=list)
    """Files that did not arrive as they should have, and were fetched again."""
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Brings what is missing, and puts all in its place.

        Raises:
            WeightsError: a file cannot be had.
        """
        self.cache.keep(self.manifest)
        missing = {file.digest: file for file in self.manifest.files if not self.cache.holds(file)}
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            done, _ = wait([pool.submit(self._obtain, file) for file in missing.values()], return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        finally:
            self._stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
        self.cache.publish(self.manifest)

    def _obtain(self, file: File) -> None:
        """Waits for the origin to have it without a lock in hand, so that nobody waits for who waits for him."""
        tries = _Tries(self.silent_s)
        while not self._stopped.is_set() and not self.cache.holds(file):
            try:
                self._bring(file, self.origin())
            except NotYet:
                tries.heard()
                self._stopped.wait(ASK_AGAIN_S)
            except NodeUnreachable as error:
                tries.silent(file, str(error), self._arrived(file))
                self._stopped.wait(ASK_AGAIN_S)
            except HubUnreachable as error:
                tries.broken(error, self._arrived(file))
                self._stopped.wait(1)

    def _arrived(self, file: File) -> int:
        partial = self.cache.partial(file)
        return partial.stat().st_size if partial.exists() else 0

    def _bring(self, file: File, origin: Origin) -> None:
        if file.size_bytes > MOST_PLAIN_BYTES and isinstance(origin, FromHub):
            origin.bring_large(file)
        lock = self.cache.lock(file)
        lock.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):
            if self.cache.holds(file):  # whoever had the lock before brought it
                return
            blob = self.cache.blob(file)
            if blob.exists() and self.cache.accept(file, blob):  # another program brought it, or somebody touched it
                return
            self._append(file, origin)
            self._settle(file)

    def _append(self, file: File, origin: Origin) -> None:
        partial = self.cache.partial(file)
        partial.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists() and partial.stat().st_size > file.size_bytes:
            partial.unlink()
        with partial.open("ab") as out:
            origin.bring(file, out, out.tell())
            out.flush()
            os.fsync(out.fileno())

    def _settle(self, file: File) -> None:
        """A partial file is a blob now, if it is what it should be."""
        partial = self.cache.partial(file)
        if partial.stat().st_size < file.size_bytes:
            raise NodeUnreachable("it broke off")
        if self.cache.accept(file, partial):
            return
        partial.unlink()
        self.damaged.append(file.path)
        if self.damaged.count(file.path) >= DAMAGED_TIMES:
            raise WeightsError(
                f"{file.path} of {self.manifest.repository} arrived damaged {DAMAGED_TIMES} times: its content is not {file.digest}. "
                "Memory, disk or a proxy on the way changes bytes; look at those first."
            )


class _Tries:
    """How long one file is hoped for."""

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._heard_s = time.monotonic()
        self._left, self._at = BROKEN_TIMES, 0

    def heard(self) -> None:
        self._heard_s = time.monotonic()

    def silent(self, file: File, why: str, at: int) -> None:
        if at > self._at:
            self.heard()
        self._at = at
        if time.monotonic() - self._heard_s > self._silent_s:
            raise WeightsError(
                f"{file.path}: the node that has it does not answer ({why}) for {self._silent_s:.0f} s. Nodes reach each other on any port "
                "for this; or `--from hub` lets each node go to the Hub."
            )

    def broken(self, error: HubUnreachable, at: int) -> None:
        self._left = BROKEN_TIMES if at > self._at else self._left - 1
        self._at = at
        if self._left <= 0:
            raise error
