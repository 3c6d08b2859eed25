"""Images by address: fetched by the gateway, from hosts on the config's list, never from inside the network.

Decides which addresses may be asked: the host must be on the list, and every address that its name has must be public at the moment of
connecting (the check stands in the resolver that the connection itself uses, so a name that changes its mind gains nothing). Redirects
are not followed. Engines never fetch anything.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from configs.schema import RemoteImages
from deployments.policy.errors.client_errors import BadRequest

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
#: All of IPv6 that is handed out to the open internet.
_UNICAST = ipaddress.IPv6Network("2000::/3")
Allowed = Callable[[str], bool]
#: Characters of an address. Its parsing takes time: 20 s for a host of a million letters that are not ASCII.
MOST_CHARACTERS = 8192
#: A host of at most 255 characters, with user and port.
_HOST = re.compile(r"https?://[^/?#]{0,512}(?:[/?#]|$)", re.IGNORECASE)


def is_public(address: str) -> bool:
    """An address of the open internet: not private, loopback, link-local, shared, reserved or multicast, nor a way round to such a one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # in a form that only C libraries read, such as 127.1
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast
    inside = _embedded(ip)
    return ip in _UNICAST and ip.is_global if inside is None else is_public(str(inside))


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a packet to this one would be sent on to."""
    nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
    return ip.ipv4_mapped or ip.sixtofour or nat64


def is_listed(host: str, allowed: Collection[str]) -> bool:
    """A host is on the list by its exact name, or below a `*.` entry."""
    host = host.lower().rstrip(".")
    exact = {name.lower() for name in allowed if not name.startswith("*.")}
    below = tuple(name[1:].lower() for name in allowed if name.startswith("*."))
    return host in exact or host.endswith(below)


class _PublicOnly(AbstractResolver):
    """Resolves names to public addresses only."""

    def __init__(self, allowed: Allowed) -> None:
        self._resolver = ThreadedResolver()
        self._allowed = allowed

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not found or not all(self._allowed(entry["host"]) for entry in found):
            raise OSError("not a public address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


class ImageFetcher:
    """Fetches images under the config's rules. A fetch keeps the rules under which it began."""

    def __init__(self, rules: RemoteImages, allowed: Allowed = is_public) -> None:
        """Args:
        rules: which hosts may be asked, how long, and for how much.
        allowed: whether a connection may be made to an address.
        """
        self._rules = rules
        self._allowed = allowed
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_PublicOnly(allowed), use_dns_cache=False, limit=32),
            headers={"user-agent": "llama-herd"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        await self.close()

    def apply(self, rules: RemoteImages) -> None:
        """Sets the rules for images that are fetched from now on."""
        self._rules = rules

    async def close(self) -> None:
        """Closes its connections."""
        await self._session.close()

    async def fetch(self, url: str) -> bytes:
        """The bytes at an address, of whatever type their host calls them: `policy.images` looks at the bytes themselves.

        Raises:
            BadRequest: the host is not on the list or not public, or what it sent is too large or too slow.
        """
        where, rules = _parsed(url), self._rules
        host = self._host(where, rules)
        within = aiohttp.ClientTimeout(total=rules.fetch_s)
        try:
            async with self._session.get(where, allow_redirects=False, timeout=within) as response:
                return await _read(response, host, rules)
        except TimeoutError as error:
            raise _bad(f"The image from '{host}' did not arrive within {within.total:g} s.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: a name that cannot be asked for
            raise _bad(f"The image from '{host}' could not be fetched.") from error

    def _host(self, url: URL, rules: RemoteImages) -> str:
        host = url.raw_host or ""
        if not is_listed(host, rules.allowed_hosts):
            listed = ", ".join(rules.allowed_hosts) or "none"
            raise _bad(f"Images are not fetched from '{host}' (allowed hosts: {listed}). Send the image itself as a data: URL.")
        if _is_address(host) and not self._allowed(host):
            raise _bad(f"Images are not fetched from '{host}': it is not a public address.")
        return host


async def _read(response: aiohttp.ClientResponse, host: str, rules: RemoteImages) -> bytes:
    if response.status != 200:
        raise _bad(f"The image from '{host}' could not be fetched: it answered {response.status}.")
    limit = int(rules.image_mib * (1 << 20))
    data = bytearray()
    async for piece in response.content.iter_chunked(1 << 16):
        data += piece
        if len(data) > limit:
            raise _bad(f"The image from '{host}' is larger than {rules.image_mib:g} MiB.")
    return bytes(data)


def _parsed(url: str) -> URL:
    """Parsed once: what is checked must be what is fetched."""
    if len(url) > MOST_CHARACTERS:
        raise _bad(f"An image's URL has {len(url)} characters; it may have {MOST_CHARACTERS}. Send the image itself as a data: URL.")
    if _HOST.match(url) is None:
        raise _bad("An image's URL is malformed.")
    try:
        return URL(url)
    except ValueError as error:
        raise _bad("An image's URL is malformed.") from error


def _is_address(host: str) -> bool:
    """No resolver is asked about it. No name of the open internet ends in a number."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def _bad(message: str) -> BadRequest:
    return BadRequest(message, param="messages", code="invalid_image_url")
