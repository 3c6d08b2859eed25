"""Lets commands on this machine trust its own gateway, if that speaks TLS."""

import ssl

from configs.doorway import Tls


def trust(tls: Tls | None) -> ssl.SSLContext | bool:
    """Returns what an HTTP client verifies a gateway with: its certificate must be the config's, whatever name stands in it.

    Plain HTTP and a file that this user cannot read leave it to the client's own authorities.
    """
    if tls is None:
        return True
    context = ssl.create_default_context()
    context.check_hostname = False  # it is asked at an address of this machine
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(tls.certificate)
    except OSError:
        return True
    return context
