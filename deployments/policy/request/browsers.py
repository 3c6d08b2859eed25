"""Whether a request may come from a web page, and what its browser is told (Fetch standard: CORS; Fetch Metadata).

Decides by the names that a browser sets itself and no page can forge: Host, Origin, Sec-Fetch-Site, Content-Type. A page must not use a
herd that its user can reach: not by a cross-origin request, nor by a name of its own that it points at the herd (DNS rebinding).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from configs.addresses import is_loopback, on_loopback
from configs.doorway import Doorway
from deployments.policy.errors.client_errors import Forbidden, WrongMedia

Headers = Mapping[bytes, bytes]
Answer = Sequence[tuple[bytes, bytes]]

#: Headers of answers that a page's script may read beside those that it always may.
_EXPOSED = (b"access-control-expose-headers", b"x-request-id, retry-after, x-fallback-from")
_METHODS = (b"access-control-allow-methods", b"GET, HEAD, POST")
#: A browser asks for names of headers only, in lower case and sorted; what is no such list is not repeated to it.
_NAMES = re.compile(rb"[!#-'*+\-.^_`|~0-9A-Za-z, ]{1,4096}")
#: A name or an address, the one of IPv6 in brackets, and perhaps a port.
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Guests:
    """Which pages may use the herd, and by which names."""

    loopback: bool
    """The gateway listens on loopback only."""
    hosts: frozenset[str] = frozenset()
    """Names of the gateway; `*.example.com` stands for all below example.com."""
    origins: frozenset[bytes] = frozenset()
    """Origins of pages; `*` stands for all."""
    max_age_s: int = 600
    """How long a browser keeps the answer to a preflight."""


#: Any name of a server that does not listen on loopback, and no pages of other sites.
ANYBODY = Guests(loopback=False)


def guests(host: str, wanted: Doorway) -> Guests:
    """Returns what the config says about pages and names, for a gateway that listens on this host."""
    cors = wanted.cors
    origins = frozenset(origin.encode("ascii") for origin in cors.allowed_origins)
    return Guests(on_loopback(host), frozenset(wanted.allowed_hosts), origins, cors.max_age_s)


def admitted(guests: Guests, headers: Headers) -> Answer:
    """Returns the headers that an answer must have for a browser.

    Args:
        guests: who may come.
        headers: the request's.

    Raises:
        Forbidden: the request names the gateway by a foreign name, or comes from a page that may not use it.
    """
    if guests.loopback or guests.hosts:
        _check_host(guests, headers.get(b"host"))
    origin, site = headers.get(b"origin"), headers.get(b"sec-fetch-site")
    if origin is None and site is None:  # no browser, or an address that its user typed into an old one
        return _VARIES if guests.origins else ()
    if _is_welcome(guests, origin):
        return _allowing(guests, origin)
    if site not in (None, b"same-origin", b"none") or not _is_own(headers, origin, site):
        raise Forbidden(_sentence(origin))
    return _VARIES if guests.origins else ()


_VARIES = ((b"vary", b"origin"),)


def _is_welcome(guests: Guests, origin: bytes | None) -> bool:
    return b"*" in guests.origins or (origin is not None and origin.lower() in guests.origins)


def _allowing(guests: Guests, origin: bytes | None) -> Answer:
    if b"*" in guests.origins:
        return ((b"access-control-allow-origin", b"*"), _EXPOSED)
    return ((b"access-control-allow-origin", origin or b""), _EXPOSED, *_VARIES)


def _is_own(headers: Headers, origin: bytes | None, site: bytes | None) -> bool:
    """Whether a page that this very host has served asks."""
    if origin is None or site == b"same-origin":
        return True
    return origin.partition(b"://")[2].lower() == headers.get(b"host", b"").lower() != b""


def _sentence(origin: bytes | None) -> str:
    name = "another site" if origin is None else f"the origin '{origin[:200].decode('ascii', 'replace')}'"
    return f"Requests from web pages of {name} are not allowed. The herd's operator allows origins by gateway.cors.allowed_origins."


def preflight(guests: Guests, headers: Headers) -> Answer | None:
    """Returns the headers of the answer to an OPTIONS request beside `admitted`'s; none where it is no browser's preflight.

    The request has been admitted.
    """
    if b"origin" not in headers or b"access-control-request-method" not in headers or not _is_welcome(guests, headers[b"origin"]):
        return None
    said = [_METHODS, (b"access-control-max-age", b"%d" % guests.max_age_s)]
    names = headers.get(b"access-control-request-headers", b"")
    if _NAMES.fullmatch(names):
        said.append((b"access-control-allow-headers", names))
    if headers.get(b"access-control-request-private-network") == b"true":
        said.append((b"access-control-allow-private-network", b"true"))
    return said


def _check_host(guests: Guests, host: bytes | None) -> None:
    """Refuses a name that somebody else may have pointed at this gateway. A client of HTTP/1.0 may name none; a browser always does."""
    if host is None:
        return
    name = host_name(host)
    if is_loopback(name) or name in guests.hosts or any(name.endswith(one[1:]) for one in guests.hosts if one.startswith("*.")):
        return
    shown = name[:200]
    raise Forbidden(
        f"The host '{shown}' is not a name of this server. The herd's operator adds names by gateway.allowed_hosts.", param="host"
    )


@lru_cache(maxsize=64)
def host_name(host: bytes) -> str:
    """Returns a host header's name without its port, in lower case and without the dot of the root; one that is malformed as it is."""
    text = host.decode("ascii", "replace").lower()
    found = _HOST.fullmatch(text)
    return found[1].removesuffix(".") if found else text


def check_content_type(headers: Headers) -> None:
    """Refuses a body that is not announced as JSON. A page may send others to a foreign site without a preflight (CORS' simple requests).

    Raises:
        WrongMedia: it is announced as something else, or not at all.
    """
    given = headers.get(b"content-type", b"")
    if given == b"application/json" or _is_json(given):
        return
    found = f"'{given[:100].decode('ascii', 'replace')}'" if given else "none"
    raise WrongMedia(
        f"The header content-type must be application/json, and is {found}. With curl: -H 'content-type: application/json'.",
        param="content-type",
    )


def _is_json(given: bytes) -> bool:
    kind = given.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json") and b"," not in kind)
