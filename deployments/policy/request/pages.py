"""The gateway's own pages below `/-/`, and `/status`: replicas, their addresses and ports. They are for operators and Prometheus, not for
clients.

Decides who may see them: everybody of the machine where the gateway listens on the loopback interface, else only who has the key for it.
A browser cannot be told to send a bearer token. So the page for browsers takes the key as the password of HTTP's Basic scheme too.
"""

import base64
import binascii
import hmac
from dataclasses import dataclass

from deployments.policy.errors.client_errors import Unauthorized

OPERATORS = "/-/"
#: The page for browsers.
STATUS = "/status"


class NoKey(Unauthorized):
    """A program asked without the key."""

    challenge = 'Bearer realm="Llama Herd"'

    def __init__(self) -> None:
        super().__init__(
            "This page is for the herd's operators: send the header `authorization: Bearer KEY`, with the key that "
            "`herd secret pages` prints on a node of the herd."
        )


class NoPassword(Unauthorized):
    """A browser asked without the key."""

    challenge = 'Basic realm="Llama Herd", charset="UTF-8"'

    def __init__(self) -> None:
        super().__init__(
            "This page is for the herd's operators. Any user name does; the password is the key that `herd secret pages` prints on a "
            "node of the herd."
        )


@dataclass(frozen=True, slots=True)
class Pages:
    """Settings by which a gateway shows its own pages."""

    key: str | None = None
    """Asked for by the pages of operators. None: nobody is asked."""
    engines_speak_tls: bool = False

    @property
    def engine_labels(self) -> dict[str, str]:
        """Labels by which Prometheus asks engines as they want to be asked."""
        return {"__scheme__": "https"} if self.engines_speak_tls else {}

    def check(self, path: str, authorization: bytes) -> None:
        """Lets a request for a page pass, or not; all pages but those of operators are for everybody.

        Args:
            path: of a page.
            authorization: the request's header; empty where there is none.

        Raises:
            Unauthorized: the page asks for a key, and this is another one or none.
        """
        if self.key is None or not (path.startswith(OPERATORS) or path == STATUS):
            return
        key = self.key.encode()
        if hmac.compare_digest(authorization, b"Bearer " + key):
            return
        if path != STATUS:
            raise NoKey
        if not hmac.compare_digest(_password(authorization), key):
            raise NoPassword


def _password(authorization: bytes) -> bytes:
    """Returns the password of credentials in the Basic scheme (RFC 7617); empty where these are none."""
    scheme, _, told = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        return base64.b64decode(told.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""
