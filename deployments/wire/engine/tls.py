"""TLS between gateways and engines, out of the files that the config names.

Decides what a certificate must show: that the herd's own authority has signed it. Both sides show one (mutual TLS). Names and addresses are
not compared, because an engine may start on any node of the authority's.
"""

import ssl

from configs.certificates import Certificates
from deployments.wire.key_pair import UnusableFiles, load


def client(tls: Certificates | None) -> ssl.SSLContext | None:
    """Makes what a gateway connects with; None: plain HTTP.

    Raises:
        UnusableFiles: a file cannot be read, or the key is not the certificate's.
    """
    return None if tls is None else _context(ssl.PROTOCOL_TLS_CLIENT, tls)


def server(tls: Certificates | None) -> ssl.SSLContext | None:
    """Makes what an engine listens with; None: plain HTTP.

    Raises:
        UnusableFiles: as `client`.
    """
    return None if tls is None else _context(ssl.PROTOCOL_TLS_SERVER, tls)


def _context(protocol: int, tls: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(tls.authority)
    except OSError as error:
        raise UnusableFiles(f"engine_tls.authority ({tls.authority}) cannot be used on this node: {error.strerror or error}") from error
    load(context, "engine_tls.certificate with engine_tls.key", tls.certificate, tls.key)
    return context
