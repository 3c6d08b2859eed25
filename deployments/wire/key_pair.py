"""Certificates and their keys in files (PEM).

Decides what is said about files that do not do, and that nobody is asked for a passphrase.
"""

import ssl


class UnusableFiles(RuntimeError):
    """Files on this node that do not do; the message says which and why."""


def load(context: ssl.SSLContext, named: str, certificate: str, key: str) -> None:
    """Puts a certificate and its key into a context.

    Args:
        context: what connections are made with.
        named: how the config calls the two.
        certificate: path of the certificate, with what is between it and its authority.
        key: path of its key.

    Raises:
        UnusableFiles: they cannot be read, or do not belong together.
    """
    try:
        context.load_cert_chain(certificate, key, password="")  # without one, OpenSSL would ask the terminal
    except ssl.SSLError as error:
        why = "do not belong together" if error.reason == "KEY_VALUES_MISMATCH" else f"are no certificate and key in PEM ({error.reason})"
        raise UnusableFiles(f"{named} ({certificate}, {key}) {why}. A key must have no passphrase.") from error
    except OSError as error:
        raise UnusableFiles(f"{named} ({certificate}, {key}) cannot be read on this node: {error.strerror}.") from error
