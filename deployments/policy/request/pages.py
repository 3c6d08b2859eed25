"""The gateway's own pages below `/-/`: replicas, their addresses and ports. They are for operators and Prometheus, not for clients.

Decides who may see them: everybody of the machine where the gateway listens on the loopback interface, else only who has the key for it.
"""

import hmac
from dataclasses import dataclass

from deployments.policy.errors.client_errors import Unauthorized

OPERATORS = "/-/"


@dataclass(frozen=True, slots=True)
class Pages:
    """Settings by which a gateway shows its own pages."""

    key: str | None = None
    """Asked for below `/-/`. None: nobody is asked."""
    engines_speak_tls: bool = False

    @property
    def engine_labels(self) -> dict[str, str]:
        """Labels by which Prometheus asks engines as they want to be asked."""
        return {"__scheme__": "https"} if self.engines_speak_tls else {}

    def check(self, path: str, authorization: bytes) -> None:
        """Lets a request for a page pass, or not; all pages beside those below `/-/` are for everybody.

        Args:
            path: of a page.
            authorization: the request's header; empty where there is none.

        Raises:
            Unauthorized: the page asks for a key, and this is another one or none.
        """
        if self.key is None or not path.startswith(OPERATORS):
            return
        if not hmac.compare_digest(authorization, b"Bearer " + self.key.encode()):
            raise Unauthorized(
                "This page is for the herd's operators: send the header `authorization: Bearer KEY`, with the key that "
                "`herd secret pages` prints on a node of the herd."
            )
