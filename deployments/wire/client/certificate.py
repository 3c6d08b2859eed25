"""The gateway's TLS certificate: read from its files, and read again when these change.

Decides what clients may speak: TLS 1.2 or newer, and HTTP/1.1 in it.
"""

import asyncio
import ssl
from pathlib import Path

import structlog

from configs.doorway import Tls
from deployments.wire.key_pair import UnusableFiles, load

#: Between two looks at the files.
LOOK_S = 10.0

_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate and its key, for new connections."""

    def __init__(self, files: Tls) -> None:
        """Reads the files.

        Raises:
            UnusableFiles: they cannot be used.
        """
        self._files = files
        self._stamp = self._stamped()
        self.context = self._read()
        """The TLS context of new connections: another object for each certificate."""

    async def follow(self, period_s: float = LOOK_S) -> None:
        """Reads the files again whenever they have changed, for ever. What cannot be used is told in the log, and changes nothing."""
        log, told = structlog.get_logger("herd.gateway"), ""
        while True:
            await asyncio.sleep(period_s)
            try:
                stamp = await asyncio.to_thread(self._stamped)
                if stamp == self._stamp:
                    continue
                self.context = await asyncio.to_thread(self._read)
            except UnusableFiles as error:
                if told != str(error):
                    told = str(error)
                    log.warning("certificate", error=told)
            else:
                self._stamp, told = stamp, ""  # files that have changed since are read again
                log.info("certificate", read_again=self._files.certificate)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        load(context, "gateway.tls.certificate with gateway.tls.key", self._files.certificate, self._files.key)
        return context

    def _stamped(self) -> _Stamp:
        """Returns a stamp that changes when one of the files does."""
        try:
            found = [Path(name).stat() for name in (self._files.certificate, self._files.key)]
        except OSError as error:
            raise UnusableFiles(f"gateway.tls: {error.filename} cannot be read: {error.strerror}.") from error
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)
