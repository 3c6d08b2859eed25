"""The gateway's TLS certificate: read from its files, and read again when these change.

Decides what clients may speak: TLS 1.2 or newer, and HTTP/1.1 in it.
"""

import asyncio
import ssl
from pathlib import Path

import structlog

from configs.doorway import Tls

#: Between two looks at the files.
LOOK_S = 10.0

_Stamp = tuple[tuple[int, int, int], ...]


class UnreadableCertificate(RuntimeError):
    """The files are not there, not for us, or no certificate with its key."""


class Certificate:
    """A certificate and its key, for new connections."""

    def __init__(self, files: Tls) -> None:
        """Reads the files.

        Raises:
            UnreadableCertificate: they cannot be used.
        """
        self._files = files
        self._stamp = self._stamped()
        self.context = self._read()
        """What connections are made with. The one object for all time: a changed certificate is put into it."""

    async def follow(self, period_s: float = LOOK_S) -> None:
        """Reads the files again whenever they have changed, for ever. What cannot be used is told in the log, and changes nothing."""
        while True:
            await asyncio.sleep(period_s)
            try:
                stamp = await asyncio.to_thread(self._stamped)
                if stamp == self._stamp:
                    continue
                self._stamp = stamp
                await asyncio.to_thread(self._read)  # into another context first: this one must not be left with half of it
                self._load(self.context)
            except UnreadableCertificate as error:
                structlog.get_logger("herd.gateway").warning("certificate", error=str(error))
            else:
                structlog.get_logger("herd.gateway").info("certificate", read_again=self._files.certificate)

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load(context)
        return context

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._files.certificate, self._files.key, password="")  # else OpenSSL would ask the terminal
        except ssl.SSLError as error:
            why = (
                "do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else f"are no certificate and key in PEM ({error.reason})"
            )
            raise UnreadableCertificate(f"gateway.tls: {self._names} {why}. A key must have no passphrase.") from error
        except OSError as error:
            raise UnreadableCertificate(f"gateway.tls: {self._names} cannot be read: {error.strerror}.") from error

    def _stamped(self) -> _Stamp:
        """What changes when one of the files does."""
        try:
            found = [Path(name).stat() for name in (self._files.certificate, self._files.key)]
        except OSError as error:
            raise UnreadableCertificate(f"gateway.tls: {error.filename} cannot be read: {error.strerror}.") from error
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)

    @property
    def _names(self) -> str:
        return f"{self._files.certificate} and {self._files.key}"
