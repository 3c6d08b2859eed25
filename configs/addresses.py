"""Tells addresses and names of machines from what is none, and which of them only the machine itself reaches."""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address

_LOCAL = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,250}[A-Za-z0-9_])?")
#: A pattern: 1 to 65535.
PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
NO_ADDRESS = "is no address: write four numbers up to 255, an IPv6 address, or a name"


def number(address: str) -> IPv4Address | IPv6Address | None:
    """Reads an address in numbers; None for a name.

    Raises:
        AddressValueError: it is neither.
    """
    if ":" in address:
        return IPv6Address(address)
    if re.fullmatch(r"[\d.]+", address):
        return IPv4Address(address)
    if not _NAME.fullmatch(address):
        raise AddressValueError(address)
    return None


def is_one_machines(address: str) -> bool:
    """Tells whether no second machine may have this address too; a name may be another address on each."""
    found = number(address)
    return found is not None and not found.is_unspecified and not found.is_loopback


def in_url(host: str) -> str:
    """Returns a host as it stands in an address of the web: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def on_loopback(host: str) -> bool:
    """Tells whether only this machine reaches a listener at this address or name. A name that says nothing is one that others reach."""
    return is_loopback(in_url(host).lower())


@lru_cache(maxsize=64)
def is_loopback(name: str) -> bool:
    """Tells whether a name always means the machine that uses it (RFC 6761, section 6.3)."""
    if name in _LOCAL or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return address.is_loopback and (address.version == 4) != name.startswith("[")
